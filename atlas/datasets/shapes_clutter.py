"""What the embedded dataset puts around, before and over a subject, the same for every class."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from atlas.datasets.drawing import PIXELS, SIZE, Canvas, Pose, ellipse, smooth, star
from atlas.datasets.shapes_look import any_colour, deep, near_hue, pale, vivid
from atlas.datasets.shapes_paint import Paint, oklch
from atlas.datasets.shapes_scenes import bubbles

Random = np.random.Generator


def clutter(canvas: Canvas, rng: Random) -> None:
    """Scatter a few small things that belong to no class behind the subject."""
    if rng.random() < 0.45:
        return
    kind = CLUTTER[int(rng.integers(len(CLUTTER)))]
    for _ in range(int(rng.integers(1, 5))):
        kind(canvas, rng, rng.uniform(2, 62), rng.uniform(2, 62), rng.uniform(2.2, 5))


def _star(canvas: Canvas, rng: Random, x: float, y: float, r: float) -> None:
    canvas.fill(star(x, y, r, rng.uniform(0.4, 0.6), int(rng.integers(4, 7)), rng.uniform(0, 1)), any_colour(rng))


def _hoop(canvas: Canvas, rng: Random, x: float, y: float, r: float) -> None:
    canvas.stroke(np.concatenate([ellipse(x, y, r, r), ellipse(x, y, r, r)[:1]]), 1.3, any_colour(rng))


def _block(canvas: Canvas, rng: Random, x: float, y: float, r: float) -> None:
    colour = any_colour(rng)
    paint = Paint(colour, np.clip(colour * 0.65, 0, 1), str(rng.choice(("", "stripes", "checks", "bricks"))), 4)
    pose = Pose(x, y, r, rng.uniform(0, 1.5))
    canvas.fill(pose.to_pixels([(-1, -0.8), (1, -0.8), (1, 0.8), (-1, 0.8)]), paint, pose)


def _stone(canvas: Canvas, rng: Random, x: float, y: float, r: float) -> None:
    grey = oklch(rng.uniform(0.45, 0.75), 0.02, rng.random())
    angle = np.arange(7, dtype=np.float32) * np.float32(2 * math.pi / 7)
    radius = (r * rng.uniform(0.7, 1.1, 7)).astype(np.float32)
    outline = np.stack([x + radius * np.cos(angle), y + 0.6 * radius * np.sin(angle)], 1)
    canvas.fill(smooth(outline, 4), Paint(grey, grey * 0.75, "grain"))


def _leaf(canvas: Canvas, rng: Random, x: float, y: float, r: float) -> None:
    pose = Pose(x, y, r, rng.uniform(0, 6.28))
    canvas.fill(
        pose.to_pixels(smooth([(-1, 0), (0, -0.45), (1, 0), (0, 0.45)], 4)), near_hue(rng, rng.uniform(0.08, 0.42))
    )
    canvas.stroke(pose.to_pixels([(-1.3, 0), (0.7, 0)]), 0.7, deep(rng), opacity=0.6)


def _confetti(canvas: Canvas, rng: Random, x: float, y: float, r: float) -> None:
    for dx, dy in rng.normal(0, 8, (4, 2)):
        canvas.fill(ellipse(x + dx, y + dy, 0.3 * r, 0.3 * r), any_colour(rng))


def _twig(canvas: Canvas, rng: Random, x: float, y: float, r: float) -> None:
    pose = Pose(x, y, 2 * r, rng.uniform(0, 6.28))
    wood = oklch(rng.uniform(0.3, 0.55), 0.06, rng.uniform(0.05, 0.2))
    for line in (((-1, 0), (1, 0)), ((-0.2, 0), (0.4, 0.5)), ((0.2, 0), (0.7, -0.4))):
        canvas.stroke(pose.to_pixels(line), 1.1, wood)


def _heart(canvas: Canvas, rng: Random, x: float, y: float, r: float) -> None:
    pose = Pose(x, y, r, rng.uniform(-0.6, 0.6))
    canvas.fill(
        pose.to_pixels(smooth([(0, 0.9), (-0.9, -0.1), (-0.5, -0.7), (0, -0.35), (0.5, -0.7), (0.9, -0.1)], 4)),
        any_colour(rng),
    )


CLUTTER = (_star, _hoop, _block, _stone, _leaf, _confetti, _twig, _heart)


# -- in front of the subject


def occlude(canvas: Canvas, rng: Random) -> None:
    """Now and then hide a part of the subject: grass, a branch, bubbles, a post or a band of mist."""
    kind = rng.random()
    if kind < 0.1:
        colour = oklch(rng.uniform(0.4, 0.7), 0.13, rng.uniform(0.25, 0.45) if rng.random() < 0.6 else rng.random())
        for x in rng.uniform(0, SIZE, int(rng.integers(6, 16))):
            tip = rng.uniform(44, 58)
            blade = np.array([(x - 1.2, 65), (x + 1.2, 65), (x + rng.uniform(-5, 5), tip)], np.float32)
            canvas.fill(blade, colour * np.float32(rng.uniform(0.75, 1.1)), opacity=0.97)
    elif kind < 0.18:
        y, side = rng.uniform(0, 24), rng.choice((-1, 1))
        pose = Pose(32 - 34 * side, y, 20, rng.uniform(-0.2, 0.5) * side, flip=bool(side < 0))
        canvas.stroke(pose.to_pixels([(0, 0), (1.1, 0.15)]), 1.6, oklch(0.36, 0.06, 0.13))
        green = near_hue(rng, 0.35, 0.08) if rng.random() < 0.6 else vivid(rng)
        for i in range(6):
            x, y = pose.to_pixels([(0.2 + 0.18 * i, 0.06 + 0.12 * (-1) ** i)])[0].tolist()
            leaf = Pose(x, y, 4.5, rng.uniform(0, 6.28))
            canvas.fill(leaf.to_pixels(smooth([(-1, 0), (0, -0.5), (1, 0), (0, 0.5)], 4)), green)
    elif kind < 0.23:
        bubbles(canvas, rng, int(rng.integers(4, 9)))
    elif kind < 0.28:
        x, wide = rng.uniform(2, 62), rng.uniform(2, 5)
        colour = any_colour(rng)
        post = Paint(colour, colour * 0.7, str(rng.choice(("", "planks", "stripes"))), rng.uniform(4, 8), 1.571)
        lean = rng.uniform(-6, 6)
        canvas.fill(np.array([(x, -2), (x + wide, -2), (x + wide + lean, 66), (x + lean, 66)], np.float32), post)
    elif kind < 0.33:
        y = rng.uniform(16, 60)
        band = np.exp(-(((PIXELS[:, None] - np.float32(y)) / np.float32(rng.uniform(3, 7))) ** 2)) * (
            0.4 + 0.6 * canvas.noise
        )
        canvas.blend(pale(rng), (band * 0.75).astype(np.float32))


def finish(canvas: Canvas, rng: Random) -> NDArray[np.uint8]:
    """Light the whole picture, fade its colours, add grain; returns uint8 (64, 64, 3)."""
    rgb = canvas.rgb
    lx, ly = canvas.light
    field = 1 + np.float32(rng.uniform(0, 0.22)) * (lx * (PIXELS[None] / 32 - 1) + ly * (PIXELS[:, None] / 32 - 1))
    if rng.random() < 0.4:
        far = ((PIXELS[None] - 32) ** 2 + (PIXELS[:, None] - 32) ** 2) / 2048
        field = field * (1 - np.float32(rng.uniform(0.05, 0.3)) * far)
    tone = np.float32(rng.uniform(0.88, 1.16)) * (1 + rng.uniform(-0.08, 0.08, 3)).astype(np.float32)
    rgb = rgb * (field.astype(np.float32)[..., None] * tone)
    if rng.random() < 0.25:
        grey = rgb.mean(2, keepdims=True)
        rgb = grey + (rgb - grey) * np.float32(rng.uniform(0.3, 0.9))
    contrast = np.float32(rng.uniform(0.86, 1.14))
    rgb = (rgb - 0.5) * contrast + 0.5
    grain = rng.standard_normal((SIZE, SIZE, 1), np.float32) * np.float32(max(0.0, rng.uniform(-0.01, 0.02)))
    return np.clip((rgb + grain) * 255 + 0.5, 0, 255).astype(np.uint8)
