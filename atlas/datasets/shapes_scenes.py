"""Backgrounds of the embedded dataset, shared by all of its classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from atlas.datasets.drawing import PIXELS, SIZE, Canvas, Pose, ellipse, value_noise
from atlas.datasets.shapes_look import any_colour
from atlas.datasets.shapes_paint import TEXTURES, Array, Paint, mix, oklch

Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class Ground:
    """Where things stand in a scene: the highest and lowest y of their feet; flat scenes have none."""

    top: float
    bottom: float


def _grade(canvas: Canvas, upper: Array, lower: Array, top: float = 0, bottom: float = SIZE) -> None:
    """Paint rows top..bottom with a vertical gradient."""
    first, last = max(0, round(top)), min(SIZE, round(bottom))
    share = np.clip((PIXELS[first:last] - np.float32(top)) / np.float32(max(bottom - top, 1)), 0, 1)
    canvas.rgb[first:last] = (upper + (lower - upper) * share[:, None])[:, None]


def _grain(canvas: Canvas, top: int, strength: float) -> None:
    """Lighten and darken the rows from `top` by the canvas's noise."""
    canvas.rgb[top:] *= (1 + np.float32(strength) * (canvas.noise[top:, :, None] - 0.5)).astype(np.float32)


# -- scenes: each paints the whole canvas and says where things stand


def _sky(canvas: Canvas, rng: Random, bottom: float) -> bool:
    """A sky down to `bottom`: day, dawn, dusk, overcast or night; returns True at night."""
    time = rng.choice(5, p=(0.42, 0.18, 0.14, 0.1, 0.16))
    blue = rng.uniform(0.58, 0.72)
    if time == 0:
        upper, lower = oklch(rng.uniform(0.6, 0.8), 0.11, blue), oklch(rng.uniform(0.86, 0.95), 0.045, blue - 0.03)
    elif time == 1:
        upper, lower = oklch(0.72, 0.09, rng.uniform(0.75, 0.95)), oklch(0.9, 0.09, rng.uniform(0.12, 0.26))
    elif time == 2:
        upper, lower = oklch(0.42, 0.12, rng.uniform(0.75, 0.87)), oklch(0.75, 0.15, rng.uniform(0.02, 0.18))
    elif time == 3:
        upper, lower = oklch(0.72, 0.025, rng.random()), oklch(0.88, 0.015, rng.random())
    else:
        upper, lower = oklch(0.2, 0.08, rng.uniform(0.68, 0.82)), oklch(0.38, 0.1, rng.uniform(0.62, 0.85))
        _grade(canvas, upper, lower, 0, bottom)
        for x, y in rng.uniform(0, (SIZE, bottom), (int(rng.integers(8, 22)), 2)):
            canvas.rgb[int(y), int(x)] = mix(canvas.rgb[int(y), int(x)], oklch(0.97, 0.05, rng.random()), 0.8)
        return True
    _grade(canvas, upper, lower, 0, bottom)
    return False


def _sky_things(canvas: Canvas, rng: Random, bottom: float, night: bool) -> None:
    """Sun or moon, clouds, birds."""
    if rng.random() < 0.3:
        x, y, r = rng.uniform(6, 58), rng.uniform(4, max(6, bottom * 0.6)), rng.uniform(3, 7)
        colour = oklch(0.95, 0.06, 0.28) if night else oklch(0.92, 0.15, rng.uniform(0.17, 0.3))
        canvas.fill(ellipse(x, y, r * 1.7, r * 1.7), colour, opacity=0.25)
        canvas.fill(ellipse(x, y, r, r), colour, opacity=0.98)
    for _ in range(int(rng.integers(0, 4))):
        _cloud(canvas, rng, rng.uniform(0, SIZE), rng.uniform(2, bottom * 0.8), night)
    if rng.random() < 0.2:
        for _ in range(int(rng.integers(1, 4))):
            x, y, w = rng.uniform(4, 60), rng.uniform(3, bottom * 0.7), rng.uniform(2, 4)
            wings = np.array(
                [(x - w, y - w / 2), (x - w / 2, y - w * 0.7), (x, y), (x + w / 2, y - w * 0.7), (x + w, y - w / 2)]
            )
            canvas.stroke(wings.astype(np.float32), 0.8, oklch(0.25, 0.03, 0.7), opacity=0.85)


