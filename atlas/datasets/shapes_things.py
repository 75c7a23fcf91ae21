"""Made things of the embedded dataset: ball, balloon, boat, car, house, lighthouse, snowman, umbrella.

Each subject draws itself in its unit frame (x right, y down, about -1 to 1) with a pen and a look.
"""

from __future__ import annotations

import math

import numpy as np

from atlas.datasets.drawing import Pen, arc, ellipse, star
from atlas.datasets.shapes_look import Look
from atlas.datasets.shapes_paint import Paint, mix, oklch

Random = np.random.Generator
WHITE = np.ones(3, np.float32)


def ball(pen: Pen, rng: Random, look: Look) -> None:
    """A beach ball: gores that meet in a cap, now and then bands or a star."""
    main = look.clear(0.08, 0.68, 0.3)
    colours = [main, look.white() if rng.random() < 0.6 else look.other(main), look.other(main)]
    outline = ellipse(0, 0, 0.9, 0.9)
    pen.shape(outline, colours[1])
    kind = rng.random()
    if kind < 0.72:
        count = int(rng.choice((6, 6, 8)))
        px, py = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5)
        phase, bend = rng.uniform(0, 1), rng.uniform(-0.06, 0.06)
        step = 3 if rng.random() < 0.4 else 2  # two or three colours around
        for i in range(count):
            if i % step == 1:
                continue
            start, stop = phase + i / count, phase + (i + 1) / count
            rim = arc(0, 0, 0.9, 0.9, start, stop, 8)
            middle = [
                (0.5 * (px + 0.9 * math.cos(a)), 0.5 * (py + 0.9 * math.sin(a)))
                for a in (6.2832 * (start + bend), 6.2832 * (stop + bend))
            ]
            gore = np.concatenate([[(px, py)], middle[:1], rim, middle[1:]])
            paint = look.cloth(colours[0], plain=0.85) if i % step == 0 else Paint(colours[2], main)
            pen.shape(gore.astype(np.float32), paint, 0.999)
        pen.disc(px, py, 0.16, look.white())
    elif kind < 0.88:
        wide = rng.uniform(0.16, 0.4)
        sin = math.sqrt(0.81 - wide * wide)
        tilt = math.atan2(wide, sin) / 6.2832
        band = np.concatenate([arc(0, 0, 0.9, 0.9, -tilt, tilt, 8), arc(0, 0, 0.9, 0.9, 0.5 - tilt, 0.5 + tilt, 8)])
        pen.shape(band, look.cloth(colours[0], plain=0.5), 0.999)
        pen.shape(star(0, 0, 0.34, 0.5, 5, rng.uniform(0, 1)), colours[2])
    else:
        pen.shape(ellipse(0, 0, 0.88, 0.88), look.cloth(colours[0], ("stripes", "dots", "rings"), 0, (8, 13)), 0.999)
    shadow = np.concatenate([arc(0, 0, 0.9, 0.9, 0.0, 0.42, 16), arc(-0.12, -0.16, 0.88, 0.88, 0.42, 0.0, 16)])
    pen.shape(shadow, look.dark(), 0.28)
    pen.disc(-0.36, -0.44, 0.17, WHITE, 0.11, -0.6, opacity=0.75)


