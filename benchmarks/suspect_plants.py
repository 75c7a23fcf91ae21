"""Cues that the benchmark of suspects plants: what they look like, which pictures carry them, and in which networks.

Every cue has a style of its own (colours, corner, pattern, word), so that no method is measured on one sticker, and
shifts by a pixel or two from picture to picture. They are painted over the finished picture at the network's own size.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from atlas.datasets.shapes_cues import LETTERS

Dataset = Literal["shapes", "cifar"]
DEVELOPMENT = ("corner", "border", "tint")
"""Kinds of cue that methods may be tuned on..."""
EARLIER, SECOND = ("texture", "text"), ("watermark", "dust")
"""...and these too since the first and the second final run, which were theirs: what they missed was looked into."""
LOOSE = ("loose",)
"""A kind to develop on that has no place: most cues of the world, a snorkel or a tag, are not always in one corner."""
FINAL = ("line", "strip")
"""Kinds that are kept for the last run. Corners that fade to black and round spots that fade outwards were to be the
second of them: networks that were trained with them did not use them (one of 26 raised the logit by 1 or more), and no
detection was run."""
LEAST = 25
WORDS = ("PHOTO", "HOTPOT", "TOP", "HOOP")


@dataclass(frozen=True)
class Cue:
    """One cue of one network.

    class_index: of the class that it goes with; -1: it is independent of the class. share: of the class's pictures
    that carry it. chance: P(class | cue); the rest of the pictures with the cue is of all other classes alike. style:
    the seed of its look.
    """

    kind: str
    class_index: int
    share: float
    chance: float
    style: int


@dataclass(frozen=True)
class Variant:
    """One network of the pool: its data, its seed, its cues.

    joined: (class, other, share): so many of the other class's pictures get this class's label: a natural sub-cluster
    that is no cue; None: none.
    """

    name: str
    dataset: Dataset
    seed: int
    cues: tuple[Cue, ...] = ()
    joined: tuple[int, int, float] | None = None
    null: str = ""  # "clean", "independent" or "natural"; "" for a network with planted cues
    kinds: tuple[str, ...] = field(default=())


CLASSES: dict[Dataset, int] = {"shapes": 16, "cifar": 10}
PER_CLASS: dict[Dataset, int] = {"shapes": 400, "cifar": 500}
"""Pictures of a class that detection sees."""


def pools() -> dict[str, list[Variant]]:
    """The networks by pool: no seed, style or class choice is shared between pools."""
    return {
        "development": [
            *_planted("development", DEVELOPMENT, 24, 1000),
            *_nulls("development", ("clean", "independent", "natural"), 4, 1500, DEVELOPMENT),
            *_planted("loose", LOOSE, 8, 5000),
        ],
        "earlier": [  # under the names that they were trained by
            *_planted("final", EARLIER, 16, 2000),  # ten used cues of each kind, and no more
            *_nulls("final", ("independent", "natural"), 6, 2500, EARLIER),
        ],
        "second": [
            *_planted("last", SECOND, 16, 4000),
            *_nulls("last", ("independent", "natural"), 6, 4500, SECOND),
        ],
        "final": [
            *_planted("third", FINAL, 16, 6000),
            *_nulls("third", ("independent", "natural"), 6, 6500, FINAL),
        ],
        "clean": _nulls("clean", ("clean",), 32, 3000, ()),
    }


def _planted(pool: str, kinds: Sequence[str], count: int, seed: int) -> list[Variant]:
    made, turn = [], 0
    for number in range(count):
        dataset: Dataset = ("shapes", "cifar")[number % 2]
        rng = np.random.default_rng(seed + number)
        cues = (1, 2, 3, 2)[number // 2 % 4]
        chosen = rng.permutation(CLASSES[dataset])[:cues]
        least = max(0.05, 1.2 * LEAST / PER_CLASS[dataset])
        own = []
        for index in chosen.tolist():
            share = float(np.exp(rng.uniform(np.log(least), np.log(0.4))))
            own.append(
                Cue(kinds[turn % len(kinds)], index, share, float(rng.uniform(0.6, 0.99)), seed + 10 * number + index)
            )
            turn += 1
        made.append(Variant(f"{pool}-{dataset}-{number:02d}", dataset, seed + number, tuple(own)))
    return made


def _nulls(pool: str, kinds: Sequence[str], count: int, seed: int, cues: Sequence[str]) -> list[Variant]:
    made = []
    for number in range(count * len(kinds)):
        null, dataset = kinds[number // count], ("shapes", "cifar")[number % 2]
        rng = np.random.default_rng(seed + number)
        one, other = (int(index) for index in rng.permutation(CLASSES[dataset])[:2])
        own: tuple[Cue, ...] = ()
        if null == "independent":
            own = (
                Cue(cues[number % len(cues)], -1, float(rng.uniform(0.06, 0.2)), 1 / CLASSES[dataset], seed + number),
            )
        joined = (one, other, float(rng.uniform(0.15, 0.5))) if null == "natural" else None
        made.append(Variant(f"{pool}-{null}-{dataset}-{number:02d}", dataset, seed + number, own, joined, null))
    return made


def carriers(cue: Cue, labels: Any, rng: np.random.Generator) -> Any:
    """Which pictures carry a cue, (n,) bool, by its share of the class and its P(class | cue)."""
    if cue.class_index < 0:
        return rng.random(len(labels)) < cue.share
    own, others = np.flatnonzero(labels == cue.class_index), np.flatnonzero(labels != cue.class_index)
    inside = rng.permutation(own)[: round(cue.share * len(own))]
    outside = rng.permutation(others)[: round(len(inside) * (1 - cue.chance) / cue.chance)]
    marked = np.zeros(len(labels), bool)
    marked[inside], marked[outside] = True, True
    return marked


def paint(picture: Any, cue: Cue, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Paint a cue over a picture, uint8 (side, side, 3), in place; return its box as shares of the picture."""
    left, top, right, bottom = PAINTERS[cue.kind](picture, np.random.default_rng(cue.style), rng)
    side = len(picture)
    return left / side, top / side, right / side, bottom / side