def _cloud(canvas: Canvas, rng: Random, x: float, y: float, night: bool) -> None:
    colour = oklch(0.5 if night else rng.uniform(0.9, 0.98), 0.03, rng.random())
    size = rng.uniform(3, 7)
    opacity = rng.uniform(0.6, 0.95)
    for dx, dy, r in ((-1.0, 0.1, 0.7), (0.0, -0.25, 1.0), (1.0, 0.05, 0.75)):
        canvas.fill(ellipse(x + dx * size, y + dy * size, r * size, r * size * 0.6), colour, opacity=opacity)


def _ridge(canvas: Canvas, rng: Random, y: float, height: float, paint: Paint | Array, bumps: int = 3) -> None:
    """Rolling land from a wavy line at `y` to the bottom."""
    x = np.linspace(-1, SIZE + 1, 22, dtype=np.float32)
    line = y + height * np.sin(x * np.float32(2 * math.pi * bumps / SIZE / 2) + rng.uniform(0, 6.28)).astype(np.float32)
    points = np.concatenate([np.stack([x, line], 1), np.array([(SIZE + 1, SIZE + 1), (-1, SIZE + 1)], np.float32)])
    canvas.fill(points, paint, opacity=0.999)  # below 1: no outline


def meadow(canvas: Canvas, rng: Random) -> Ground:
    """Hills and grass, now and then in autumn's or fancy's colours."""
    horizon = rng.uniform(28, 46)
    night = _sky(canvas, rng, horizon + 5)
    _sky_things(canvas, rng, horizon, night)
    hue = rng.uniform(0.28, 0.42) if rng.random() < 0.7 else rng.random()
    light = rng.uniform(0.38, 0.48) if night else rng.uniform(0.55, 0.8)
    if rng.random() < 0.7:
        far = oklch(light + 0.05, 0.06, hue + 0.06)
        _ridge(canvas, rng, horizon - rng.uniform(0, 6), rng.uniform(2, 5), far, int(rng.integers(2, 5)))
    near = Paint(oklch(light, 0.13, hue), oklch(light - 0.1, 0.12, hue + 0.02), "grain")
    _ridge(canvas, rng, horizon + 3, rng.uniform(0.5, 3), near, int(rng.integers(1, 4)))
    blades = np.float32(rng.uniform(0.04, 0.16)) * (rng.random((SIZE, SIZE), np.float32) - 0.5)
    start = int(horizon) + 5
    canvas.rgb[start:] += blades[start:, :, None]
    if rng.random() < 0.4:
        colour = any_colour(rng)
        for x, y in rng.uniform((0, horizon + 7), SIZE, (int(rng.integers(4, 14)), 2)):
            canvas.fill(ellipse(x, y, 1, 0.9), colour)
    return Ground(horizon + 6, 60)


def sea(canvas: Canvas, rng: Random) -> Ground:
    """Open water with rows of waves."""
    horizon = rng.uniform(22, 44)
    night = _sky(canvas, rng, horizon)
    _sky_things(canvas, rng, horizon, night)
    hue = rng.uniform(0.5, 0.7) if rng.random() < 0.8 else rng.random()
    light = rng.uniform(0.3, 0.4) if night else rng.uniform(0.5, 0.72)
    _grade(canvas, oklch(light + 0.1, 0.08, hue), oklch(light - 0.1, 0.1, hue + 0.03), horizon, SIZE)
    water(canvas, rng, horizon + 1, mix(oklch(light, 0.1, hue), np.ones(3, np.float32), 0.45))
    return Ground(horizon + 5, 58)