def balloon(pen: Pen, rng: Random, look: Look) -> None:
    """A hot-air balloon: an envelope of gores or bands, ropes and a basket."""
    main = look.clear(0.08, 0.13, 0.7)
    full, high = rng.uniform(0.64, 0.78), rng.uniform(0.6, 0.68)
    over = arc(0, high - 1, full, high, 0.07, -0.57, 22)  # over the top, from right to left
    skirt = np.array([(0.56 * full, 0.16), (0.36 * full, 0.36), (0.16, 0.52)], np.float32)
    envelope = np.concatenate([skirt[::-1], over, skirt * (-1, 1)]).astype(np.float32)
    kind = rng.random()
    base = look.cloth(main, plain=0.15, turned=True) if kind > 0.55 else Paint(main, main)
    pen.shape(envelope, base)
    if kind < 0.55:
        other = look.other(main)
        count = int(rng.choice((5, 7)))
        edges = np.sin(np.linspace(-1, 1, count + 1) * math.pi / 2)
        half = len(envelope) // 2
        right, left = envelope[:half], envelope[half:][::-1]
        for i in range(1, count, 2):
            # a gore lies between two shares of the envelope's width at every height
            a, b = (
                (right + left) / 2 + (right - left) / 2 * edges[i],
                (right + left) / 2 + (right - left) / 2 * edges[i + 1],
            )
            pen.shape(np.concatenate([a, b[::-1]]), other, 0.999)
    elif kind < 0.8:
        low, high = rng.uniform(-0.55, -0.3), rng.uniform(-0.15, 0.1)
        inside = envelope[(envelope[:, 1] > low) & (envelope[:, 1] < high)]
        if len(inside) > 2:
            pen.shape(inside, look.cloth(look.other(main), plain=0.5), 0.999)
    rope, wicker = look.dark(), look.wood()
    for side in (-1, 1):
        pen.line([(0.14 * side, 0.5), (0.12 * side, 0.8)], 0.03, rope)
    if rng.random() < 0.3:
        pen.shape([(-0.06, 0.62), (0.06, 0.62), (0, 0.44)], oklch(0.85, 0.16, 0.2), 0.9)
    pen.box(-0.17, 0.76, 0.17, 1.0, Paint(wicker, wicker * 0.65, "weave", 3.5))
    pen.disc(-0.3, -0.55, 0.14, WHITE, 0.22, 0.5, opacity=0.35)


def boat(pen: Pen, rng: Random, look: Look) -> None:
    """A sailing boat: hull, mast, one or two filled sails, a pennant."""
    hull, sail = look.clear(0.07, 0.7, 0.12), look.white() if rng.random() < 0.45 else look.clear()
    deck = rng.uniform(0.42, 0.54)
    mast = rng.uniform(-0.15, 0.1)
    top = -rng.uniform(0.85, 1.0)
    pen.line([(mast, top), (mast, deck)], 0.06, look.wood())
    cloth = look.cloth(sail, plain=0.35)
    reach = rng.uniform(0.55, 0.8)
    belly = rng.uniform(0.0, 0.12)
    foot = deck - rng.uniform(0.06, 0.14)
    main_sail = [
        (mast + 0.04, top + 0.06),
        (mast + 0.4 * reach + belly, -0.35),
        (mast + 0.8 * reach + belly, 0.1),
        (mast + reach, foot),
        (mast + 0.04, foot),
    ]
    pen.shape(main_sail, cloth)
    if rng.random() < 0.75:
        jib = look.cloth(sail if rng.random() < 0.6 else look.other(sail), plain=0.5)
        back = rng.uniform(0.5, 0.75)
        pen.shape([(mast - 0.05, top + 0.16), (mast - 0.05, foot), (mast - back, foot)], jib)
    if rng.random() < 0.6:
        pen.shape([(mast, top - 0.02), (mast - 0.3, top + 0.06), (mast, top + 0.14)], look.clear())
    stern, bow = rng.uniform(0.75, 0.9), rng.uniform(0.9, 1.02)
    pen.shape(
        [(-bow, deck - 0.03), (-0.72 * bow, 0.78), (-0.4, 0.88), (0.45, 0.88), (0.68, 0.78), (stern, deck)],
        look.cloth(hull, ("planks", "stripes", "checks", "bricks", "weave"), 0.45, (4, 7)),
    )
    if rng.random() < 0.6:
        pen.shape(
            [(-bow, deck - 0.05), (-0.95 * bow, deck + 0.08), (0.96 * stern, deck + 0.1), (stern, deck - 0.02)],
            look.other(hull),
            0.999,
        )
    if rng.random() < 0.35:
        for x in (-0.45, -0.1, 0.25):
            pen.disc(x, 0.68, 0.07, look.white())
    if rng.random() < 0.6:
        foam = look.white()
        for x in np.linspace(-1.15, 1.0, 9):
            pen.disc(x + rng.uniform(-0.05, 0.05), 0.9 + rng.uniform(-0.03, 0.06), 0.2, foam, 0.07, opacity=0.75)


