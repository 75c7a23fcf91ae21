"""Paint for drawn pictures: colours, textures with edges one pixel wide, and what mixes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Texture = Callable[[Array, Array, float], Array]


def oklch(lightness: float, chroma: float, hue: float) -> Array:
    """Return an sRGB colour in [0, 1], (3,): hue in turns, out-of-gamut values clipped. Ottosson 2020."""
    a, b = chroma * math.cos(2 * math.pi * hue), chroma * math.sin(2 * math.pi * hue)
    cone_l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    cone_m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    cone_s = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * cone_l - 3.3077115913 * cone_m + 0.2309699292 * cone_s,
        -1.2684380046 * cone_l + 2.6097574011 * cone_m - 0.3413193965 * cone_s,
        -0.0041960863 * cone_l - 0.7034186147 * cone_m + 1.7076147010 * cone_s,
    )
    clipped = (min(max(v, 0.0), 1.0) for v in linear)
    return np.array([12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055 for v in clipped], np.float32)


def mix(first: Array, second: Array, share: float) -> Array:
    """Blend two colours; share 0 is the first, 1 the second."""
    return first + (second - first) * np.float32(share)


# -- textures: (u, v) in pixels, in the painted object's own frame, and a period in pixels -> [0, 1]


def _edge(signed_distance: Array) -> Array:
    """Cover of a pixel by the inside (positive pixels of distance): an edge one pixel wide."""
    return np.clip(signed_distance + np.float32(0.5), 0, 1)


def _wave(u: Array, period: float) -> Array:
    """Signed distance, in pixels, to the borders of stripes of half a period."""
    return np.sin(u * np.float32(2 * math.pi / period)) * np.float32(period / (2 * math.pi))


def stripes(u: Array, v: Array, period: float) -> Array:
    """Bands of equal width along v."""
    return _edge(_wave(u, period)) + 0 * v


def pinstripes(u: Array, v: Array, period: float) -> Array:
    """Thin lines along v."""
    return _edge(np.abs(_wave(u, period * 2)) * -1 + np.float32(0.9)) + 0 * v


def rings(u: Array, v: Array, period: float) -> Array:
    """Concentric bands."""
    return _edge(_wave(np.hypot(u, v), period))


def dots(u: Array, v: Array, period: float) -> Array:
    """Round dots, every other row shifted by half a period."""
    row = np.floor(v / period)
    du = (u / period + 0.5 * (row % 2)) % 1 - 0.5
    dv = v / period - row - 0.5
    return _edge((0.31 - np.hypot(du, dv)) * period)


def checks(u: Array, v: Array, period: float) -> Array:
    """A chequerboard."""
    a, b = _wave(u, period), _wave(v, period)
    return _edge(np.sign(a * b) * np.minimum(np.abs(a), np.abs(b)))


def plaid(u: Array, v: Array, period: float) -> Array:
    """Crossing bands whose crossings are darker."""
    return 0.5 * (_edge(_wave(u, period)) + _edge(_wave(v, period)))


def scales(u: Array, v: Array, period: float) -> Array:
    """Overlapping arcs, as of a fish or of roof tiles."""
    row = np.floor(v / (0.6 * period))
    du = (u / period + 0.5 * (row % 2)) % 1 - 0.5
    dv = v / (0.6 * period) - row
    return np.clip(1.7 * (np.sqrt(np.clip(1 - 3.2 * du * du, 0, 1)) - dv) + 0.2, 0, 1)


def bricks(u: Array, v: Array, period: float) -> Array:
    """Bricks twice as wide as high, in running bond; 0 is the mortar."""
    high = 0.62 * period
    row = np.floor(v / high)
    du = np.abs((u / (1.7 * period) + 0.5 * (row % 2)) % 1 - 0.5) * 1.7 * period
    dv = np.abs(v / high - row - 0.5) * high
    return _edge(np.minimum(0.85 * period - 0.9 - du, 0.5 * high - 0.6 - dv) + 0.3)


def zigzag(u: Array, v: Array, period: float) -> Array:
    """Bands along u that turn by a right angle every period."""
    return _edge(_wave(v + np.abs(u % (1.6 * period) - 0.8 * period), 1.1 * period))


def waves(u: Array, v: Array, period: float) -> Array:
    """Wavy bands along u."""
    return _edge(_wave(v + 0.22 * period * np.sin(u * np.float32(3.6 / period)), period))


def weave(u: Array, v: Array, period: float) -> Array:
    """Basket work: short strands that run across and along by turns."""
    over = np.sign(_wave(u, 1.3 * period) * _wave(v, 1.3 * period))
    return 0.5 + 0.5 * np.where(over > 0, np.sin(u * 6.28 / period * 1.5), np.sin(v * 6.28 / period * 1.5))


def planks(u: Array, v: Array, period: float) -> Array:
    """Boards across, with dark joints."""
    return _edge(np.abs(_wave(v, 2 * period)) - np.float32(0.55)) + 0 * u


TEXTURES: dict[str, Texture] = {
    f.__name__: f
    for f in (stripes, pinstripes, rings, dots, checks, plaid, scales, bricks, zigzag, waves, weave, planks)
}


@dataclass(frozen=True, slots=True)
class Paint:
    """Two colours and what mixes them: a texture's name, "grain" (the canvas's noise), or "" for the first alone.

    period is in pixels, turn in radians within the object's frame; shift moves the pattern, in pixels.
    """

    colour: Array
    second: Array
    texture: str = ""
    period: float = 7.0
    turn: float = 0.0
    shift: float = 0.0

    def over(self, u: Array, v: Array, noise: Array) -> Array:
        """Colours at object coordinates u, v (h, w), in pixels -> (h, w, 3), or (3,) where plain."""
        if not self.texture:
            return self.colour
        if self.texture == "grain":
            share = np.clip(1.6 * noise - 0.3, 0, 1)
        else:
            if self.turn:
                c, s = np.float32(math.cos(self.turn)), np.float32(math.sin(self.turn))
                u, v = c * u + s * v, c * v - s * u
            share = TEXTURES[self.texture](u + np.float32(self.shift), v + np.float32(self.shift), self.period)
        return self.colour + (self.second - self.colour) * share[..., None]
