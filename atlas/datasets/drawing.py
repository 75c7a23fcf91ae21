"""A small canvas for drawn pictures: anti-aliased shapes filled with textured, shaded paint.

Shapes are rasterised by Pillow at four times the canvas's resolution and reduced, while paint is
computed at the canvas's own resolution with edges one pixel wide. So a part costs about 0.1 ms,
where painting everything at four times the size would cost sixteen times as much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from atlas.datasets.shapes_paint import Array, Paint

SIZE = 64
OVER = 4  # supersampling of shapes

PIXELS = np.arange(SIZE, dtype=np.float32) + np.float32(0.5)


@dataclass
class Canvas:
    """A picture under way: rgb float32 (64, 64, 3) in [0, 1], and what all of its parts share.

    light: direction the light comes from, (x, y) with y down. shade: how much a part darkens away
    from it. ink: the outlines' colour, None for none. line: their width. noise: (64, 64) in [0, 1].
    """

    rgb: Array
    noise: Array
    light: tuple[float, float] = (-0.6, -0.8)
    shade: float = 0.15
    ink: Array | None = None
    line: float = 1.1
    _mask: Image.Image = field(init=False, repr=False)
    _draw: ImageDraw.ImageDraw = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # One mask for all parts, wiped after each: a new image and its drawer cost more than a small polygon.
        self._mask = Image.new("L", (SIZE * OVER, SIZE * OVER))
        self._draw = ImageDraw.Draw(self._mask)

    def fill(self, points: Array, paint: Paint | Array, frame: Pose | None = None, opacity: float = 1.0) -> None:
        """Fill a polygon; points (n, 2) in pixels, x right and y down; the paint's frame is the picture unless given.

        With ink, a polygon of opacity 1 that is larger than a few pixels is outlined.
        """
        left, top = points.min(0).tolist()
        right, bottom = points.max(0).tolist()
        bounds = (left, top, right, bottom)
        flat = (points * OVER - 0.5).ravel().tolist()
        if area := _visible(bounds, 0):
            self._draw.polygon(flat, fill=255)
            self._lay(area, bounds, paint, frame, opacity)
        if self.ink is None or opacity < 1 or min(right - left, bottom - top) < 5:
            return
        if area := _visible(bounds, self.line):
            self._draw.line(flat + flat[:4], fill=255, width=round(self.line * OVER), joint="curve")
            self._lay(area, bounds, self.ink, None, 0.9)

    def stroke(
        self, points: Array, width: float, paint: Paint | Array, frame: Pose | None = None, opacity: float = 1.0
    ) -> None:
        """Draw a line of `width` pixels with round ends through points (n, 2)."""
        left, top = points.min(0).tolist()
        right, bottom = points.max(0).tolist()
        half = width / 2
        bounds = (left - half, top - half, right + half, bottom + half)
        area = _visible(bounds, 0)
        if area is None:
            return
        flat = (points * OVER - 0.5).ravel().tolist()
        self._draw.line(flat, fill=255, width=max(1, round(width * OVER)), joint="curve")
        r = half * OVER
        if r > 2:
            for x, y in (flat[:2], flat[-2:]):
                self._draw.ellipse((x - r, y - r, x + r, y + r), fill=255)
        self._lay(area, bounds, paint, frame, opacity)

    def blend(self, colour: Array, share: Array) -> None:
        """Mix one colour into the whole picture by share (64, 64) or (64, 1)."""
        self.rgb += (colour - self.rgb) * share[..., None]

    def _lay(
        self,
        area: tuple[int, int, int, int],
        bounds: tuple[float, float, float, float],
        paint: Paint | Array,
        frame: Pose | None,
        opacity: float,
    ) -> None:
        """Paint the masked area and wipe the mask; bounds are the part's own, before clipping."""
        left, top, right, bottom = area
        box = (left * OVER, top * OVER, right * OVER, bottom * OVER)
        cover = np.asarray(self._mask.reduce(OVER, box))
        # Pillow rounds a corner on the border outwards, so wipe a little more than was read.
        self._mask.paste(0, (max(0, box[0] - OVER), max(0, box[1] - OVER), box[2] + OVER, box[3] + OVER))
        x, y = PIXELS[None, left:right], PIXELS[top:bottom, None]
        colour: Array
        if isinstance(paint, Paint):
            u, v = frame.to_object(x, y) if frame is not None and paint.texture else (x, y)
            colour = paint.over(u, v, self.noise[top:bottom, left:right])
        else:
            colour = paint
        if self.shade and right - left > 4:
            wide, high = max(bounds[2] - bounds[0], 2.0), max(bounds[3] - bounds[1], 2.0)
            across = (x - (bounds[0] + bounds[2]) / 2) * (2 * self.shade * self.light[0] / wide)
            down = (y - (bounds[1] + bounds[3]) / 2) * (2 * self.shade * self.light[1] / high) + 1
            colour = colour * (across + down)[..., None]
        region = self.rgb[top:bottom, left:right]
        region += (colour - region) * (cover * np.float32(opacity / 255))[..., None]


def _visible(bounds: tuple[float, float, float, float], margin: float) -> tuple[int, int, int, int] | None:
    """The whole pixels that a part touches, or None where it lies outside of the picture."""
    left, top = max(0, math.floor(bounds[0] - margin)), max(0, math.floor(bounds[1] - margin))
    right, bottom = min(SIZE, math.ceil(bounds[2] + margin)), min(SIZE, math.ceil(bounds[3] + margin))
    return (left, top, right, bottom) if right > left and bottom > top else None


