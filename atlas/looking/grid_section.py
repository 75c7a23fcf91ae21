"""Activation grids and parts of a picture, drawn: icons sized by norm, groups in colours."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.looking.drawing import Pixels, enlarged, figure, hexadecimal
from atlas.looking.grids import ActivationGrid

# Petroff 2021, arXiv 2107.02270, eight hues that stay apart for any eye.
_HUES = hexadecimal(("#1845fb", "#ff5e02", "#c91f16", "#c849a9", "#adad7d", "#86c8dd", "#578dff", "#656364"))
_LOUD = 0.9  # the quantile of norms that takes the full square: a transformer's few huge tokens must not shrink all
_LEAST = 0.3  # of a square's side: a smaller icon shows nothing
_WIDE = 768


def grid_picture(grid: ActivationGrid) -> Pixels:
    """Each position's icon in its place, its side in proportion to the vector's length, on white: (h, w, 3)."""
    rows, columns = grid.norms.shape
    square = max(grid.icons.shape[2], min(128, _WIDE // max(rows, columns)))
    canvas = Image.new("RGB", (columns * square, rows * square), "white")
    full = float(np.quantile(grid.norms, _LOUD)) or float(grid.norms.max()) or 1.0
    for row, column in np.argwhere(grid.norms > 0).tolist():
        share = max(_LEAST, min(1.0, float(grid.norms[row, column]) / full))
        side = max(1, round(share * square))
        icon = Image.fromarray(grid.icons[row, column])
        icon = icon.resize((side, side), Image.Resampling.LANCZOS)
        canvas.paste(icon, (column * square + (square - side) // 2, row * square + (square - side) // 2))
    return np.asarray(canvas)


def parts_overlay(grid: ActivationGrid, seen: Pixels) -> Pixels:
    """The picture, greyed, under its parts: each place in the mix of its parts' colours, as strong as they are."""
    assert grid.parts is not None
    height, width = seen.shape[:2]
    times = max(1, -(-384 // max(height, width)))
    size = (width * times, height * times)
    spread = np.stack([_stretched(weights, size) for weights in grid.parts.weights])
    total = spread.sum(0)
    colour = np.einsum("khw,kc->hwc", spread, _HUES[: len(spread)]) / np.maximum(total, 1e-12)[..., None]
    strength = (total / (float(np.quantile(total, 0.95)) or 1.0)).clip(0, 1)[..., None]
    grey = np.asarray(Image.fromarray(seen).convert("L").resize(size, Image.Resampling.BICUBIC), np.float64)[..., None]
    ground = 0.75 * grey + 0.25 * 255
    return np.round(ground + 0.62 * strength * (colour - ground)).clip(0, 255).astype(np.uint8)


def _stretched(weights: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float64]:
    return np.asarray(Image.fromarray(weights).resize(size, Image.Resampling.BILINEAR), np.float64).clip(0)


def part_icon(grid: ActivationGrid, part: int) -> Pixels:
    """A part's icon in a frame of its colour: (h, w, 3)."""
    assert grid.part_icons is not None
    icon = enlarged(grid.part_icons[part])
    frame = max(4, icon.shape[0] // 12)
    canvas = np.empty((icon.shape[0] + 2 * frame, icon.shape[1] + 2 * frame, 3), np.uint8)
    canvas[:] = _HUES[part]
    canvas[frame:-frame, frame:-frame] = icon
    return canvas


def grids_section(grids: Sequence[ActivationGrid], seen: Pixels) -> str:
    """The page's section: the picture through the layers, then each layer's parts; "" without grids."""
    if not grids:
        return ""
    figures = [figure(grid_picture(grid), _grid_words(grid), f"activation grid of {grid.layer}") for grid in grids]
    parts = "".join(_parts_section(grid, seen) for grid in grids if grid.parts is not None)
    through = "How it travels through the network" if len(grids) > 1 else "What each place stands for"
    return (
        f"<h2>{through}</h2><p>In each place stands the icon of the layer's activation vector there: what the network "
        "would most like to see to answer alike. The longer the vector, the larger its icon. Each is told apart from "
        f"the picture's mean.</p><div class='grids'>{''.join(figures)}</div>{parts}"
    )


def _grid_words(grid: ActivationGrid) -> str:
    rows, columns = grid.norms.shape
    each = f", each for {grid.together} × {grid.together} positions" if grid.together > 1 else ""
    known = grid.robust[np.isfinite(grid.robust)]
    match = f" Icons match their vectors at a cosine of {np.median(known):.2f} (median)." if len(known) else ""
    return (
        f"<b>{html.escape(grid.layer)}</b> {rows} × {columns} icons{each}; norms {grid.norms.min():.3g} to "
        f"{grid.norms.max():.3g}.{match}"
    )


def _parts_section(grid: ActivationGrid, seen: Pixels) -> str:
    parts = grid.parts
    assert parts is not None
    energy = (parts.weights.astype(np.float64) ** 2).sum((1, 2))
    shares = energy / energy.sum()
    icons = "".join(
        figure(part_icon(grid, i), f"<b>{i + 1}</b> {share:.0%}", f"part {i + 1}") for i, share in enumerate(shares)
    )
    whole, below = "the layer's energy (squared activations)", ""
    if parts.negative > 0.005:
        whole = "the energy (squared activations) of what is positive"
        below = f" {parts.negative:.0%} of the layer's is below 0 and left out."
    return (
        f"<h3>The parts of {html.escape(grid.layer)}</h3><p>Channels that rise and fall together over the picture, "
        f"grouped by non-negative matrix factorisation: {len(parts)} groups make up {parts.explained:.0%} of "
        f"{whole}.{below} In the frames, each group's own icon, and its share of them.</p>"
        f"<div class='parts'>{figure(parts_overlay(grid, seen), '', f'parts of {grid.layer}')}"
        f"<div class='tiles'>{icons}</div></div>"
    )