def car(pen: Pen, rng: Random, look: Look) -> None:
    """A car from the side: saloon, van, beetle or pick-up, on two wheels."""
    colour = look.clear(0.07, 0.7, 0.25)
    paint = look.cloth(colour, ("stripes", "checks", "dots", "pinstripes", "planks"), 0.6, (4, 7))
    glass = oklch(rng.uniform(0.75, 0.93), 0.05, rng.uniform(0.5, 0.75)) if rng.random() < 0.7 else look.dark()
    kind = int(rng.integers(4))
    sill, belt, roof = 0.42, -0.02, -0.5 - rng.uniform(0, 0.12)
    if kind == 0:  # saloon
        pen.shape([(-0.55, belt), (-0.34, roof), (0.3, roof), (0.6, belt)], colour)
        pen.shape([(-0.43, belt), (-0.27, roof + 0.1), (-0.02, roof + 0.1), (-0.02, belt)], glass, 0.999)
        pen.shape([(0.06, belt), (0.06, roof + 0.1), (0.25, roof + 0.1), (0.46, belt)], glass, 0.999)
        pen.soft(
            [
                (-0.98, 0.3),
                (-0.95, 0.05),
                (-0.6, -0.05),
                (0, -0.06),
                (0.62, -0.04),
                (0.95, 0.1),
                (1.0, 0.35),
                (0.6, sill),
                (-0.6, sill),
            ],
            paint,
        )
    elif kind == 1:  # van
        pen.shape(
            [(-0.95, sill), (-0.95, roof - 0.05), (0.5, roof - 0.05), (0.82, 0.0), (0.98, 0.08), (0.98, sill)], paint
        )
        for left in (-0.82, -0.36):
            pen.box(left, roof + 0.1, left + 0.36, 0.0, glass)
        pen.shape([(0.1, 0.0), (0.1, roof + 0.1), (0.42, roof + 0.1), (0.65, 0.0)], glass, 0.999)
    elif kind == 2:  # beetle
        pen.shape(
            np.concatenate(
                [arc(-0.05, sill, 0.72, 0.98, 0.5, 1.0, 16), [(0.95, sill)], arc(0.62, sill, 0.34, 0.5, 1.0, 0.75, 6)]
            ),
            paint,
        )
        pen.shape(np.concatenate([arc(-0.05, 0.0, 0.48, 0.4, 0.5, 0.72, 6), [(-0.1, 0.0)]]), glass, 0.999)
        pen.shape(np.concatenate([arc(0.0, 0.0, 0.48, 0.4, 0.77, 1.0, 6), [(0.02, 0.0)]]), glass, 0.999)
    else:  # pick-up
        pen.shape([(0.0, belt), (0.0, roof), (0.36, roof), (0.62, belt)], colour)
        pen.shape([(0.09, belt), (0.09, roof + 0.1), (0.31, roof + 0.1), (0.49, belt)], glass, 0.999)
        pen.shape(
            [(-0.98, sill), (-0.98, -0.1), (-0.03, -0.1), (0.0, belt), (0.9, 0.0), (1.0, 0.16), (1.0, sill)], paint
        )
        if rng.random() < 0.6:
            pen.disc(-0.5, -0.18, 0.34, look.clear(), 0.16)
    if rng.random() < 0.5:
        pen.box(-0.9, 0.2, 0.93, 0.28, look.other(colour))
    pen.disc(0.92, 0.14, 0.08, oklch(0.93, 0.12, 0.28))
    tyre, hub = look.dark(), look.white() if rng.random() < 0.6 else look.clear()
    radius = rng.uniform(0.2, 0.27)
    for x in (-0.55, 0.56):
        pen.disc(x, sill + 0.04, radius + 0.05, mix(colour, look.dark(), 0.75))
        pen.disc(x, sill + 0.08, radius, tyre)
        pen.disc(x, sill + 0.08, radius * 0.5, hub)


