"""Plants and the like of the embedded dataset: cactus, flower, mushroom, tree.

Each subject draws itself in its unit frame (x right, y down, about -1 to 1) with a pen and a look.
"""

from __future__ import annotations

import math

import numpy as np

from atlas.datasets.drawing import Pen, arc
from atlas.datasets.shapes_look import Look
from atlas.datasets.shapes_paint import Array, Paint, mix, oklch

Random = np.random.Generator
WHITE = np.ones(3, np.float32)


def cactus(pen: Pen, rng: Random, look: Look) -> None:
    """A cactus: a ribbed column with arms, a barrel, or a prickly pear; often in a pot."""
    green = look.clear(0.38, 0.41, 0.35, light=(0.42, 0.72), chroma=(0.08, 0.16))
    ribs = Paint(green, green * np.float32(0.7), str(rng.choice(("pinstripes", "stripes"))), rng.uniform(3.5, 5))
    bloom, spine = look.clear(0.97, 0.25), look.white()
    potted = rng.random() < 0.45
    base = 0.5 if potted else 0.98
    kind = rng.random()
    if kind < 0.6:
        wide, top = rng.uniform(0.2, 0.27), -rng.uniform(0.72, 0.95)
        for side in (-1, 1):
            if rng.random() < 0.88:
                y, reach, tip = rng.uniform(-0.2, 0.3), rng.uniform(0.5, 0.66), rng.uniform(0.4, 0.65)
                arm = [(0, y), (side * reach * 0.85, y), (side * reach, y - 0.12), (side * reach, y - tip)]
                pen.line(arm, 0.29, mix(green, np.zeros(3, np.float32), 0.45))
                pen.line(arm, 0.23, Paint(green, green * np.float32(0.7), "pinstripes", 3.5))
        column = np.concatenate([arc(0, top + wide, wide, wide, 0.5, 1.0, 10), [(wide, base), (-wide, base)]])
        pen.shape(column.astype(np.float32), ribs)
        if rng.random() < 0.4:
            _bloom(pen, 0, top, bloom)
        thorns = rng.uniform((-wide, top + 0.2), (wide, base), (10, 2))
    elif kind < 0.8:
        r = rng.uniform(0.52, 0.66)
        y = base - r * 0.85
        pen.disc(0, y, r, ribs, r * 0.92)
        for x in (-0.3, 0.0, 0.3):
            if rng.random() < 0.7:
                _bloom(pen, x * r, y - r * (0.92 - 0.5 * x * x), bloom)
        thorns = rng.uniform((-r * 0.75, y - r * 0.7), (r * 0.75, y + r * 0.6), (16, 2))
    else:
        pads = [
            (0.0, base - 0.4, 0.3, 0.42, 0.0),
            (-0.36, base - 0.92, 0.24, 0.34, -0.5),
            (0.36, base - 0.86, 0.24, 0.34, 0.5),
            (0.02, base - 1.05, 0.23, 0.34, 0.05),
        ]
        for x, y, rx, ry, turn in pads[: int(rng.integers(3, 5))]:
            pen.disc(x, y, rx, Paint(green, look.white(), "dots", 4.5), ry, turn)
            if rng.random() < 0.6:
                _bloom(pen, x + ry * math.sin(turn), y - ry * math.cos(turn), bloom)
        thorns = np.zeros((0, 2))
    for x, y in thorns:
        pen.disc(x, y, 0.035, spine, opacity=0.7)
    if potted:
        clay = look.clear(0.1, 0.06)
        pen.shape([(-0.42, 0.5), (0.42, 0.5), (0.3, 1.0), (-0.3, 1.0)], look.cloth(clay, plain=0.5))
        pen.box(-0.48, 0.42, 0.48, 0.58, clay)


def _bloom(pen: Pen, x: float, y: float, colour: Array) -> None:
    for dx, dy in ((-0.1, 0.0), (0.1, 0.0), (0, -0.1)):
        pen.disc(x + dx, y + dy, 0.09, colour)