def water(canvas: Canvas, rng: Random, top: float, crest: Array) -> None:
    """Crests of waves from `top` down, longer and further apart towards the bottom."""
    y = PIXELS[:, None] - np.float32(top)
    depth = np.clip(y / np.float32(SIZE - top + 1), 0, 1)
    phase = np.sin(PIXELS[None] * np.float32(rng.uniform(0.35, 0.8)) + np.float32(rng.uniform(0, 6))) * (0.5 + depth)
    rows = np.sin(np.sqrt(np.clip(y, 0, None)) * np.float32(rng.uniform(5, 8)) + phase)
    share = np.clip(rows * 2 - 1.1 + canvas.noise - 0.5, 0, 1) * (y > 0) * np.float32(rng.uniform(0.4, 0.8))
    canvas.blend(crest, share.astype(np.float32))


def beach(canvas: Canvas, rng: Random) -> Ground:
    """A band of sea, then sand."""
    horizon = rng.uniform(18, 32)
    shore = horizon + rng.uniform(5, 12)
    night = _sky(canvas, rng, horizon)
    _sky_things(canvas, rng, horizon, night)
    hue = rng.uniform(0.5, 0.68)
    _grade(canvas, oklch(0.62, 0.1, hue), oklch(0.78, 0.08, hue - 0.06), horizon, shore + 4)
    water(canvas, rng, horizon, oklch(0.95, 0.02, hue))
    sand = oklch(rng.uniform(0.75, 0.9), rng.uniform(0.03, 0.09), rng.uniform(0.15, 0.26))
    _ridge(canvas, rng, shore, rng.uniform(0.4, 2), Paint(sand, sand * 0.9, "grain"), 2)
    start = int(shore) + 3
    canvas.rgb[start:] += 0.08 * (rng.random((SIZE - start, SIZE, 1), np.float32) - 0.5)
    return Ground(shore + 5, 60)


def desert(canvas: Canvas, rng: Random) -> Ground:
    """Dunes one behind the other, with ripples."""
    horizon = rng.uniform(26, 42)
    night = _sky(canvas, rng, horizon + 6)
    _sky_things(canvas, rng, horizon, night)
    hue = rng.uniform(0.08, 0.24)
    light = rng.uniform(0.4, 0.5) if night else rng.uniform(0.65, 0.85)
    _ridge(canvas, rng, horizon - 2, rng.uniform(2, 6), oklch(light - 0.06, 0.09, hue - 0.02), int(rng.integers(1, 4)))
    sand = oklch(light, 0.1, hue)
    ripples = (
        Paint(sand, sand * 0.88, "waves", rng.uniform(4, 8))
        if rng.random() < 0.6
        else Paint(sand, sand * 0.85, "grain")
    )
    _ridge(canvas, rng, horizon + 4, rng.uniform(1, 3), ripples, int(rng.integers(1, 3)))
    return Ground(horizon + 8, 60)


def snow(canvas: Canvas, rng: Random) -> Ground:
    """White hills, often while it snows."""
    horizon = rng.uniform(28, 44)
    night = _sky(canvas, rng, horizon + 5)
    _sky_things(canvas, rng, horizon, night)
    light = rng.uniform(0.66, 0.78) if night else rng.uniform(0.86, 0.96)
    far, near = oklch(light - 0.1, 0.035, rng.uniform(0.6, 0.8)), oklch(light, 0.02, rng.uniform(0.55, 0.75))
    _ridge(canvas, rng, horizon - 2, rng.uniform(2, 5), far, int(rng.integers(1, 4)))
    _ridge(canvas, rng, horizon + 4, rng.uniform(1, 3), Paint(near, near * 0.92, "grain"), 2)
    if rng.random() < 0.6:
        for x, y in rng.uniform(0, SIZE, (int(rng.integers(6, 16)), 2)):
            canvas.rgb[int(y), int(x)] = 1
            canvas.rgb[int(y), int(x) - 1] += 0.3
    return Ground(horizon + 8, 60)


