"""A cue that is at no fixed place: one patch of pixels, somewhere in each picture, found by laying pictures on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.suspects.probe import Pictures

Corners = NDArray[np.int64]
"""Top and left of a window in each picture, in pixels: (n, 2)."""

BLUR = 0.018
"""Of a picture's side: 0.6 to 4 pixels for pictures of 32 to 224."""
WINDOWS = (1 / 3, 1 / 5, 1 / 8)
"""Sides of the windows that are tried, as shares of the picture's: a patch is sought that fills half of one or more."""
SMALLEST = 5
"""Pixels of a window's side at least."""
EXAMPLES, AMONG = 6, 32
"""Members whose own window is sought in the others, and in how many of these and of the usual pictures."""
LARGEST = 128
"""Pixels of a side that patches are sought at: larger pictures are made smaller."""
ROUNDS = 6
TRIMMED = 0.6
"""Share of the members that the patch is made of, those it fits best: not all that belong have it."""
COMMON = 0.35
"""A pixel is of the patch where members are nearer to it than this part of what usual pictures' best windows are."""
NOISE = 4.0
"""Grey levels that a pixel may differ by without counting: what saving as JPEG does to it."""
PATCH = 6
"""Pixels that a patch has at least."""
DETAIL = 12.0
"""Grey levels, standard deviation over its pixels: a patch of less is a piece of plain wall or sky."""


@dataclass(frozen=True)
class Patch:
    """What the pictures share: the mean of the windows laid on one another, and how much each pixel counts.

    mean, weight: float32 (channels, high, wide). The weights are 0 outside the patch's own pixels.
    """

    mean: NDArray[np.float32]
    weight: NDArray[np.float32]

    def fit(self, pictures: Pictures | NDArray[np.float32]) -> tuple[NDArray[np.float64], Corners]:
        """How well the best window of each picture is the patch, 0 is exactly (n,), and where that is.

        The weighted mean squared difference, negative.
        """
        apart = _apart(_reduced(pictures), self.mean[None], self.weight[None])[0]
        best = apart.reshape(len(apart), -1).argmin(axis=1)
        corners = np.stack(np.unravel_index(best, apart.shape[1:]), axis=1)
        return -apart.reshape(len(apart), -1)[np.arange(len(best)), best], corners.astype(np.int64)

    def boxes_in(self, pictures: Pictures) -> list[tuple[float, float, float, float]]:
        """Where it is in each picture, as shares of the picture."""
        height, width = _reduced(pictures[:1]).shape[2:]
        high, wide = self.mean.shape[1:]
        return [
            (left / width, top / height, (left + wide) / width, (top + high) / height)
            for top, left in self.fit(pictures)[1].tolist()
        ]


def smoothed(slopes: NDArray[np.floating]) -> NDArray[np.float64]:
    """One picture's slopes (height, width) without the checks that strides leave in a gradient by pixel."""
    from scipy.ndimage import gaussian_filter

    sigma = max(0.6, BLUR * min(slopes.shape))
    return np.asarray(gaussian_filter(slopes.astype(np.float64), sigma))