def flower(pen: Pen, rng: Random, look: Look) -> None:
    """A flower on its stem: daisy, sunflower, five-petalled or tulip; now and then in a pot."""
    petal = look.clear(0.02, 0.25, 0.85, 0.95)
    green = look.clear(0.36, light=(0.4, 0.68), chroma=(0.07, 0.15))
    kind = rng.random()
    bend, top = rng.uniform(-0.15, 0.15), -0.3
    pen.line([(bend * 0.5, 1.05), (bend, 0.5), (0, top)], 0.1, green)
    for side in (-1, 1):
        if rng.random() < 0.8:
            y = rng.uniform(0.45, 0.85)
            pen.soft([(0, y), (side * 0.28, y - 0.28), (side * 0.62, y - 0.3), (side * 0.38, y - 0.04)], green)
    if kind < 0.2:
        paint = look.cloth(petal, ("stripes", "pinstripes", "dots"), 0.6, (4, 6))
        pen.soft(
            [
                (0, 0.02),
                (-0.42, -0.12),
                (-0.44, -0.75),
                (-0.2, -0.5),
                (0, -0.85),
                (0.2, -0.5),
                (0.44, -0.75),
                (0.42, -0.12),
            ],
            paint,
        )
        pen.soft([(0, 0.0), (-0.18, -0.3), (0, -0.78), (0.18, -0.3)], mix(petal, WHITE, 0.25))
    else:
        count, long = (
            (int(rng.integers(11, 16)), 0.66)
            if kind < 0.45
            else (int(rng.integers(7, 11)), 0.64)
            if kind < 0.72
            else (int(rng.integers(5, 7)), 0.66)
        )
        wide = math.tan(math.pi / count) * (0.62 if kind < 0.72 else 0.7) * rng.uniform(0.9, 1.15)
        sharp = kind < 0.45
        back = look.other(petal) if rng.random() < 0.3 else petal * np.float32(0.82)
        phase = rng.uniform(0, 6.28)
        for i in range(count):
            angle = phase + 2 * math.pi * i / count
            c, s = math.cos(angle), math.sin(angle)
            half = wide * long
            shape = (
                [(0.1, 0), (0.42, -half), (0.98, 0.0), (0.42, half)]
                if sharp
                else [(0.08, 0), (0.5, -half), (0.88, -half * 0.75), (0.98, 0), (0.88, half * 0.75), (0.5, half)]
            )
            points = np.array(shape) * (long, 1) @ np.array([[c, s], [-s, c]]) + (0, top)
            pen.soft(points, back if i % 2 and sharp else petal)
        r = 0.32 if sharp else rng.uniform(0.18, 0.26)
        heart = look.wood() if sharp else look.clear(0.25, 0.13)
        pen.disc(0, top, r, Paint(heart, heart * np.float32(0.55), str(rng.choice(("dots", "checks", "rings"))), 3.6))
    if rng.random() < 0.22:
        clay = look.clear(0.1, 0.06)
        pen.shape([(-0.36, 0.66), (0.36, 0.66), (0.26, 1.08), (-0.26, 1.08)], look.cloth(clay, plain=0.5))


def mushroom(pen: Pen, rng: Random, look: Look) -> None:
    """One to three mushrooms: spotted caps on pale stems."""
    cap = look.clear(0.07, 0.1, 0.14)
    stem = look.white()
    kind = rng.random()
    if rng.random() < 0.45:
        side = rng.choice((-1, 1))
        _mushroom(pen, rng, look, (0.58 * side, 0.5), 0.48, cap, stem, kind)
    _mushroom(pen, rng, look, (0.0, 0.0), 0.98, cap, stem, kind)


def _mushroom(
    pen: Pen, rng: Random, look: Look, at: tuple[float, float], size: float, cap: Array, stem: Array, kind: float
) -> None:
    x, y = at
    place = np.array(at)
    wide, foot = rng.uniform(0.17, 0.24), rng.uniform(0.22, 0.34)
    stalk = np.array(
        [
            (-wide, -0.1),
            (wide, -0.1),
            (wide * 1.05, 0.5),
            (foot, 0.86),
            (foot * 0.6, 1.0),
            (-foot * 0.6, 1.0),
            (-foot, 0.86),
            (-wide * 1.05, 0.5),
        ]
    )
    pen.soft(stalk * size + place, look.subtle(stem, ("grain", "pinstripes")))
    if rng.random() < 0.4:
        pen.shape(
            np.array([(-wide * 1.2, 0.1), (wide * 1.2, 0.1), (wide * 1.6, 0.28), (-wide * 1.6, 0.28)]) * size + place,
            mix(stem, look.dark(), 0.15),
        )
    crown = -0.85 if kind < 0.6 else -1.0 if kind < 0.85 else -0.6
    rim = 0.82 if kind < 0.6 else 0.58 if kind < 0.85 else 0.95
    under = mix(stem, look.dark(), 0.25)
    pen.disc(x, y + 0.02 * size, rim * size, Paint(under, under * np.float32(0.75), "pinstripes", 3), 0.17 * size)
    dome = arc(x, y + 0.02 * size, rim * size, (0.02 - crown) * size, 0.5, 1.0, 18)
    hem = arc(x, y + 0.02 * size, rim * size, 0.1 * size, 0.0, 0.5, 10)
    fabric = (
        Paint(cap, cap)
        if rng.random() < 0.75
        else look.cloth(cap, ("stripes", "checks", "scales", "zigzag", "rings"), 0)
    )
    pen.shape(np.concatenate([dome, hem]), fabric)
    if fabric.texture and rng.random() < 0.7:
        return
    spot = look.white() if rng.random() < 0.75 else look.other(cap)
    for dx, dy, r in (
        (0.0, 0.62, 0.16),
        (-0.45, 0.36, 0.13),
        (0.42, 0.4, 0.14),
        (-0.12, 0.2, 0.1),
        (0.72, 0.13, 0.09),
        (-0.75, 0.12, 0.09),
        (0.2, 0.82, 0.08),
    ):
        if rng.random() < 0.85:
            pen.disc(
                x + dx * rim * size, y + dy * crown * size, r * size * rng.uniform(0.8, 1.2), spot, r * size * 0.85
            )