@dataclass
class Pose:
    """Where an object stands: its unit frame, x right and y down, to pixels.

    centre in pixels, scale in pixels per unit, angle in radians clockwise, stretch: width against height.
    """

    x: float
    y: float
    scale: float
    angle: float = 0.0
    flip: bool = False
    stretch: float = 1.0
    _matrix: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        c, s = math.cos(self.angle), math.sin(self.angle)
        wide = self.scale * self.stretch * (-1 if self.flip else 1)
        self._matrix = np.array([[c * wide, s * wide], [-s * self.scale, c * self.scale]], np.float32)

    def to_pixels(self, points: Array | Sequence[tuple[float, float]]) -> Array:
        """(n, 2) in the unit frame -> (n, 2) in pixels."""
        return np.asarray(points, np.float32) @ self._matrix + np.array([self.x, self.y], np.float32)

    def to_object(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Pixels -> coordinates in the turned frame, still in pixels, so that a texture's period stays."""
        c, s = np.float32(math.cos(self.angle)), np.float32(math.sin(self.angle))
        dx, dy = x - np.float32(self.x), y - np.float32(self.y)
        return (c * dx + s * dy) * np.float32(-1 if self.flip else 1), c * dy - s * dx


@dataclass
class Pen:
    """Draws on a canvas in an object's unit frame."""

    canvas: Canvas
    pose: Pose

    def shape(self, points: Array | Sequence[tuple[float, float]], paint: Paint | Array, opacity: float = 1.0) -> None:
        """Fill a polygon given in the unit frame."""
        self.canvas.fill(self.pose.to_pixels(points), paint, self.pose, opacity)

    def soft(self, points: Array | Sequence[tuple[float, float]], paint: Paint | Array, opacity: float = 1.0) -> None:
        """Fill the closed smooth curve through points given in the unit frame."""
        self.shape(smooth(points), paint, opacity)

    def disc(
        self,
        x: float,
        y: float,
        rx: float,
        paint: Paint | Array,
        ry: float = 0.0,
        turn: float = 0.0,
        opacity: float = 1.0,
    ) -> None:
        """Fill an ellipse; ry 0 is a circle."""
        self.shape(ellipse(x, y, rx, ry or rx, turn), paint, opacity)

    def box(self, left: float, top: float, right: float, bottom: float, paint: Paint | Array) -> None:
        """Fill a rectangle."""
        self.shape([(left, top), (right, top), (right, bottom), (left, bottom)], paint)

    def line(self, points: Array | Sequence[tuple[float, float]], width: float, paint: Paint | Array) -> None:
        """Draw a line with round ends; width in units, at least 0.8 pixels."""
        self.canvas.stroke(self.pose.to_pixels(points), max(width * self.pose.scale, 0.8), paint, self.pose)


# -- outlines in the unit frame


@cache
def _circle(corners: int) -> Array:
    angle = np.arange(corners, dtype=np.float32) * np.float32(2 * math.pi / corners)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> Array:
    """An ellipse's outline, (28, 2)."""
    points = _circle(28) * np.array([rx, ry], np.float32)
    if turn:
        c, s = math.cos(turn), math.sin(turn)
        points = points @ np.array([[c, s], [-s, c]], np.float32)
    return points + np.array([x, y], np.float32)


def arc(x: float, y: float, rx: float, ry: float, start: float, stop: float, corners: int = 14) -> Array:
    """Points (corners, 2) on an ellipse from angle start to stop, in turns clockwise from the right."""
    angle = np.linspace(2 * math.pi * start, 2 * math.pi * stop, corners, dtype=np.float32)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1).astype(np.float32)


@cache
def _spline(steps: int) -> Array:
    t = (np.arange(steps, dtype=np.float32) / steps)[:, None]
    weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3)
    return (np.concatenate(weights, 1) / 2).astype(np.float32)


@cache
def _neighbours(corners: int) -> NDArray[np.intp]:
    """For each corner of a closed curve the one before, itself and the two after, (corners, 4)."""
    return (np.arange(corners)[:, None] + np.array([-1, 0, 1, 2])) % corners


def smooth(points: Array | Sequence[tuple[float, float]], steps: int = 6) -> Array:
    """The closed Catmull-Rom curve through points (n, 2) -> (n * steps, 2)."""
    around = np.asarray(points, np.float32)[_neighbours(len(points))]
    return (_spline(steps) @ around).reshape(-1, 2)


def star(x: float, y: float, radius: float, inner: float, tips: int, turn: float = 0.0) -> Array:
    """A star's outline, (2 * tips, 2); inner is the share of the radius between two tips."""
    points = _circle(2 * tips).copy()
    points[1::2] *= np.float32(inner)
    c, s = math.cos(turn - math.pi / 2), math.sin(turn - math.pi / 2)
    turned = points @ np.array([[c, s], [-s, c]], np.float32)
    return turned * np.float32(radius) + np.array([x, y], np.float32)


def value_noise(rng: np.random.Generator, cells: int) -> Array:
    """Smooth noise (64, 64) in [0, 1]: random values on a grid, bicubic between them."""
    grid = Image.fromarray(rng.random((cells, cells), np.float32))
    return np.clip(np.asarray(grid.resize((SIZE, SIZE), Image.Resampling.BICUBIC)), 0, 1)
