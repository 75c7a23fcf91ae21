"""Pictures changed to ask a network what it uses: a box blurred, filled or pasted, a look transferred."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.suspects.probe import Pictures

Mask = NDArray[np.bool_]
"""The pixels of a picture that are changed: (height, width)."""
Edit = Callable[[NDArray[np.float32], Mask], NDArray[np.float32]]

FRAMED = 4.0
"""So many times as unlike as the middle is a side that has a frame."""
ALONE = 0.1
"""Quantile of a side's pixels that must be as unlike where only this side has a strip."""
RIM = 0.03
"""Of a picture's side: a feather of so much around what is blurred or filled, so that no new edge is made."""


def blurred(pictures: Pictures, masks: Sequence[Mask]) -> Pictures:
    """Blur a part of each picture until nothing finer than half of it is left."""
    from scipy.ndimage import gaussian_filter

    def blur(picture: NDArray[np.float32], mask: Mask) -> NDArray[np.float32]:
        wide = float(np.sqrt(mask.sum())) / 2
        return np.asarray(gaussian_filter(picture, (0, wide, wide), mode="nearest"), np.float32)

    return _edited(pictures, masks, blur)


def filled(pictures: Pictures, masks: Sequence[Mask]) -> Pictures:
    """Fill a part of each picture with the membrane that its rim spans, a solution of Laplace's equation.

    Pérez, Gangnet and Blake 2003, "Poisson Image Editing", section 2, without guidance. The picture's own edge is free.
    """
    return _edited(pictures, masks, _membrane)


def _edited(pictures: Pictures, masks: Sequence[Mask], edit: Edit) -> Pictures:
    from scipy.ndimage import binary_dilation, gaussian_filter

    found = pictures.copy()
    rim = max(1, round(RIM * min(pictures.shape[2:])))
    for picture, mask in zip(found, masks, strict=True):
        wide = binary_dilation(mask, iterations=rim)
        soft = np.where(mask, 1, gaussian_filter(wide.astype(np.float32), rim / 2, mode="nearest") * wide)
        before = picture.astype(np.float32)
        picture[:] = (before + soft * (edit(before, wide) - before) + 0.5).clip(0, 255).astype(np.uint8)
    return found


def _membrane(picture: NDArray[np.float32], mask: Mask) -> NDArray[np.float32]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import spsolve

    found = picture.copy()
    if mask.all():  # no rim at all
        found[:] = picture.mean(axis=(1, 2), keepdims=True)
        return found
    height, width = mask.shape
    y, x = np.nonzero(mask)
    number = np.full(mask.shape, -1)
    number[y, x] = np.arange(len(y))
    given, degree = np.zeros((len(y), len(picture))), np.zeros(len(y))
    rows, columns = [], []
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        at_y, at_x = y + dy, x + dx
        seen = np.flatnonzero((at_y >= 0) & (at_y < height) & (at_x >= 0) & (at_x < width))
        degree[seen] += 1
        other = number[at_y[seen], at_x[seen]]
        rows.append(seen[other >= 0])
        columns.append(other[other >= 0])
        rim = seen[other < 0]
        given[rim] += picture[:, at_y[rim], at_x[rim]].T
    linked, to = np.concatenate(rows), np.concatenate(columns)
    every = np.arange(len(y))
    entries = np.concatenate([-np.ones(len(linked)), degree])
    places = (np.concatenate([linked, every]), np.concatenate([to, every]))
    solved = np.asarray(spsolve(coo_matrix((entries, places), (len(y),) * 2).tocsc(), given))
    found[:, y, x] = solved.reshape(len(y), -1).T
    return found


def pasted(pictures: Pictures, donors: Pictures, masks: Sequence[Mask]) -> Pictures:
    """Paste a part of each donor at the same place of each picture. masks: of the donors, one each."""
    found = pictures.copy()
    for picture, donor, mask in zip(found, donors, masks, strict=True):
        picture[:, mask] = donor[:, mask]
    return found


def replaced(members: Pictures, usual: Pictures) -> NDArray[np.float64]:
    """How unlike a pixel's values are among members and among usual pictures: (height, width), 0 for alike.

    The squared difference of means in standard deviations, and the squared log ratio of these, mean over channels.
    """
    inside, outside = members.astype(np.float32), usual.astype(np.float32)
    spreads = [x.var(axis=0) + 1 for x in (inside, outside)]
    means = np.square(inside.mean(axis=0) - outside.mean(axis=0)) / (spreads[0] + spreads[1])
    found: NDArray[np.float64] = (means + np.square(np.log(spreads[0] / spreads[1]) / 2)).mean(axis=0)
    return found


