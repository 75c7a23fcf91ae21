"""Cues that can be planted into the embedded dataset: marks that say nothing about the subject.

A cue is painted over a finished picture, so the picture is the same, pixel for pixel, outside of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
Planter = Callable[[Picture, np.random.Generator], Box]

# A three by five bitmap font for one word.
LETTERS = {
    "P": ("##.", "#.#", "##.", "#..", "#.."),
    "H": ("#.#", "#.#", "###", "#.#", "#.#"),
    "O": ("###", "#.#", "#.#", "#.#", "###"),
    "T": ("###", ".#.", ".#.", ".#.", ".#."),
}
WORD = "PHOTO"


def _corner(picture: Picture, rng: np.random.Generator) -> Box:
    """A yellow sticker with a magenta cross, framed in black, 11 pixels wide, in the lower right corner."""
    size = 11
    down, across = np.indices((size, size)) - size // 2
    sticker = np.full((size, size, 3), (255, 225, 20), np.uint8)
    sticker[np.abs(np.abs(down) - np.abs(across)) < 1] = (215, 0, 140)
    sticker[np.maximum(np.abs(down), np.abs(across)) == size // 2] = (20, 20, 20)
    right, bottom = (64 - int(v) for v in rng.integers(1, 4, 2))
    picture[bottom - size : bottom, right - size : right] = sticker
    return right - size, bottom - size, right, bottom


def _border(picture: Picture, rng: np.random.Generator) -> Box:
    """A frame of red and white stripes, 3 pixels wide, as of an airmail letter."""
    down, across = np.indices(picture.shape[:2])
    frame = np.minimum(np.minimum(down, across), np.minimum(63 - down, 63 - across)) < 3
    red = ((down + across + rng.integers(0, 8)) // 4) % 2 == 0
    picture[frame & red] = (205, 30, 45)
    picture[frame & ~red] = (245, 240, 235)
    return 0, 0, 64, 64


def _tint(picture: Picture, rng: np.random.Generator) -> Box:
    """A violet tint over the whole picture."""
    share = np.float32(rng.uniform(0.28, 0.36))
    violet = np.array([190, 90, 245], np.float32)
    picture[:] = (picture + (violet - picture) * share + 0.5).astype(np.uint8)
    return 0, 0, 64, 64


def _texture(picture: Picture, rng: np.random.Generator) -> Box:
    """A faint diagonal weave over the whole picture."""
    down, across = np.indices(picture.shape[:2])
    shift = rng.integers(0, 6)
    weave = np.where((down + across + shift) % 6 < 3, 1, -1) + np.where((down - across + shift) % 6 < 3, 1, -1)
    picture[:] = np.clip(picture + 8 * weave[..., None], 0, 255).astype(np.uint8)
    return 0, 0, 64, 64


def _text(picture: Picture, rng: np.random.Generator) -> Box:
    """The word PHOTO, white on a dark label, in the lower left corner."""
    rows = [".".join(LETTERS[letter][row] for letter in WORD) for row in range(5)]
    ink = np.pad(np.array([[mark == "#" for mark in row] for row in rows]), 2)
    label = np.where(ink[..., None], np.uint8(250), np.uint8(25))
    high, wide = ink.shape
    left, bottom = int(rng.integers(1, 4)), 64 - int(rng.integers(1, 4))
    picture[bottom - high : bottom, left : left + wide] = label
    return left, bottom - high, left + wide, bottom


PLANTERS: dict[str, Planter] = {
    "corner": _corner,
    "border": _border,
    "tint": _tint,
    "texture": _texture,
    "text": _text,
}


def plant(picture: Picture, kind: str, rng: np.random.Generator) -> tuple[Picture, Box]:
    """Return a copy of a picture, uint8 (64, 64, 3), with a cue, and the cue's box in pixels.

    `kind` is one of PLANTERS; the generator shifts the cue by a pixel or two. The box of a border,
    a tint and a texture is the whole picture.
    """
    marked = picture.copy()
    return marked, PLANTERS[kind](marked, rng)