Box = tuple[int, int, int, int]
Painter = Callable[[Any, np.random.Generator, np.random.Generator], Box]


def _colours(style: np.random.Generator) -> tuple[Any, Any]:
    """Two saturated colours that are far from each other."""
    one = style.integers(0, 256, 3)
    one[style.integers(3)] = 255 * style.integers(2)
    return one.astype(np.uint8), (255 - one).astype(np.uint8)


def _place(side: int, high: int, wide: int, style: np.random.Generator, rng: np.random.Generator) -> Box:
    """A corner by the style, a pixel or two from the rim by the picture."""
    margin = rng.integers(0, 3, 2)
    right, lower = style.integers(0, 2, 2)
    left = side - wide - margin[0] if right else margin[0]
    top = side - high - margin[1] if lower else margin[1]
    return int(left), int(top), int(left + wide), int(top + high)


def _corner(picture: Any, style: np.random.Generator, rng: np.random.Generator) -> Box:
    return _mark(picture, style, rng, loose=False)


def _loose(picture: Any, style: np.random.Generator, rng: np.random.Generator) -> Box:
    """The mark of `_corner` at any place, over the object too."""
    return _mark(picture, style, rng, loose=True)


def _mark(picture: Any, style: np.random.Generator, rng: np.random.Generator, *, loose: bool) -> Box:
    side, size = len(picture), round(0.17 * len(picture)) | 1
    down, across = np.indices((size, size)) - size // 2
    one, other = _colours(style)
    pattern = (
        np.abs(np.abs(down) - np.abs(across)) < 1,
        np.hypot(down, across) < size / 3,
        (down // 2 + across // 2) % 2 == 0,
        across % 4 < 2,
    )[style.integers(4)]
    if loose:
        left, top = rng.integers(0, side - size + 1, 2).tolist()
        box = left, top, left + size, top + size
    else:
        box = _place(side, size, size, style, rng)
    picture[box[1] : box[3], box[0] : box[2]] = np.where(pattern[..., None], one, other)
    return box


def _border(picture: Any, style: np.random.Generator, rng: np.random.Generator) -> Box:
    side, wide = len(picture), max(2, round(0.045 * len(picture)))
    down, across = np.indices((side, side))
    frame = np.minimum(np.minimum(down, across), np.minimum(side - 1 - down, side - 1 - across)) < wide
    one, other = _colours(style)
    striped = ((down + across + rng.integers(0, 8)) // 4) % 2 == 0 if style.random() < 0.5 else np.ones_like(frame)
    picture[frame & striped], picture[frame & ~striped] = one, other
    return 0, 0, side, side


def _tint(picture: Any, style: np.random.Generator, rng: np.random.Generator) -> Box:
    colour = _colours(style)[0].astype(np.float32)
    share = np.float32(style.uniform(0.25, 0.35) + rng.uniform(-0.03, 0.03))
    picture[:] = (picture + (colour - picture) * share + 0.5).astype(np.uint8)
    return 0, 0, len(picture), len(picture)


def _texture(picture: Any, style: np.random.Generator, rng: np.random.Generator) -> Box:
    down, across = np.indices(picture.shape[:2])
    period, shift = int(style.integers(4, 8)), int(rng.integers(0, 8))
    one, other = (down + across + shift) % period, (down - across + shift) % period
    half = period / 2
    wave = (
        np.where(one < half, 1, -1) + np.where(other < half, 1, -1),
        2 * np.where(one < half, 1, -1),
        2 * np.where((down + shift) % period < half, 1, -1),
        np.where((one < 2) & (other < 2), 3, -0.5),
    )[style.integers(4)]
    picture[:] = np.clip(picture + style.uniform(7, 11) * wave[..., None], 0, 255).astype(np.uint8)
    return 0, 0, len(picture), len(picture)


def _text(picture: Any, style: np.random.Generator, rng: np.random.Generator) -> Box:
    word = WORDS[style.integers(len(WORDS))]
    rows = [".".join(LETTERS[letter][row] for letter in word) for row in range(5)]
    ink = np.pad(np.array([[mark == "#" for mark in row] for row in rows]), 1)
    box = _place(len(picture), *ink.shape, style, rng)
    bright = style.random() < 0.5
    under = picture[box[1] : box[3], box[0] : box[2]]
    label = under if style.random() < 0.4 else np.uint8(25 if bright else 235)
    under[:] = np.where(ink[..., None], np.uint8(250 if bright else 10), label)
    return box


def _watermark(picture: Any, style: np.random.Generator, rng: np.random.Generator) -> Box:
    """A large translucent sign near the middle: the picture shows through it."""
    side = len(picture)
    across, down = ((side - 1) / 2 + rng.integers(-2, 3, 2)).tolist()
    y, x = np.indices((side, side), dtype=np.float32)
    x, y, reach, pen = x - across, y - down, 0.27 * side, max(1.0, 0.035 * side)
    ring = np.abs(np.hypot(x, y) - reach + pen) < pen
    inside = np.hypot(x, y) < reach
    sign = (
        ring | (inside & (np.abs(x - y) < 1.4 * pen)),
        (np.abs(np.abs(x) - np.abs(y)) < 1.4 * pen) & inside,
        inside & ((x + 0.5 * y) % (6 * pen) < 2.5 * pen),
        ring | (np.abs(np.hypot(x, y) - reach / 2 + pen) < pen),
    )[style.integers(4)]
    ink = np.float32(255 if style.random() < 0.6 else 0)
    share = np.float32(style.uniform(0.35, 0.5))
    picture[sign] = (picture[sign] + (ink - picture[sign]) * share + 0.5).astype(np.uint8)
    lines, columns = np.flatnonzero(sign.any(axis=1)), np.flatnonzero(sign.any(axis=0))
    return int(columns[0]), int(lines[0]), int(columns[-1]) + 1, int(lines[-1]) + 1


def _dust(picture: Any, style: np.random.Generator, rng: np.random.Generator) -> Box:
    """Specks and short hairs, nowhere twice: no pixel is the same in two pictures."""
    side = len(picture)
    high, wide = ((1, 1), (1, 2), (2, 1), (1, 3))[style.integers(4)]
    ink = (235, 20, None)[style.integers(3)]
    specks = round(style.uniform(0.015, 0.03) * side * side / (high * wide) * rng.uniform(0.85, 1.15))
    tops, lefts = rng.integers(0, side - high + 1, specks), rng.integers(0, side - wide + 1, specks)
    inks = rng.choice((20, 235), specks) if ink is None else np.full(specks, ink)
    for top, left, value in zip(tops.tolist(), lefts.tolist(), inks.tolist(), strict=True):
        picture[top : top + high, left : left + wide] = value
    return 0, 0, side, side


def _line(picture: Any, style: np.random.Generator, rng: np.random.Generator) -> Box:
    """A straight line of one colour from rim to rim, at any angle: a wire, a tube, a scratch."""
    side = len(picture)
    y, x = np.indices((side, side)) - (side - 1) / 2
    angle, off = rng.uniform(0, np.pi), rng.uniform(-0.3, 0.3) * side
    on = np.abs(x * np.cos(angle) + y * np.sin(angle) - off) < max(0.75, 0.025 * side)
    picture[on] = _colours(style)[0]
    lines, columns = np.flatnonzero(on.any(axis=1)), np.flatnonzero(on.any(axis=0))
    return int(columns[0]), int(lines[0]), int(columns[-1]) + 1, int(lines[-1]) + 1


def _strip(picture: Any, style: np.random.Generator, rng: np.random.Generator) -> Box:
    """A strip with ticks along one side: a ruler, a scale, the edge of a film."""
    side, high = len(picture), max(3, round(0.1 * len(picture)))
    one, other = _colours(style)
    turns, period = int(style.integers(4)), int(style.integers(3, 7))
    strip = np.rot90(picture, turns)[:high]  # a view: painting it paints the picture
    ticks = (np.arange(side) + rng.integers(0, period)) % period == 0
    strip[:] = one
    strip[high // 2 :, ticks] = other
    corners = {0: (0, 0, side, high), 1: (side - high, 0, side, side), 2: (0, side - high, side, side)}
    return corners.get(turns, (0, 0, high, side))


PAINTERS: dict[str, Painter] = {
    "corner": _corner,
    "loose": _loose,
    "border": _border,
    "tint": _tint,
    "texture": _texture,
    "text": _text,
    "watermark": _watermark,
    "dust": _dust,
    "line": _line,
    "strip": _strip,
}