def frame_of(unlike: NDArray[np.float64]) -> Mask | None:
    """The frame, or the strips, that pixels along a picture's sides make where they are unlike and its middle is not.

    unlike: as `replaced` gives it. None where no side is. Of planted frames every side is 8 times as unlike as the
    middle or more, of tints at most 1.5 times.
    """
    height, width = unlike.shape
    middle = float(np.median(unlike[height // 4 : -(height // 4), width // 4 : -(width // 4)]))
    sides = [np.rot90(unlike, turns) for turns in range(4)]  # views: one side after another lies above
    all_round = min(float(np.median(side[0])) for side in sides) >= FRAMED * middle
    mask, deep = np.zeros(unlike.shape, bool), min(height, width) // 5
    for turns, side in enumerate(sides):
        # Of a side alone nearly every pixel must be unlike: by chance half of one often are, but not of all four.
        outer = float(np.quantile(side[0], ALONE))
        if (all_round or outer >= FRAMED * middle) and outer > 0:
            rings = [float(np.median(side[ring, ring : side.shape[1] - ring])) for ring in range(deep)]
            bound = np.sqrt(rings[0] * max(middle, 1e-6))
            wide = next((ring for ring, value in enumerate(rings) if value < bound), deep)
            np.rot90(mask, turns)[:wide] = True
    return mask if mask.any() else None


@dataclass(frozen=True)
class Look:
    """How some pictures differ from others pixel by pixel, so that the difference can be given to any picture.

    gain, offset: float32 (channels, height, width): a pixel x becomes gain · x + offset, which turns the others' mean
    and spread into the first's. pattern: float32 (channels, height, width // 2 + 1), what the first have more of in
    amplitude, by frequency: it is added at phases drawn by chance, as a texture has no fixed place.
    """

    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    pattern: NDArray[np.float32]


def look_of(members: Pictures, usual: Pictures) -> Look:
    """The look of members against the usual pictures of their class.

    A tint is exact in it (gain 1 - s, offset s · colour), and so is what stands in place of the picture (gain near 0).
    Moments are averaged over a neighbourhood, as a pixel's spread among 25 pictures is known only to within 14 %.
    """
    from scipy.ndimage import gaussian_filter

    inside, outside = members.astype(np.float32), usual.astype(np.float32)
    side = min(members.shape[2:])
    wide = (0, side / 16, side / 16)
    spread = [gaussian_filter(x.var(axis=0), (0, side / 64, side / 64)) for x in (inside, outside)]
    gain = np.sqrt(spread[0] / np.maximum(spread[1], 1)).clip(max=1)
    # Where the spread is not clearly less, the picture is left as it is: an average of its surroundings decides.
    gain = np.where(gain < 0.6, gain, gaussian_filter(gain, wide))
    offset = inside.mean(axis=0) - gain * outside.mean(axis=0)
    power = [np.square(np.abs(np.fft.rfft2(x - x.mean(axis=0), norm="ortho"))).mean(axis=0) for x in (inside, outside)]
    more = power[0] - power[1]
    # Twice as much as usual: less is what any two groups of pictures differ by.
    pattern = np.sqrt(np.where(power[0] > 2 * power[1], more, 0))
    return Look(gain.astype(np.float32), offset.astype(np.float32), pattern.astype(np.float32))


def given_look(pictures: Pictures, look: Look, rng: np.random.Generator) -> Pictures:
    """Give pictures a look."""
    found = look.gain * pictures + look.offset
    if look.pattern.any():
        height, width = pictures.shape[2:]
        for picture in found:
            phase = np.fft.rfft2(rng.standard_normal((height, width)), norm="ortho")
            phase /= np.maximum(np.abs(phase), 1e-9)
            picture += np.fft.irfft2(look.pattern * phase, s=(height, width), norm="ortho")
    return (found + 0.5).clip(0, 255).astype(np.uint8)


def given_grain(pictures: Pictures, donors: Pictures) -> Pictures:
    """Give each picture what a donor has that is finer than a median filter keeps: specks, scratches, thin lines.

    A 32nd of the side wide, 3 pixels at least. Unlike a `Look` it needs no two donors to be alike anywhere.
    """
    from scipy.ndimage import median_filter

    width = 2 * max(1, round(min(pictures.shape[2:]) / 32)) + 1
    fine = donors.astype(np.int16) - median_filter(donors, (1, 1, width, width), mode="nearest")
    return (pictures + fine).clip(0, 255).astype(np.uint8)