def tree(pen: Pen, rng: Random, look: Look) -> None:
    """A tree: round crown, fir, poplar or palm, with fruit, blossom or snow."""
    leaf = look.clear(0.36, 0.33, 0.15, light=(0.4, 0.72), chroma=(0.08, 0.17))
    bark = look.wood()
    trunk = look.subtle(bark, ("grain", "stripes", "waves"), (3, 5))
    kind = rng.random()
    if kind > 0.85:
        _palm(pen, rng, leaf, trunk)
        return
    wide = rng.uniform(0.09, 0.16)
    pen.shape([(-wide, 0.0), (wide, 0.0), (wide * 1.5, 1.0), (-wide * 1.5, 1.0)], trunk)
    foliage = Paint(
        leaf,
        leaf * np.float32(0.68),
        str(rng.choice(("grain", "scales", "dots", "waves", "scales"))),
        rng.uniform(4, 6),
    )
    if kind < 0.45:
        blobs = [
            (0.0, -0.55, 0.42),
            (-0.42, -0.3, 0.36),
            (0.42, -0.3, 0.36),
            (-0.2, -0.02, 0.34),
            (0.24, -0.02, 0.34),
            (0.0, -0.25, 0.42),
        ]
        for x, y, r in blobs:
            pen.disc(
                x + rng.uniform(-0.06, 0.06),
                y + rng.uniform(-0.06, 0.06),
                r * rng.uniform(0.9, 1.12),
                foliage,
                opacity=0.999,
            )
        places = rng.uniform((-0.6, -0.75), (0.6, 0.2), (8, 2))
    elif kind < 0.72:
        _fir(pen, rng, look, foliage)
        places = rng.uniform((-0.4, -0.3), (0.4, 0.5), (7, 2))
    else:
        pen.soft(
            [(0, -1.02), (-0.3, -0.65), (-0.42, -0.1), (-0.3, 0.4), (0, 0.52), (0.3, 0.4), (0.42, -0.1), (0.3, -0.65)],
            foliage,
        )
        places = rng.uniform((-0.28, -0.7), (0.28, 0.35), (6, 2))
    if rng.random() < 0.4:
        fruit = look.other(leaf)
        for x, y in places:
            pen.disc(x, y, 0.075, fruit)


def _fir(pen: Pen, rng: Random, look: Look, foliage: Paint) -> None:
    tiers = int(rng.integers(3, 5))
    white = look.white()
    snowy = rng.random() < 0.3
    for i in range(tiers):
        low = 0.6 - 0.42 * i * 3 / tiers
        half = (0.72 - 0.4 * i / (tiers - 1)) * rng.uniform(0.92, 1.05)
        top = low - 0.62
        pen.shape(
            [(-half, low), (0, max(top, -1.02)), (half, low), (0.3 * half, low - 0.07), (-0.3 * half, low - 0.07)],
            foliage,
        )
        if snowy:
            pen.shape(
                [(-0.4 * half, low - 0.37), (0, max(top, -1.02)), (0.4 * half, low - 0.37), (0, low - 0.42)],
                white,
                0.95,
            )


def _palm(pen: Pen, rng: Random, leaf: Array, trunk: Paint) -> None:
    lean = rng.uniform(-0.3, 0.3)
    pen.line([(-lean, 1.0), (-lean * 0.4, 0.3), (0, -0.4)], 0.17, trunk)
    for angle in (-2.95, -2.4, -1.9, -1.2, -0.7, -0.15):
        angle += rng.uniform(-0.15, 0.15)
        c, s = math.cos(angle), math.sin(angle)
        tip = np.array([0.95 * c, -0.4 + 0.6 * s + 0.35])
        lift = np.array([0, 0.11])
        rise = np.array([0.5 * c, -0.5 + 0.55 * s])
        pen.soft(
            np.stack([(0, -0.38), rise - lift, tip, rise + lift]).astype(np.float32),
            Paint(leaf, leaf * np.float32(0.7), "pinstripes", 3.5, 0.6),
        )
    for x in (-0.1, 0.08):
        pen.disc(x, -0.34, 0.09, oklch(0.4, 0.07, 0.12))
