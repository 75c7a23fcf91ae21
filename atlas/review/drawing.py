"""A report's pictures: maps with icons, where errors lie, pictures with boxes, intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from atlas.review.markup import Pixels, say
from atlas.storage import Atlas
from atlas.storage.atlas import AtlasLayer, AtlasLevel

_MOST_SIDE = 16  # cells along a side of a printed map: on A4 an icon is then 1 cm
_RED, _GREY = (178, 24, 43), (150, 150, 150)
_NAMES = {
    "remove_direction": "direction removed",
    "blur": "blurred",
    "inpaint": "painted over",
    "paste": "pasted elsewhere",
    "add_direction": "direction added",
}


def map_level(layer: AtlasLayer) -> AtlasLevel | None:
    """The finest level with icons whose icons can still be made out in print; None without icons."""
    drawn = [level for level in layer.levels if level.has_icon.any()]
    fitting = [level for level in drawn if level.side <= _MOST_SIDE]
    return (fitting or drawn)[-1 if fitting else 0] if drawn else None


def icons_picture(level: AtlasLevel, side: int = 1280) -> Pixels:
    """The level's icons in their places, larger where more pictures fall, on white: (side, side, 3)."""
    canvas = Image.new("RGB", (side, side), "white")
    images = level.level.images.astype(np.float64)
    full = float(np.quantile(images[level.has_icon], 0.8))
    tile = side / level.side
    for cell in np.flatnonzero(level.has_icon).tolist():
        size = max(4, round(tile * float(np.clip(np.sqrt(images[cell] / full), 0.35, 1))))
        icon = Image.fromarray(level.icon(cell)[..., :3]).resize((size, size), Image.Resampling.LANCZOS)
        middle_x = (int(level.level.column[cell]) + 0.5) * tile
        middle_y = (level.side - int(level.level.row[cell]) - 0.5) * tile
        canvas.paste(icon, (round(middle_x - size / 2), round(middle_y - size / 2)))
    return np.asarray(canvas)


def samples_picture(layer: AtlasLayer, marked: NDArray[np.bool_], side: int = 720) -> Pixels:
    """All samples as grey dots, those of marked images (images,) red on top: (side, side, 3)."""
    canvas = np.full((side, side, 3), 255, np.uint8)
    spots = np.asarray(layer.samples.positions, np.float64)
    known = np.isfinite(spots).all(1)
    inside = known & (np.nan_to_num(spots) >= 0).all(1) & (np.nan_to_num(spots) <= 1).all(1)
    of_marked = marked[np.asarray(layer.samples.image)]
    radius = 1 if inside.sum() > 4000 else 2
    for rows, colour in ((inside & ~of_marked, _GREY), (inside & of_marked, _RED)):
        x = np.round(spots[rows, 0] * (side - 1)).astype(int)
        y = np.round((1 - spots[rows, 1]) * (side - 1)).astype(int)
        for dx in range(-radius, radius + 1):
            for dy in range(-radius, radius + 1):
                if dx * dx + dy * dy <= radius * radius:
                    canvas[(y + dy).clip(0, side - 1), (x + dx).clip(0, side - 1)] = colour
    return canvas


def trust_picture(level: AtlasLevel, side: int = 720) -> Pixels:
    """Each cell in how many of their true neighbours its samples keep: white to blue, grey where unknown."""
    canvas = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(canvas)
    tile = side / level.side
    for cell, trust in enumerate(level.layout_trust.tolist()):
        left, top = int(level.level.column[cell]) * tile, (level.side - 1 - int(level.level.row[cell])) * tile
        colour = (225, 225, 225)
        if np.isfinite(trust):
            colour = tuple(round(245 + trust * (end - 245)) for end in (8, 48, 107))
        draw.rectangle((left, top, left + tile - 1, top + tile - 1), fill=colour)
    return np.asarray(canvas)


def boxed(atlas: Atlas, image: int, box: Sequence[float] | None) -> Pixels:
    """An image's thumbnail with a box (left, top, right, bottom as shares of the picture): (96, 96, 3)."""
    pixels = atlas.thumbnail(image)
    if box is None:
        return pixels
    width, height = int(atlas.images.width[image]), int(atlas.images.height[image])
    side = pixels.shape[0]
    scale = side / max(width, height)
    wide, high = width * scale, height * scale
    left, top = (side - wide) / 2, (side - high) / 2
    canvas = Image.fromarray(pixels)
    draw = ImageDraw.Draw(canvas)
    corners = (left + box[0] * wide, top + box[1] * high, left + box[2] * wide - 1, top + box[3] * high - 1)
    corners = (corners[0], corners[1], max(corners[0], corners[2]), max(corners[1], corners[3]))
    for grown, colour in ((1, "white"), (0, "#e8470c")):
        draw.rectangle(tuple(c - grown if i < 2 else c + grown for i, c in enumerate(corners)), outline=colour)
    return np.asarray(canvas)


def causal_chart(tests: Sequence[Mapping[str, Any]]) -> str:
    """Each test's change of the fed class's logit with its interval, over its controls' spread; SVG."""
    values = [0.0]
    for test in tests:
        for key in ("logit", "control", "control_spread"):
            values += [float(v) for v in test.get(key) or () if v is not None]
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 1.0
    low, high = low - pad, high + pad
    left, wide, row = 150, 560, 34
    height = row * len(tests) + 26

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (wide - left - 12)

    parts = [f'<line class="zero" x1="{at(0):.1f}" x2="{at(0):.1f}" y1="0" y2="{height - 20}"/>']
    for number, test in enumerate(tests):
        y = row * number + 16
        parts.append(f'<text x="0" y="{y + 4}">{say(_NAMES.get(str(test["name"]), str(test["name"])))}</text>')
        band = test.get("control_spread")
        if band and None not in band:
            start, end = at(float(band[0])), at(float(band[1]))
            parts.append(
                f'<rect class="band" x="{start:.1f}" y="{y - 11}" width="{max(1, end - start):.1f}" height="22"/>'
            )
        for key, kind, shift in (("control", "control", 6), ("logit", "cue", -4)):
            parts += _interval(test.get(key), kind, y + shift, at)
    parts += [
        f'<text x="{at(tick):.1f}" y="{height - 4}" text-anchor="middle">{tick:+.6g}</text>'.replace("+0<", "0<")
        for tick in _ticks(low, high)
    ]
    return (
        f'<svg viewBox="0 0 {wide} {height}" role="img" aria-label="change of the logit in each test">'
        f"{''.join(parts)}</svg>"
    )


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, three to six of them, 0 among them where it is inside."""
    step = 10 ** np.floor(np.log10((high - low) / 3))
    step = next(step * times for times in (5, 2, 1) if (high - low) / (step * times) >= 3)
    return [float(step * number) for number in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def _interval(values: Any, kind: str, y: float, at: Any) -> list[str]:
    if not values or values[0] is None:
        return []
    middle = at(float(values[0]))
    parts = [f'<circle class="{kind}" cx="{middle:.1f}" cy="{y}" r="3.6"/>']
    if None not in values[1:3]:
        start, end = at(float(values[1])), at(float(values[2]))
        parts.append(f'<line class="{kind}" x1="{start:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}"/>')
    return parts