def room(canvas: Canvas, rng: Random) -> Ground:
    """A papered wall above a floor of boards, tiles or carpet."""
    floor = rng.uniform(40, 54)
    wall = oklch(rng.uniform(0.55, 0.93), rng.uniform(0.02, 0.1), rng.random())
    _pattern(canvas, rng, wall, rng.uniform(0.05, 0.14))
    base = oklch(
        rng.uniform(0.4, 0.75), rng.uniform(0.03, 0.1), rng.uniform(0.05, 0.25) if rng.random() < 0.6 else rng.random()
    )
    ground = Paint(base, base * 0.8, str(rng.choice(("planks", "checks", "grain", "weave"))), rng.uniform(4, 9))
    canvas.fill(np.array([(-1, floor), (65, floor), (65, 65), (-1, 65)], np.float32), ground, opacity=0.999)
    skirting = mix(wall, np.ones(3, np.float32), 0.6)
    canvas.fill(
        np.array([(-1, floor - 2.2), (65, floor - 2.2), (65, floor), (-1, floor)], np.float32), skirting, opacity=0.95
    )
    return Ground(floor + 3, 61)


def _pattern(canvas: Canvas, rng: Random, colour: Array, contrast: float) -> None:
    """Fill the canvas with a repeating pattern of two related colours."""
    other = np.clip(
        colour + np.float32(contrast * rng.choice((-1, 1))) * rng.uniform(0.5, 1.5, 3).astype(np.float32), 0, 1
    )
    paint = Paint(colour, other, str(rng.choice(list(TEXTURES))), rng.uniform(5, 13), rng.choice((0.0, 0.785, 1.571)))
    frame = Pose(rng.uniform(0, SIZE), rng.uniform(0, SIZE), 1)
    u, v = frame.to_object(PIXELS[None], PIXELS[:, None])
    canvas.rgb[:] = paint.over(u, v, canvas.noise)


def paper(canvas: Canvas, rng: Random) -> None:
    """Wrapping paper: a bold pattern, nothing stands."""
    _pattern(canvas, rng, any_colour(rng), rng.uniform(0.08, 0.3))


def depths(canvas: Canvas, rng: Random) -> Ground:
    """Under water: rays of light, weed, bubbles, a sandy floor."""
    hue = rng.uniform(0.45, 0.72)
    _grade(canvas, oklch(rng.uniform(0.65, 0.85), 0.09, hue), oklch(rng.uniform(0.3, 0.5), 0.09, hue + 0.05))
    slant = np.sin(
        (PIXELS[None] + PIXELS[:, None] * np.float32(rng.uniform(-0.6, 0.6))) * np.float32(rng.uniform(0.15, 0.4))
    )
    canvas.blend(
        np.ones(3, np.float32), (np.clip(slant, 0, 1) * (1 - PIXELS[:, None] / SIZE) * 0.25).astype(np.float32)
    )
    floor = rng.uniform(52, 60)
    sand = oklch(rng.uniform(0.5, 0.8), 0.05, rng.uniform(0.1, 0.5))
    _ridge(canvas, rng, floor, rng.uniform(1, 3), Paint(sand, sand * 0.85, "grain"), 2)
    for _ in range(int(rng.integers(0, 4))):
        _weed(canvas, rng, rng.uniform(0, SIZE), 64)
    bubbles(canvas, rng, int(rng.integers(0, 7)))
    return Ground(floor - 2, 60)


def _weed(canvas: Canvas, rng: Random, x: float, bottom: float) -> None:
    y = np.linspace(bottom, bottom - rng.uniform(14, 34), 8, dtype=np.float32)
    sway = x + rng.uniform(1, 3) * np.sin(y * np.float32(rng.uniform(0.2, 0.4)))
    colour = oklch(rng.uniform(0.4, 0.65), 0.12, rng.uniform(0.3, 0.45) if rng.random() < 0.6 else rng.random())
    canvas.stroke(np.stack([sway, y], 1).astype(np.float32), rng.uniform(1.2, 2.8), colour)


def bubbles(canvas: Canvas, rng: Random, count: int) -> None:
    """Blow bubbles anywhere."""
    for _ in range(count):
        x, y, r = rng.uniform(2, 62), rng.uniform(2, 58), rng.uniform(1, 3)
        canvas.fill(ellipse(x, y, r, r), oklch(0.95, 0.03, 0.6), opacity=0.35)
        canvas.fill(ellipse(x - r * 0.3, y - r * 0.3, r * 0.35, r * 0.35), np.ones(3, np.float32), opacity=0.8)


