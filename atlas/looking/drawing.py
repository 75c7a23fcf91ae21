"""Arrays to pictures: maps in colours that can be told apart, tiles, a place on an atlas; pictures to HTML."""

from __future__ import annotations

import html
import io
from base64 import b64encode
from collections.abc import Sequence

import numpy as np
from bokeh.palettes import Inferno256
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from atlas.storage import Atlas

Pixels = NDArray[np.uint8]
_FOR, _AGAINST = np.array([178.0, 24.0, 43.0]), np.array([33.0, 102.0, 172.0])  # red and blue of ColorBrewer's RdBu
_LOUD = 0.995  # the quantile of |value| that takes the full colour: one hot pixel must not darken all others
_FEWEST = 96  # px a side of a tile


def hexadecimal(names: Sequence[str]) -> NDArray[np.float64]:
    """Colours such as "#b2182b" as numbers from 0 to 255: float64 (n, 3)."""
    return np.array([[int(name[i : i + 2], 16) for i in (1, 3, 5)] for name in names], np.float64)


_SEQUENTIAL = hexadecimal(Inferno256)


def scaled(values: NDArray[np.floating], most: float | None = None) -> NDArray[np.float64]:
    """Values over their 99.5 % quantile of |value|, or over `most`, clipped to [-1, 1]; NaN becomes 0."""
    values = np.nan_to_num(np.asarray(values, np.float64))
    top = float(np.quantile(np.abs(values), _LOUD)) if most is None else most
    top = top or float(np.abs(values).max()) or 1.0
    return np.clip(values / top, -1, 1)


def coloured(values: NDArray[np.floating], *, signed: bool, most: float | None = None) -> Pixels:
    """A map (h, w) as a picture (h, w, 3): red above 0 and blue below on white, or dark to light where unsigned."""
    share = scaled(values, most)
    if not signed:
        return np.round(_SEQUENTIAL[np.round(255 * share.clip(0)).astype(int)]).astype(np.uint8)
    end = np.where(share[..., None] > 0, _FOR, _AGAINST)
    return np.round(255 + np.abs(share)[..., None] * (end - 255)).astype(np.uint8)


def overlaid(values: NDArray[np.floating], picture: Pixels, *, signed: bool) -> Pixels:
    """A map over its own picture, greyed and faded, so that the eye can place it: (h, w, 3)."""
    share = scaled(values)
    grey = picture.astype(np.float64).mean(2, keepdims=True) * 0.32 + 165
    ink = np.where(share[..., None] > 0, _FOR, _AGAINST) if signed else np.broadcast_to(_FOR, (*share.shape, 3))
    cover = np.abs(share)[..., None] if signed else share.clip(0)[..., None]
    return np.round(grey + cover * (ink - grey)).clip(0, 255).astype(np.uint8)


def enlarged(pixels: Pixels, least: int = _FEWEST) -> Pixels:
    """Repeat pixels, whole times, until the longer side has so many."""
    times = max(1, -(-least // max(pixels.shape[:2])))
    return np.asarray(pixels.repeat(times, 0).repeat(times, 1))


def sheet(tiles: Sequence[Pixels], columns: int = 6, gap: int = 6) -> Pixels:
    """Tiles of one size side by side on white."""
    tiles = [enlarged(tile) for tile in tiles]
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    shown = min(columns, len(tiles))
    canvas = np.full((rows * (height + gap) - gap, shown * (width + gap) - gap, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        y, x = (number // columns) * (height + gap), (number % columns) * (width + gap)
        canvas[y : y + height, x : x + width] = tile
    return canvas


def png(pixels: Pixels) -> bytes:
    """Encode (h, w, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def address(pixels: Pixels) -> str:
    """A picture as a data URI."""
    return "data:image/png;base64," + b64encode(png(pixels)).decode()


def figure(pixels: Pixels, caption: str, alt: str) -> str:
    """A picture as an HTML figure. caption: HTML, already escaped; alt: plain text."""
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure><img src='{address(pixels)}' alt='{html.escape(alt, quote=True)}'>{below}</figure>"


def placed(atlas: Atlas, layer: int, spots: NDArray[np.float64], side: int = 640) -> Pixels:
    """The layer's map, faded, with a ring at each spot (n, 2), x right and y up in the unit square: (side, side, 3)."""
    canvas = Image.new("RGB", (side, side), "white")
    laid = atlas.layers[layer]
    levels = [level for level in laid.levels if level.has_icon.any() and level.side <= 32]
    if levels:
        level = levels[-1]
        tile = side / level.side
        for cell in np.flatnonzero(level.has_icon):
            column, row = int(level.level.column[cell]), int(level.level.row[cell])
            box = (round(column * tile), round((level.side - 1 - row) * tile))
            size = round(tile)
            icon = Image.fromarray(level.icon(int(cell))[..., :3]).resize((size, size), Image.Resampling.BOX)
            canvas.paste(Image.blend(icon, Image.new("RGB", icon.size, "white"), 0.45), box)
    draw = ImageDraw.Draw(canvas)
    for x, y in spots:
        at = (x * side, (1 - y) * side)
        for radius, colour in ((8, "white"), (6, "#111111"), (4, "#ff6a00")):
            draw.ellipse((at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius), fill=colour)
    return np.asarray(canvas)