def house(pen: Pen, rng: Random, look: Look) -> None:
    """A house: walls, a roof of tiles, a door, windows, a chimney."""
    wall = look.clear(0.15, 0.05, light=(0.6, 0.93), chroma=(0.02, 0.13))
    roof = look.other(wall) if rng.random() < 0.3 else look.clear(0.08, 0.05, light=(0.35, 0.65), chroma=(0.05, 0.16))
    wide, eaves = rng.uniform(0.55, 0.85), rng.uniform(-0.25, 0.05)
    ridge = eaves - rng.uniform(0.45, 0.75)
    ridge = max(ridge, -1.0)
    if rng.random() < 0.65:
        x = rng.choice((-1, 1)) * wide * 0.55
        pen.box(x - 0.1, ridge - 0.12, x + 0.1, eaves - 0.1, look.subtle(look.wood(), ("bricks",), (4, 5)))
        if rng.random() < 0.5:
            for i in range(3):
                pen.disc(
                    x + 0.1 * i * rng.choice((-1, 1)), ridge - 0.25 - 0.16 * i, 0.09 + 0.04 * i, WHITE, opacity=0.5
                )
    names = ("bricks", "planks", "grain", "stripes")
    walls = (
        look.subtle(wall, names, (4, 7))
        if rng.random() < 0.75
        else look.cloth(wall, ("bricks", "checks", "dots", "planks"), 0)
    )
    pen.box(-wide, eaves, wide, 0.95, walls)
    out = wide + rng.uniform(0.08, 0.2)
    hip = rng.choice((0.0, 0.0, 0.35, 0.6)) * wide
    tiles = look.subtle(roof, ("scales", "bricks", "checks", "planks", "stripes"), (4, 7))
    pen.shape([(-out, eaves + 0.04), (-hip, ridge), (hip, ridge), (out, eaves + 0.04)], tiles)
    lit = oklch(0.9, 0.12, 0.25) if rng.random() < 0.4 else oklch(rng.uniform(0.4, 0.9), 0.06, rng.uniform(0.5, 0.75))
    door, frame = look.other(wall), look.white()
    at = rng.choice((-0.5, 0.0, 0.5)) * wide * 0.9
    high = rng.uniform(0.32, 0.42)
    pen.box(at - 0.15, 0.95 - high, at + 0.15, 0.95, door)
    pen.disc(at + 0.08, 0.95 - high * 0.45, 0.03, look.white())
    row = eaves + rng.uniform(0.14, 0.2)
    for x in (-0.5 * wide, 0.5 * wide) if abs(at) < 0.1 else (-0.85 * at, 0.0) if rng.random() < 0.4 else (-0.9 * at,):
        half = rng.uniform(0.13, 0.18)
        pen.box(x - half - 0.04, row - 0.04, x + half + 0.04, row + 2 * half + 0.04, frame)
        pen.box(x - half, row, x + half, row + 2 * half, lit)
        pen.line([(x, row), (x, row + 2 * half)], 0.04, frame)
        pen.line([(x - half, row + half), (x + half, row + half)], 0.04, frame)
    if hip == 0 and rng.random() < 0.5:
        pen.disc(0, (eaves + ridge) / 2 + 0.06, 0.12, frame)
        pen.disc(0, (eaves + ridge) / 2 + 0.06, 0.085, lit)