def haze(canvas: Canvas, rng: Random) -> None:
    """A field of soft colours, as of wet paint."""
    first, second, third = any_colour(rng), any_colour(rng), any_colour(rng)
    coarse = value_noise(rng, int(rng.integers(3, 7)))[..., None]
    canvas.rgb[:] = first + (second - first) * coarse
    canvas.blend(third, (value_noise(rng, int(rng.integers(4, 14))) ** 2) * np.float32(0.8))


def forest(canvas: Canvas, rng: Random) -> Ground:
    """Trunks and leaves without end."""
    hue = rng.uniform(0.28, 0.45) if rng.random() < 0.65 else rng.random()
    light = rng.uniform(0.3, 0.65)
    _grade(canvas, oklch(light + 0.2, 0.07, hue), oklch(light, 0.08, hue + 0.04))
    trunk = oklch(max(light - 0.12, 0.18), 0.04, rng.uniform(0.05, 0.4))
    for x in rng.uniform(0, SIZE, int(rng.integers(3, 8))):
        canvas.stroke(
            np.array([(x, -2), (x + rng.uniform(-4, 4), 58)], np.float32), rng.uniform(1.5, 4), trunk, opacity=0.8
        )
    leaves = value_noise(rng, 20)
    canopy = np.clip((leaves - 0.35) * 4 - PIXELS[:, None] / np.float32(rng.uniform(12, 26)) + 0.8, 0, 1)
    canvas.blend(oklch(light + 0.02, 0.12, hue - 0.03), canopy.astype(np.float32))
    floor = rng.uniform(46, 56)
    _ridge(
        canvas,
        rng,
        floor,
        rng.uniform(0.5, 2),
        Paint(oklch(light, 0.1, hue), oklch(light - 0.12, 0.09, hue + 0.03), "grain"),
        2,
    )
    return Ground(floor + 2, 61)


def town(canvas: Canvas, rng: Random) -> Ground:
    """Silhouettes of blocks before a street."""
    street = rng.uniform(42, 54)
    night = _sky(canvas, rng, street)
    _sky_things(canvas, rng, street - 14, night)
    hue, x = rng.random(), -2.0
    lit = oklch(0.9, 0.12, 0.25) if night else oklch(0.85, 0.03, hue)
    while x < SIZE:
        wide, high = rng.uniform(7, 15), rng.uniform(8, 30)
        block = oklch(rng.uniform(0.26, 0.36) if night else rng.uniform(0.5, 0.75), 0.05, hue + rng.uniform(-0.1, 0.1))
        canvas.fill(_rectangle(x, street - high, x + wide, street + 1), block, opacity=0.97)
        for wx in np.arange(x + 2, x + wide - 1.5, 3.2):
            for wy in np.arange(street - high + 2, street - 3, 4.5):
                if rng.random() < 0.5:
                    canvas.rgb[max(0, int(wy)) : int(wy) + 2, max(0, int(wx)) : int(wx) + 1] = lit
        x += wide + rng.choice((0.0, 0.0, 3.0))
    road = oklch(rng.uniform(0.3, 0.65), 0.02, rng.random())
    canvas.fill(_rectangle(-1, street, 65, 65), Paint(road, road * 0.9, "grain"), opacity=0.999)
    if rng.random() < 0.5:
        for x in np.arange(rng.uniform(-8, 0), SIZE, 14):
            canvas.fill(_rectangle(x, street + 6, x + 7, street + 7.5), oklch(0.9, 0.02, 0.25), opacity=0.9)
    return Ground(street + 2, 60)


def _rectangle(left: float, top: float, right: float, bottom: float) -> Array:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float32)


SCENES: dict[str, Callable[[Canvas, Random], Ground | None]] = {
    f.__name__: f for f in (meadow, sea, beach, desert, snow, room, paper, depths, haze, forest, town)
}
