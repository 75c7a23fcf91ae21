"""A picture as a layer sees it: the icon of each position's activation vector, and its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from atlas.attribution import Parts, find_parts
from atlas.errors import AttributionError
from atlas.models import Model, as_grid, capture, layer_shapes
from atlas.models.capture import Tap
from atlas.records import LayerShape, Progress, prefixed, silent
from atlas.rendering import render_icons

ACROSS = 14
PARTS = 6


@dataclass(frozen=True)
class ActivationGrid:
    """One layer's activation vectors for one picture, each with its icon.

    norms: float32 (rows, columns), the lengths of the positions' vectors. icons: uint8 (rows, columns, size, size, 3),
    black where a vector is 0. robust: float32 (rows, columns), how well each icon matches its vector, see
    records.Icons; NaN where there is none. together: one square stands for so many positions of the layer along each
    side, by the mean of their vectors and of their lengths. parts, part_icons: the layer's positions in groups, uint8
    (k, size, size, 3); None where the layer has one position alone, or nothing positive.
    """

    layer: str
    norms: NDArray[np.float32]
    icons: NDArray[np.uint8]
    robust: NDArray[np.float32]
    together: int
    parts: Parts | None
    part_icons: NDArray[np.uint8] | None


def activation_grids(
    model: Model,
    picture: torch.Tensor,
    layers: Sequence[str],
    *,
    size: int = 48,
    across: int = ACROSS,
    parts: int = PARTS,
    seed: int = 0,
    device: str = "auto",
    tap: Tap = "output",
    cache: Path | None = None,
    progress: Progress = silent,
) -> tuple[ActivationGrid, ...]:
    """Render what each position of layers stands for, in the order asked for.

    picture: uint8, or normalised floats, (channels, height, width). size: of an icon, px. across: at most so many
    icons along a side: neighbouring positions of a larger map are averaged. parts: how many groups the positions are
    put into. cache: a folder where finished icons are kept. Olah et al. 2018, "The Building Blocks of
    Interpretability". Raises LayerError and RenderError as `render_icons` does.
    """
    batch = picture[None].to(model.device)
    batch = batch if batch.is_floating_point() else model.preprocess.normalise(batch)
    channels, height, width = batch.shape[1:]
    shapes = layer_shapes(model, layers, (int(channels), int(height), int(width)), tap=tap)
    with torch.no_grad(), capture(model.network, layers, tap=tap) as run:
        seen = run(batch)
    options: dict[str, Any] = {"size": size, "seed": seed, "device": device, "tap": tap, "cache": cache}
    found = []
    for layer in layers:
        shape = shapes[layer]
        values = as_grid(seen[layer], shape)[0].float().T.reshape(shape.channels, shape.height, shape.width)
        squares, together = merged(values, across)
        vectors = squares.flatten(1).T.cpu().numpy()
        grid, robust = _icons(model, layer, vectors, prefixed(progress, f"{layer}: "), options)
        grouped = _grouped(values.cpu().numpy(), shape, parts, seed)
        own = None
        if grouped is not None:
            said = prefixed(progress, f"{layer} parts: ")
            own = render_icons(model, layer, grouped.directions, progress=said, **options).images
        square = squares.shape[1:]
        # Of positions, then their mean: the mean of four vectors is shorter than that of the two at an odd map's edge.
        norms = merged(values.norm(dim=0, keepdim=True), across)[0][0].cpu().numpy()
        icons = grid.reshape(*square, size, size, 3)
        found.append(ActivationGrid(layer, norms, icons, robust.reshape(square), together, grouped, own))
    return tuple(found)


def _icons(
    model: Model, layer: str, vectors: NDArray[np.float32], progress: Progress, options: dict[str, Any]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Icons uint8 (n, size, size, 3) and their robust cosines (n,); black and NaN where a vector is 0."""
    images = np.zeros((len(vectors), options["size"], options["size"], 3), np.uint8)
    robust = np.full(len(vectors), np.nan, np.float32)
    drawn = np.flatnonzero(vectors.any(1))
    if len(drawn):
        # Told apart from the picture's mean, 0.57 to 0.63 of the icons are nearest to their own vector, else 0.34 to
        # 0.44 (a picture each of ImageNet and of the embedded set).
        mean = vectors.mean(0) if len(drawn) > 1 else None
        icons = render_icons(model, layer, vectors[drawn], mean=mean, progress=progress, **options)
        images[drawn], robust[drawn] = icons.images, icons.robust
    return images, robust


def merged(values: torch.Tensor, across: int) -> tuple[torch.Tensor, int]:
    """Average squares of positions (channels, height, width), so that at most `across` are left along a side."""
    together = max(1, -(-max(values.shape[1:]) // across))
    if together == 1:
        return values, 1
    pooled = functional.avg_pool2d(values[None], together, ceil_mode=True, count_include_pad=False)[0]
    return pooled, together


def _grouped(values: NDArray[np.float32], shape: LayerShape, parts: int, seed: int) -> Parts | None:
    if shape.height * shape.width == 1:
        return None
    try:
        return find_parts(values, parts, seed=seed)
    except AttributionError:  # nothing positive: there is nothing to group
        return None
