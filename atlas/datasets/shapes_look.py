"""The colours and fabrics that one subject of the embedded dataset wears."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.datasets.shapes_paint import TEXTURES, Array, Paint, mix, oklch

Random = np.random.Generator

BOLD = ("stripes", "pinstripes", "dots", "checks", "plaid", "scales", "zigzag", "waves", "rings", "weave")


def vivid(rng: Random) -> Array:
    """A saturated colour of any hue."""
    return oklch(rng.uniform(0.5, 0.8), rng.uniform(0.11, 0.2), rng.random())


def pale(rng: Random) -> Array:
    """A light, faint colour of any hue."""
    return oklch(rng.uniform(0.87, 0.97), rng.uniform(0.01, 0.06), rng.random())


def deep(rng: Random) -> Array:
    """A dark colour of any hue."""
    return oklch(rng.uniform(0.2, 0.36), rng.uniform(0.02, 0.09), rng.random())


def near_hue(rng: Random, hue: float, spread: float = 0.04) -> Array:
    """A saturated colour around a hue, in turns."""
    return oklch(rng.uniform(0.52, 0.78), rng.uniform(0.1, 0.18), hue + rng.uniform(-spread, spread))


def any_colour(rng: Random) -> Array:
    """Mostly vivid, sometimes pale or dark."""
    kind = rng.random()
    return vivid(rng) if kind < 0.65 else pale(rng) if kind < 0.85 else deep(rng)


@dataclass(frozen=True)
class Look:
    """Draws colours that stand out from `behind`, the mean colour behind the subject, (3,)."""

    rng: np.random.Generator
    behind: Array

    def clear(
        self, *hues: float, light: tuple[float, float] = (0.45, 0.8), chroma: tuple[float, float] = (0.1, 0.2)
    ) -> Array:
        """A colour that stands out: near one of `hues` (in turns) for six pictures of ten, else of any hue."""
        natural = bool(hues) and self.rng.random() < 0.6
        colour = self.behind
        for _ in range(6):
            hue = hues[int(self.rng.integers(len(hues)))] + self.rng.normal(0, 0.025) if natural else self.rng.random()
            colour = oklch(self.rng.uniform(*light), self.rng.uniform(*chroma), hue)
            if float(np.abs(colour - self.behind).sum()) > 0.6:
                break
        return colour

    def white(self) -> Array:
        """Nearly white, tinted; now and then a pastel."""
        if self.rng.random() < 0.25:
            return oklch(self.rng.uniform(0.8, 0.9), self.rng.uniform(0.05, 0.1), self.rng.random())
        return oklch(self.rng.uniform(0.9, 0.98), self.rng.uniform(0.0, 0.03), self.rng.random())

    def dark(self) -> Array:
        """Nearly black, tinted."""
        return oklch(self.rng.uniform(0.16, 0.32), self.rng.uniform(0.0, 0.07), self.rng.random())

    def wood(self) -> Array:
        """Brown, grey or reddish; for one picture in six of any hue."""
        hue = self.rng.random() if self.rng.random() < 0.17 else self.rng.uniform(0.04, 0.2)
        return oklch(self.rng.uniform(0.32, 0.62), self.rng.uniform(0.03, 0.1), hue)

    def other(self, colour: Array) -> Array:
        """A colour that goes with `colour` and stands out from it: lighter, darker, or of another hue."""
        kind = self.rng.random()
        if kind < 0.3:
            return mix(colour, np.ones(3, np.float32), self.rng.uniform(0.5, 0.9))
        if kind < 0.55:
            return (colour * np.float32(self.rng.uniform(0.35, 0.65))).astype(np.float32)
        for _ in range(6):
            found = oklch(self.rng.uniform(0.3, 0.92), self.rng.uniform(0.06, 0.2), self.rng.random())
            if float(np.abs(found - colour).sum()) > 0.55:
                return found
        return mix(colour, np.ones(3, np.float32), 0.8)

    def cloth(
        self,
        colour: Array,
        names: Sequence[str] = BOLD,
        plain: float = 0.3,
        period: tuple[float, float] = (4.5, 9.5),
        turned: bool = True,
    ) -> Paint:
        """Paint of `colour` in one of the named textures, or plain with probability `plain`."""
        if self.rng.random() < plain:
            return Paint(colour, colour)
        name = str(names[int(self.rng.integers(len(names)))])
        turn = float(self.rng.choice((0.0, 0.785, 1.571, 2.356))) if turned else 0.0
        return Paint(colour, self.other(colour), name, self.rng.uniform(*period), turn, self.rng.uniform(0, 9))

    def subtle(
        self, colour: Array, names: Sequence[str] = tuple(TEXTURES), period: tuple[float, float] = (3.5, 8)
    ) -> Paint:
        """Paint whose texture is a shade darker or lighter than `colour`."""
        name = str(names[int(self.rng.integers(len(names)))])
        factor = self.rng.uniform(0.66, 0.86) if self.rng.random() < 0.7 else self.rng.uniform(1.12, 1.3)
        second = np.clip(colour * np.float32(factor), 0, 1)
        return Paint(colour, second, name, self.rng.uniform(*period))
