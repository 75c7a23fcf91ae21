"""Animals of the embedded dataset: butterfly, fish, ladybird, owl.

Each subject draws itself in its unit frame (x right, y down, about -1 to 1) with a pen and a look.
"""

from __future__ import annotations

import numpy as np

from atlas.datasets.drawing import Pen, arc
from atlas.datasets.shapes_look import Look
from atlas.datasets.shapes_paint import Paint, mix, oklch

Random = np.random.Generator
WHITE = np.ones(3, np.float32)


def butterfly(pen: Pen, rng: Random, look: Look) -> None:
    """A butterfly from above: two pairs of spotted wings, a body, feelers."""
    main = look.clear(0.14, 0.7, 0.85)
    rim = look.dark() if rng.random() < 0.55 else look.other(main)
    lower = main if rng.random() < 0.5 else look.other(main)
    tail = rng.uniform(0.6, 0.95)
    spread = rng.uniform(0.8, 1.0)
    upper_wing = np.array([(0.04, -0.1), (0.25, -0.62), (0.66, -0.86), (0.96, -0.72), (0.9, -0.3), (0.55, 0.02)])
    lower_wing = np.array([(0.04, 0.05), (0.5, 0.06), (0.78, 0.28), (0.62, 0.66), (0.4, tail), (0.16, 0.5)])
    fabric = look.cloth(main, ("dots", "stripes", "checks", "scales", "waves"), 0.55, (4, 7))
    spot = look.white() if rng.random() < 0.5 else look.other(main)
    spots = int(rng.integers(0, 4))
    for side in (-1, 1):
        turn = np.array([side * spread, 1])
        for wing, paint in ((lower_wing, Paint(lower, lower)), (upper_wing, fabric)):
            pen.soft(wing * turn, rim)
            middle = wing.mean(0)
            pen.soft((middle + (wing - middle) * 0.76) * turn, paint, 0.999)
        if spots > 0:
            pen.disc(0.66 * side * spread, -0.52, 0.15, rim)
            pen.disc(0.66 * side * spread, -0.52, 0.09, spot)
        if spots > 1:
            pen.disc(0.46 * side * spread, 0.42, 0.11, spot)
        if spots > 2:
            pen.disc(0.85 * side * spread, -0.66, 0.06, spot)
            pen.disc(0.8 * side * spread, -0.3, 0.06, spot)
        pen.line([(0, -0.4), (0.1 * side, -0.66), (0.24 * side, -0.82)], 0.035, look.dark())
    pen.disc(0, 0.05, 0.09, look.dark(), 0.5)
    pen.disc(0, -0.42, 0.1, look.dark())


def fish(pen: Pen, rng: Random, look: Look) -> None:
    """A fish from the side: scaled or striped body, tail, fins, eye."""
    main = look.clear(0.13, 0.25, 0.65)
    other = look.other(main)
    high = rng.uniform(0.36, 0.62)
    fin = other if rng.random() < 0.6 else mix(main, look.dark(), 0.3)
    fins = Paint(fin, fin * np.float32(0.75), "pinstripes", 3.5, 1.571)
    fork = rng.uniform(-0.72, -0.6)
    tall = rng.uniform(0.4, 0.62)
    pen.soft(
        [(-0.5, 0), (-0.95, -tall), (-1.02, -tall * 0.7), (fork - 0.1, 0), (-1.02, tall * 0.7), (-0.95, tall)], fins
    )
    pen.soft([(-0.35, -high * 0.6), (-0.15, -high - 0.3), (0.2, -high - 0.26), (0.4, -high * 0.6)], fins)
    if rng.random() < 0.7:
        pen.soft([(-0.25, high * 0.6), (-0.3, high + 0.24), (0.1, high + 0.06), (0.15, high * 0.7)], fins)
    names = ("scales", "scales", "stripes", "dots", "waves", "checks", "pinstripes", "zigzag")
    body = [
        (0.98, 0.03),
        (0.72, -high * 0.62),
        (0.25, -high),
        (-0.3, -high * 0.66),
        (-0.68, -0.1),
        (-0.68, 0.1),
        (-0.3, high * 0.66),
        (0.25, high),
        (0.72, high * 0.66),
    ]
    name = str(rng.choice(names))
    turn = 1.571 if name == "scales" else rng.choice((0.0, 0.0, 1.571, 0.785))
    pen.soft(body, Paint(main, other, name, rng.uniform(5, 9), turn))
    if rng.random() < 0.5:
        head = np.concatenate(
            [arc(0.35, 0, 0.18, high * 0.95, 0.75, 1.25, 8), [(0.72, high * 0.62), (0.96, 0.03), (0.72, -high * 0.58)]]
        )
        pen.shape(head.astype(np.float32), main, 0.999)
    pen.soft([(0.1, 0.05), (-0.25, 0.05), (-0.32, 0.28), (-0.05, 0.26)], fins)
    pen.disc(0.63, -high * 0.22, 0.13, look.white())
    pen.disc(0.66, -high * 0.22, 0.07, look.dark())
    pen.line([(0.92, 0.12), (0.76, 0.16)], 0.04, look.dark())


