"""Where in pictures a cue sits: what its direction answers to in members and not in usual pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.models import Preprocess
from atlas.suspects.probe import Pictures, Probe
from atlas.suspects.wandering import Patch, smoothed

Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
HALF = 0.4
"""Share of the largest answer that is still the cue: of planted stickers the box is then nearest to the true one."""
WIDE = 0.5
"""A box of a larger share of the picture's area is taken for all of it."""
SURE = 0.25
"""Share of the mean answer that must lie in the box, or the cue has no place of its own."""


@dataclass(frozen=True)
class Place:
    """Where a cue sits, in shares of the network's input.

    box: the middle one, WHOLE for a cue that is everywhere or has no fixed place. boxes: of each picture that was
    asked about, all of one size. answer: float64 (height, width), the mean answer of members above that of the usual.
    density: in the box, of what other classes are recognised by, 1 being the average. level: the mean of
    usual pictures along the direction. fixed: whether it is at one place in all pictures. mask: bool (height, width),
    the pixels that stand in place of the picture where these are more like a frame than a box; None otherwise. patch:
    what is somewhere in each picture, at no fixed place, where there is such a thing; `box` is then WHOLE.
    """

    box: Box
    boxes: tuple[Box, ...]
    answer: NDArray[np.float64]
    density: float
    level: float
    fixed: bool = False
    mask: NDArray[np.bool_] | None = None
    patch: Patch | None = None

    @property
    def local(self) -> bool:
        """Whether it has a place of its own, or pixels of its own."""
        return self.box != WHOLE or self.mask is not None or self.patch is not None

    def masks(self, boxes: Sequence[Box]) -> list[NDArray[np.bool_]]:
        """The cue's pixels in pictures in which it has these boxes."""
        height, width = self.answer.shape
        return [self.mask if self.mask is not None else mask_of(box, height, width) for box in boxes]

    def boxes_in(self, probe: Probe, direction: NDArray[np.float32], pictures: Pictures) -> list[Box]:
        """The cue's box in each of other pictures that have it: of the same size, near the same place if it has one."""
        if self.patch is not None:
            return self.patch.boxes_in(pictures)
        if self.box == WHOLE:
            return [WHOLE] * len(pictures)
        if self.fixed:
            return [self.box] * len(pictures)
        height, width = self.answer.shape
        corners = in_pixels(self.box, height, width)
        return _boxes(probe.slopes(pictures, direction, self.level), corners)


def find_place(
    probe: Probe,
    direction: NDArray[np.float32],
    members: Pictures,
    usual: Pictures,
    objects: NDArray[np.float64],
    mark: tuple[int, int, int, int] | None = None,
    mask: NDArray[np.bool_] | None = None,
    *,
    everywhere: bool = False,
) -> Place:
    """Find a cue's place. members, usual: uint8 (n, channels, height, width). objects: see `class_answer`.

    mark: the box in pixels where all members have the same ones, if there is one: pixels tell a place more sharply than
    any network. Without it the slopes of the direction do, unless the cue is everywhere, or a mask's pixels.
    """
    level = float((probe.maps(usual) @ direction).mean())
    inside, outside = probe.slopes(members, direction, level), probe.slopes(usual, direction, level)
    answer = smoothed(inside.mean(axis=0) - outside.mean(axis=0)).clip(min=0)
    corners = mark
    if mark is None and mask is None and not everywhere:
        corners = _around(answer)
    density = _density(objects, corners)
    height, width = answer.shape
    if corners is None:
        if mask is not None:
            density = float(objects[mask].mean() / max(objects.mean(), 1e-30))
        return Place(WHOLE, (WHOLE,) * len(members), answer, density, level, mask is not None, mask)
    left, top, right, bottom = corners
    box = (left / width, top / height, right / width, bottom / height)
    boxes = (box,) * len(members) if mark is not None else tuple(_boxes(inside, corners))
    return Place(box, boxes, answer, density, level, fixed=mark is not None)