def find_patch(members: Pictures, usual: Pictures, slopes: NDArray[np.float32]) -> Patch | None:
    """The patch of pixels that most members have somewhere; None where they share none.

    slopes: float32 (n, height, width), where each member answers to the cue's direction (`Probe.slopes`). One member's
    window there is sought in all others; of a few members, that is taken whose window tells members from usual
    pictures best. What most agree in becomes the patch, and each member's window moves to where the patch fits best,
    over the whole picture, until none moves. What has no edge in the window, such as a tint, is no patch.
    """
    few = _reduced(members), _reduced(usual)
    side = min(few[0].shape[2:])
    peaks = _peaks(slopes, few[0].shape[2:])
    best: list[tuple[float, Patch]] = []
    for size in dict.fromkeys(min(side, max(SMALLEST, round(share * side))) for share in WINDOWS):
        corners = np.clip(peaks - size // 2, 0, np.array(few[0].shape[2:]) - size)
        own = _windows(few[0][:EXAMPLES], corners[:EXAMPLES], size)
        fits = [-_apart(x[:AMONG], own, np.ones_like(own)).min(axis=(2, 3)) for x in few]
        areas = [_area(inside, outside) for inside, outside in zip(*fits, strict=True)]
        chosen = int(np.argmax(areas))
        best.append((areas[chosen], Patch(own[chosen], np.ones_like(own[chosen]))))
    grown = (_grown(*few, patch) for _, patch in sorted(best, key=lambda one: -one[0]))
    return next((patch for patch in grown if patch is not None), None)


def telling(patch: Patch, members: Pictures, usual: Pictures) -> float:
    """How well the patch's best fit tells members from usual pictures: area under the ROC curve."""
    return _area(patch.fit(members)[0], patch.fit(usual)[0])


def _apart(
    pictures: NDArray[np.float32], means: NDArray[np.float32], weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The weighted mean squared difference of every window of pictures (n, ...) from patches (p, channels, high, wide).

    -> (p, n, tops, lefts). All windows at once: a square is taken apart into correlations.
    """
    import torch
    from torch.nn.functional import conv2d

    x, mean, weight = (torch.from_numpy(np.ascontiguousarray(one)) for one in (pictures - 128, means - 128, weights))
    with torch.inference_mode():
        crossed = conv2d(x, weight * mean)
        alike = bool((weight == weight[:1]).all())  # of patches without weights the squares are the same
        squares = conv2d(x.square(), weight[:1] if alike else weight)
        constant, total = ((one.sum((1, 2, 3)))[:, None, None] for one in (weight * mean.square(), weight))
        apart = ((squares - 2 * crossed + constant).clamp(min=0) / total).transpose(0, 1)
    return np.asarray(apart.double().numpy())


def _area(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    from sklearn.metrics import roc_auc_score

    values = np.concatenate([inside, outside])
    return float(roc_auc_score(np.arange(len(values)) < len(inside), values))


def _reduced(pictures: Pictures | NDArray[np.float32]) -> NDArray[np.float32]:
    """Pictures with sides of at most LARGEST pixels, by means of blocks."""
    by = -(-min(pictures.shape[2:]) // LARGEST)
    values = pictures.astype(np.float32)
    if by == 1:
        return values
    height, width = (side // by for side in pictures.shape[2:])
    cut = values[:, :, : height * by, : width * by]
    return np.asarray(cut.reshape(*cut.shape[:2], height, by, width, by).mean(axis=(3, 5)))


def _peaks(slopes: NDArray[np.float32], shape: tuple[int, ...]) -> Corners:
    """Where each picture's slopes are largest, in pixels of pictures of another shape (height, width)."""
    found = [np.unravel_index(int(smoothed(one).argmax()), one.shape) for one in slopes]
    return (np.array(found) * np.array(shape) / np.array(slopes.shape[1:])).astype(np.int64)


def _grown(members: NDArray[np.float32], usual: NDArray[np.float32], patch: Patch) -> Patch | None:
    """What a first patch becomes as those that it fits best are laid on one another, again and again."""
    size = patch.mean.shape[1]
    now = np.full((len(members), 2), -1)
    for _ in range(ROUNDS):
        fits, moved = patch.fit(members)
        kept = fits >= np.quantile(fits, 1 - TRIMMED)
        still, now = bool((moved == now)[kept].all()), moved
        if still:
            break
        laid = _laid(members[kept], usual, now[kept], patch, size, 0)
        weight = (laid.outside / laid.within - 1).clip(min=0)  # nothing where members agree no more than others do
        if not weight.any():
            return None
        patch = Patch(laid.mean, weight)
    room = min(members.shape[2:]) - size
    more = min(size // 2, room // 2)  # it may be larger than the window that it was found by
    return _cut(_laid(members[kept], usual, now[kept], patch, size + 2 * more, more))


@dataclass(frozen=True)
class _Laid:
    """Windows laid on one another: members' mean, and how far from it these and usual pictures' best ones are."""

    mean: NDArray[np.float32]
    within: NDArray[np.float32]
    outside: NDArray[np.float32]


def _laid(
    members: NDArray[np.float32], usual: NDArray[np.float32], now: Corners, patch: Patch, size: int, more: int
) -> _Laid:
    """more: pixels around each picture, mirrored, so that larger windows than the patch's lie in it."""
    around = ((0, 0), (0, 0), (more, more), (more, more))
    own = _windows(np.pad(members, around, mode="symmetric"), now, size)
    others = _windows(np.pad(usual, around, mode="symmetric"), patch.fit(usual)[1], size)
    mean = own.mean(axis=0)
    return _Laid(mean, own.var(axis=0) + NOISE**2, np.square(others - mean).mean(axis=0) + NOISE**2)


def _windows(pictures: NDArray[np.float32], corners: Corners, size: int) -> NDArray[np.float32]:
    cut = [
        picture[:, top : top + size, left : left + size]
        for picture, (top, left) in zip(pictures, corners.tolist(), strict=True)
    ]
    return np.stack(cut)


def _cut(laid: _Laid) -> Patch | None:
    """The piece of the window that members agree in, with its box."""
    from scipy.ndimage import binary_closing, find_objects, label

    agreed = laid.within.mean(axis=0) < COMMON * laid.outside.mean(axis=0)
    agreed |= binary_closing(agreed)
    pieces, count = label(agreed)
    if not count:
        return None
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    largest = int(sizes.argmax())
    down, across = find_objects(pieces)[largest]
    own = pieces[down, across] == largest + 1
    box = laid.mean[:, down, across]
    edgeless = box.shape[1] == len(agreed) or box.shape[2] == agreed.shape[1]
    if edgeless or sizes[largest] < PATCH or box[:, own].std(axis=1).max() < DETAIL:
        return None
    return Patch(box, np.where(own, 1 / laid.within[:, down, across], 0).astype(np.float32))