def ladybird(pen: Pen, rng: Random, look: Look) -> None:
    """A ladybird from above: a spotted dome in two halves, a dark head, six legs."""
    main = look.clear(0.07, 0.08, 0.18)
    dark = look.dark()
    for side in (-1, 1):
        for y, reach in ((-0.3, -0.2), (0.05, 0.02), (0.38, 0.26)):
            pen.line([(side * 0.5, y), (side * 0.86, y + reach - 0.02), (side * 0.98, y + reach + 0.1)], 0.07, dark)
        pen.line([(side * 0.12, -0.72), (side * 0.26, -0.92), (side * 0.4, -0.96)], 0.045, dark)
    pen.disc(0, -0.6, 0.36, dark, 0.28)
    if rng.random() < 0.8:
        for side in (-1, 1):
            pen.disc(side * 0.2, -0.7, 0.08, look.white())
    pen.disc(0, 0.12, 0.7, main, 0.72)
    spot = dark if rng.random() < 0.8 else look.white()
    layouts = (
        ((0.34, -0.12), (0.4, 0.4)),
        ((0.28, -0.22), (0.46, 0.14), (0.26, 0.5)),
        ((0.24, -0.25), (0.5, -0.02), (0.22, 0.22), (0.44, 0.45)),
    )
    size = rng.uniform(0.11, 0.18)
    for x, y in layouts[int(rng.integers(3))]:
        r = size * rng.uniform(0.85, 1.15)
        pen.disc(-x, y, r, spot)
        pen.disc(x, y, r, spot)
    open_wings = rng.random() < 0.25
    if open_wings:
        pen.shape([(0, -0.5), (-0.22, 0.86), (0.22, 0.86)], dark)
    else:
        pen.line([(0, -0.56), (0, 0.82)], 0.06, dark)
    pen.shape(
        np.concatenate([arc(0, 0.12, 0.7, 0.72, 0.02, 0.4, 12), arc(-0.1, 0.02, 0.66, 0.68, 0.4, 0.02, 12)]), dark, 0.25
    )
    pen.disc(-0.3, -0.22, 0.15, WHITE, 0.08, -0.7, opacity=0.6)


def owl(pen: Pen, rng: Random, look: Look) -> None:
    """An owl: ringed eyes, a beak, ear tufts, a scaled breast, folded wings, often on a branch."""
    coat = look.clear(0.14, 0.1, 0.75, light=(0.35, 0.72), chroma=(0.04, 0.14))
    breast, wing = look.other(coat), coat * np.float32(rng.uniform(0.6, 0.8))
    if rng.random() < 0.65:
        pen.line([(-1.3, 0.92), (1.3, 0.88 + rng.uniform(-0.1, 0.1))], 0.14, look.wood())
    tuft = rng.uniform(0.0, 0.16)
    fat = rng.uniform(0.58, 0.7)
    body = [
        (0, -0.72),
        (-0.36, -0.76),
        (-0.56, -0.86 - tuft),
        (-0.6, -0.5),
        (-fat, 0.2),
        (-0.42, 0.8),
        (0, 0.92),
        (0.42, 0.8),
        (fat, 0.2),
        (0.6, -0.5),
        (0.56, -0.86 - tuft),
        (0.36, -0.76),
    ]
    pen.soft(body, look.subtle(coat, ("grain", "scales", "dots"), (4, 6)))
    pen.disc(
        0,
        0.36,
        0.4,
        Paint(
            breast,
            coat,
            str(rng.choice(("scales", "scales", "waves", "dots", "checks", "zigzag"))),
            rng.uniform(3.8, 5.5),
        ),
        0.46,
    )
    for side in (-1, 1):
        lift = rng.uniform(0.0, 0.25) if rng.random() < 0.25 else 0.0
        pen.soft(
            [(side * 0.5, -0.2), (side * (fat + 0.1 + lift), 0.1), (side * (fat + lift), 0.6), (side * 0.4, 0.66)],
            look.subtle(wing, ("scales", "pinstripes", "stripes"), (3.5, 5)),
        )
    ring, iris = look.white() if rng.random() < 0.6 else look.other(coat), look.clear(0.25, 0.15, light=(0.7, 0.9))
    size = rng.uniform(0.25, 0.32)
    closed = rng.random() < 0.15
    gaze = rng.uniform(-0.05, 0.05)
    for side in (-1, 1):
        x, y = side * 0.28, -0.4
        pen.disc(x, y, size, ring)
        if closed:
            pen.line(arc(x, y - 0.02, size * 0.6, size * 0.5, 0.0, 0.5, 6), 0.06, look.dark())
            continue
        pen.disc(x, y, size * 0.7, iris)
        pen.disc(x + gaze, y, size * 0.4, oklch(0.15, 0.02, 0.7))
        pen.disc(x + gaze + 0.04, y - 0.06, size * 0.13, WHITE)
    pen.shape([(-0.1, -0.3), (0.1, -0.3), (0, -0.04)], oklch(0.75, 0.15, rng.uniform(0.12, 0.24)))
    for side in (-1, 1):
        pen.disc(side * 0.2, 0.9, 0.11, oklch(0.72, 0.13, 0.18), 0.07)