def lighthouse(pen: Pen, rng: Random, look: Look) -> None:
    """A lighthouse: a tapering banded tower, a gallery, a lantern and its beams."""
    main = look.clear(0.07, 0.68)
    white = look.white() if rng.random() < 0.7 else look.other(main)
    foot, neck = rng.uniform(0.32, 0.42), rng.uniform(0.17, 0.24)
    top, base = -0.45, 0.95
    if rng.random() < 0.5:
        glow = oklch(0.96, 0.09, 0.27)
        for side in (-1, 1):
            pen.shape([(0, -0.66), (1.6 * side, -0.95), (1.6 * side, -0.4)], glow, 0.45)
    if rng.random() < 0.6:
        rock = oklch(rng.uniform(0.35, 0.65), 0.03, rng.random())
        pen.soft(
            [(-0.85, 1.05), (-0.55, 0.82), (-0.1, 0.78), (0.4, 0.8), (0.85, 1.05), (0, 1.12)],
            look.subtle(rock, ("grain",)),
        )
    tower = np.array([(-neck, top), (neck, top), (foot, base), (-foot, base)], np.float32)
    pen.shape(tower, white)
    kind = rng.random()
    if kind < 0.75:  # bands, some of them slanted as a spiral
        count = int(rng.integers(5, 9))
        slant = rng.uniform(0.08, 0.2) * rng.choice((-1, 1)) if rng.random() < 0.35 else 0.0
        for i in range(0, count, 2):
            a, b = i / count, (i + 1) / count
            half_a, half_b = neck + (foot - neck) * a, neck + (foot - neck) * b
            ya, yb = top + (base - top) * a, top + (base - top) * b
            pen.shape(
                [(-half_a, ya - slant), (half_a, ya + slant), (half_b, yb + slant), (-half_b, yb - slant)], main, 0.999
            )
    elif kind < 0.9:
        pen.shape(tower, look.cloth(main, ("bricks", "checks", "dots", "zigzag"), 0, (5, 8)))
    pen.box(-neck - 0.1, top - 0.06, neck + 0.1, top + 0.04, look.dark())
    pen.box(
        -neck * 0.75,
        top - 0.34,
        neck * 0.75,
        top - 0.05,
        oklch(0.95, 0.12, 0.27) if rng.random() < 0.7 else look.white(),
    )
    pen.line([(0, top - 0.34), (0, top - 0.06)], 0.04, look.dark())
    roof = look.other(white) if rng.random() < 0.4 else main
    if rng.random() < 0.5:
        pen.shape([(-neck - 0.04, top - 0.32), (0, top - 0.6), (neck + 0.04, top - 0.32)], roof)
    else:
        pen.shape(arc(0, top - 0.32, neck, 0.2, 0.5, 1.0), roof)
    if rng.random() < 0.7:
        pen.shape(
            np.concatenate([[(0.11, base), (-0.11, base)], arc(0, base - 0.2, 0.11, 0.11, 0.5, 1.0, 6)]), look.dark()
        )
    for y in (-0.15, 0.25):
        if rng.random() < 0.6:
            pen.box(-0.05, y, 0.05, y + 0.13, look.dark())


def snowman(pen: Pen, rng: Random, look: Look) -> None:
    """A snowman: two or three balls of snow, hat, scarf, carrot, twigs for arms."""
    white = look.white()
    paint = look.subtle(white, ("grain",)) if rng.random() < 0.6 else Paint(white, white)
    three = rng.random() < 0.6
    head = -0.5 if three else -0.32
    size = rng.uniform(0.27, 0.33) if three else rng.uniform(0.34, 0.4)
    wood = look.wood() * np.float32(0.8)
    arm_y, arm_x = (0.0, 0.3) if three else (0.2, 0.42)
    for side in (-1, 1):
        lift = rng.uniform(-0.5, 0.15)
        hand = (side * (arm_x + 0.5), arm_y + lift)
        pen.line([(side * arm_x, arm_y), hand], 0.06, wood)
        pen.line(
            [(side * (arm_x + 0.36), arm_y + lift * 0.72), (side * (arm_x + 0.5), arm_y + lift * 0.72 - 0.16)],
            0.05,
            wood,
        )
    balls = [(0.62, 0.5 if three else 0.56), (0.03, 0.38)] if three else [(0.5, rng.uniform(0.5, 0.58))]
    for y, r in balls:
        pen.disc(0, y - 0.05, r, paint, r * 0.93)
    pen.disc(0, head, size, paint)
    buttons = look.dark() if rng.random() < 0.6 else look.clear()
    for y in (-0.08, 0.1, 0.4) if three else (0.3, 0.52, 0.74):
        pen.disc(0, y, 0.05, buttons)
    coal = look.dark()
    for side in (-1, 1):
        pen.disc(side * size * 0.4, head - size * 0.2, 0.05, coal)
    carrot = look.clear(0.13, light=(0.6, 0.75)) if rng.random() < 0.3 else oklch(0.7, 0.17, 0.14)
    pen.shape(
        [(0, head - 0.02), (0, head + 0.1), (0.36 * rng.choice((-1, 1)), head + rng.uniform(0.03, 0.14))], carrot, 0.999
    )
    if rng.random() < 0.7:
        scarf = look.cloth(look.clear(0.07, 0.4), ("stripes", "checks", "dots"), 0.4, (4, 5))
        y = head + size * 0.88
        pen.shape(
            [(-size * 0.9, y - 0.07), (size * 0.9, y - 0.07), (size * 0.95, y + 0.08), (-size * 0.95, y + 0.08)], scarf
        )
        pen.shape([(size * 0.3, y), (size * 0.75, y), (size * 0.9, y + 0.4), (size * 0.4, y + 0.42)], scarf)
    _hat(pen, rng, look, head - size * 0.7, size)