def _boxes(slopes: NDArray[np.float32], corners: tuple[int, int, int, int]) -> list[Box]:
    height, width = slopes.shape[1:]
    wide, high = corners[2] - corners[0], corners[3] - corners[1]
    places = [_moved(smoothed(one), corners) for one in slopes]
    return [(x / width, y / height, (x + wide) / width, (y + high) / height) for x, y in places]


def class_answer(probe: Probe, pictures: Pictures, classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Where pictures show what they are recognised by: (height, width), the mean over pictures, of each the sum is 1.

    The squared slope by pixel of each picture's own class. Pictures of other classes than the suspect's are asked: a
    network that goes by a mark in a corner looks for it there in every picture of its class.
    """
    import torch

    from atlas.models.effects import plain_attention

    found = []
    for start in range(0, len(pictures), probe.batch):
        part = torch.from_numpy(pictures[start : start + probe.batch]).to(probe.model.device)
        with torch.inference_mode(False), torch.enable_grad(), plain_attention():
            pixels = probe.model.preprocess.normalise(part).clone().requires_grad_()
            logits = probe.model.check_logits(probe.model.network(pixels))
            own = torch.from_numpy(classes[start : start + probe.batch]).to(logits.device)
            (slope,) = torch.autograd.grad(logits.gather(1, own[:, None]).sum(), pixels)
        found.append(slope.square().sum(1).double().cpu().numpy())
    energy = np.concatenate(found)
    sums = energy.sum(axis=(1, 2), keepdims=True)
    mean: NDArray[np.float64] = np.divide(energy, sums, out=np.zeros_like(energy), where=sums > 0).mean(axis=0)
    return mean


def _around(answer: NDArray[np.float64]) -> tuple[int, int, int, int] | None:
    """The box in pixels around the strongest piece of the answer; None where it is everywhere."""
    from scipy.ndimage import find_objects, label

    peak = float(answer.max())
    if peak <= 0:
        return None
    pieces, count = label(answer > HALF * peak)
    masses = np.bincount(pieces.ravel(), answer.ravel(), count + 1)[1:]
    down, across = find_objects(pieces)[int(masses.argmax())]
    box = (across.start, down.start, across.stop, down.stop)
    inside = answer[down, across].sum() / answer.sum()
    area = (across.stop - across.start) * (down.stop - down.start) / answer.size
    # A piece that holds no more of the answer than its area would by chance is a ripple, not a place.
    return None if area > WIDE or inside < max(SURE, 2 * area) else box


def _moved(seen: NDArray[np.float64], box: tuple[int, int, int, int]) -> tuple[int, int]:
    """Left and top of the box of this size, within half of it from its place, that holds most of a picture's answer."""
    left, top, right, bottom = box
    wide, high = right - left, bottom - top
    sums = np.pad(seen.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    held = sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]
    y, x = np.indices(held.shape)
    near = (np.abs(x - left) <= max(2, wide // 2)) & (np.abs(y - top) <= max(2, high // 2))
    best = int(np.where(near, held, -1.0).argmax())
    return best % held.shape[1], best // held.shape[1]


def _density(energy: NDArray[np.float64], corners: tuple[int, int, int, int] | None) -> float:
    if corners is None:
        return 1.0
    left, top, right, bottom = corners
    return float(energy[top:bottom, left:right].mean() / max(energy.mean(), 1e-30))


def mask_of(box: Box, height: int, width: int) -> NDArray[np.bool_]:
    """The pixels of a box."""
    left, top, right, bottom = in_pixels(box, height, width)
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


def in_pixels(box: Box, height: int, width: int) -> tuple[int, int, int, int]:
    """A box in shares of a picture as left, top, right, bottom in its pixels."""
    return round(box[0] * width), round(box[1] * height), round(box[2] * width), round(box[3] * height)


def in_picture(boxes: tuple[Box, ...] | list[Box], preprocess: Preprocess, sizes: NDArray[np.int64]) -> list[Box]:
    """Boxes of the network's input as shares of the original pictures; sizes: (n, 2), width and height in pixels."""
    mapped = preprocess.to_picture_boxes(np.array(boxes).reshape(-1, 4), sizes[:, 0], sizes[:, 1])
    return [(float(a), float(b), float(c), float(d)) for a, b, c, d in mapped.round(4)]