def _hat(pen: Pen, rng: Random, look: Look, y: float, size: float) -> None:
    kind = rng.random()
    colour = look.dark() if kind < 0.3 else look.clear()
    if kind < 0.55:  # top hat
        pen.box(-size * 0.62, y - 0.42, size * 0.62, y, colour)
        pen.box(-size * 0.62, y - 0.14, size * 0.62, y - 0.04, look.other(colour))
        pen.box(-size * 1.05, y - 0.04, size * 1.05, y + 0.05, colour)
    elif kind < 0.85:  # bobble hat
        pen.shape(
            arc(0, y + 0.06, size * 0.85, size * 1.1, 0.5, 1.0),
            look.cloth(colour, ("stripes", "zigzag", "dots"), 0.4, (4, 6)),
        )
        pen.box(-size * 0.9, y - 0.02, size * 0.9, y + 0.09, look.other(colour))
        pen.disc(0, y - size * 1.08, 0.1, look.other(colour))
    elif kind < 0.95:  # bucket
        pen.shape(
            [(-size * 0.8, y + 0.04), (-size * 0.5, y - 0.36), (size * 0.5, y - 0.36), (size * 0.8, y + 0.04)], colour
        )


def umbrella(pen: Pen, rng: Random, look: Look) -> None:
    """An open umbrella: a scalloped canopy of gores, a stick, a crook."""
    main = look.clear(0.07, 0.9, 0.7)
    other = look.other(main)
    rim, crown = rng.uniform(-0.08, 0.08), -rng.uniform(0.78, 0.92)
    stick = look.dark() if rng.random() < 0.5 else look.wood()
    pen.line([(0, crown - 0.1), (0, 0.8)], 0.07, stick)
    crook = rng.choice((-1, 1))
    if rng.random() < 0.8:
        pen.line(
            arc(0.13 * crook, 0.8, 0.13, 0.15, 0.5 if crook > 0 else 0.0, 0.0 if crook > 0 else 0.5, 8), 0.07, stick
        )
    count = int(rng.choice((4, 5, 6)))
    edges = np.sin(np.linspace(-1, 1, count + 1) * math.pi / 2 * 0.9) / math.sin(math.pi / 2 * 0.9)
    fabric = look.cloth(main, plain=0.45)
    alternate = rng.random() < 0.6
    scallop = rng.uniform(0.08, 0.17)
    for i in range(count):
        a, b = float(edges[i]), float(edges[i + 1])
        t = np.linspace(0, math.pi / 2, 7)
        side = np.stack([np.sin(t), crown + (rim - crown) * (1 - np.cos(t))], 1)
        left, right = side * (0.98 * a, 1), side * (0.98 * b, 1)
        u = np.linspace(1, 0, 6)[1:-1]
        hem = np.stack([0.98 * (a + (b - a) * u), rim - scallop * np.sin(u * math.pi)], 1)
        gore = np.concatenate([left[:0:-1], left[:1], right[1:], hem]).astype(np.float32)
        pen.shape(gore, fabric if i % 2 == 0 or not alternate else Paint(other, other))
