"""Where two networks differ: groups of samples (cells, classes) by neighbours, density, place and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.findings.similarity import Alignment
from atlas.layouts.rows import Rows, blocks

FEWEST_IMAGES = 5
"""Images below which a group's change has no p-value."""
TOP_EFFECTS = 5


@dataclass(frozen=True)
class Groups:
    """Some groups of samples: member m is the sample rows[m], in group of[m]; int64 (members,) each."""

    of: NDArray[np.int64]
    rows: NDArray[np.int64]
    count: int

    def mean(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Mean over each group's samples of values (samples,), float32 (groups,); NaN where there is none."""
        return _ratio(np.bincount(self.of, values[self.rows], self.count), np.bincount(self.of, minlength=self.count))

    def images(self, image_of: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Every pair of a group and an image in it, once: (pairs,) each, in order."""
        image = np.asarray(image_of)[self.rows].astype(np.int64)
        width = int(image.max(initial=0)) + 1
        pairs = np.unique(self.of * width + image)
        return pairs // width, pairs % width


@dataclass(frozen=True)
class LocalChange:
    """What changed in each group from the first network to the other, float32 (groups,) each, NaN where unknown.

    images: int64, distinct images. overlap: mean share of neighbours in common. denser: how much the samples have
    drawn together, the mean of log(distance to the 10th neighbour) in the first less in the other, each relative to
    its network's median: 0.7 is half the distance. shift: distance of the centroids after Procrustes, in root mean
    square distances of all samples to their centre. flips: share of images whose prediction differs. accuracy_one,
    accuracy_other: over labelled images. floor: the overlap that references keep; p: whether this is less, from a
    one-sided t-test over images, after Benjamini-Hochberg over the groups; NaN without references.
    """

    images: NDArray[np.int64]
    overlap: NDArray[np.float32]
    denser: NDArray[np.float32]
    shift: NDArray[np.float32]
    flips: NDArray[np.float32]
    accuracy_one: NDArray[np.float32]
    accuracy_other: NDArray[np.float32]
    floor: NDArray[np.float32]
    p: NDArray[np.float32]


@dataclass(frozen=True)
class SampleChange:
    """What changed for each sample, (samples,), and for each image, (images,), from one network to the other.

    overlap, denser: float32 (samples,), see LocalChange; floor: float32 (samples,), the mean overlap that references
    keep, None without. predictions: int32 (images,) of each network, -1 or None where there is none.
    """

    image_of: NDArray[np.int64]
    overlap: NDArray[np.float32]
    denser: NDArray[np.float32]
    floor: NDArray[np.float32] | None
    labels: NDArray[np.int32]
    predictions: tuple[NDArray[np.int32] | None, NDArray[np.int32] | None]


def describe_change(
    groups: Groups,
    change: SampleChange,
    means: tuple[NDArray[Any], NDArray[Any]],
    alignment: Alignment,
) -> LocalChange:
    """Describe each group's change. means: the groups' mean rows in each network, (groups, channels) each."""
    group, image = groups.images(change.image_of)
    one, other = change.predictions
    none = np.full(groups.count, np.nan, np.float32)
    flips = (
        none if one is None or other is None else _share(group, image, one != other, (one >= 0) & (other >= 0), groups)
    )
    floor = none if change.floor is None else groups.mean(change.floor)
    return LocalChange(
        images=np.bincount(group, minlength=groups.count),
        overlap=groups.mean(change.overlap),
        denser=groups.mean(change.denser),
        shift=_shift(means, alignment),
        flips=flips,
        accuracy_one=_accuracy(group, image, one, change.labels, groups),
        accuracy_other=_accuracy(group, image, other, change.labels, groups),
        floor=floor,
        p=none if change.floor is None else _less(groups, change),
    )


def group_means(rows: Rows, groups: Groups) -> NDArray[np.float64]:
    """Mean row of each group, float64 (groups, channels), in one pass; a group without samples is NaN."""
    from scipy.sparse import csr_matrix

    of = np.full(rows.shape[0], -1, np.int64)
    of[groups.rows] = groups.of
    sums = np.zeros((groups.count, rows.shape[1]))
    for part, block in blocks(rows):
        here = np.flatnonzero(of[part] >= 0)
        picks = csr_matrix((np.ones(len(here)), (of[part][here], here)), (groups.count, len(block)))
        sums += picks @ block.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: NDArray[np.float64] = sums / np.bincount(groups.of, minlength=groups.count)[:, None]
    return found


def effect_changes(
    one: tuple[NDArray[np.int32], NDArray[np.float32]], other: tuple[NDArray[np.int32], NDArray[np.float32]]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The classes whose mean effect changed most in each group: int32 and float32 (groups, 5), padded with -1 and NaN.

    one, other: (class, value) of each network, (groups, k) each, padded with -1 and NaN; a class that one does not
    list has no effect there. The value is the other's effect less the first's, in logits.
    """
    count = one[0].shape[0]
    width = int(max(one[0].max(initial=-1), other[0].max(initial=-1))) + 1
    classes, values = np.full((count, TOP_EFFECTS), -1, np.int32), np.full((count, TOP_EFFECTS), np.nan, np.float32)
    for group in range(count):
        change = np.zeros(width)
        for sign, (listed, effect) in ((-1, one), (1, other)):
            known = listed[group] >= 0
            change[listed[group][known]] += sign * effect[group][known]
        top = np.argsort(-np.abs(change), kind="stable")[:TOP_EFFECTS]
        top = top[change[top] != 0]
        classes[group, : len(top)], values[group, : len(top)] = top, change[top]
    return classes, values


def adjusted(p: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """p-values after Benjamini and Hochberg 1995, NaN where they were."""
    from scipy.stats import false_discovery_control

    found = np.full(len(p), np.nan, np.float32)
    known = np.isfinite(p)
    if known.any():
        found[known] = false_discovery_control(np.asarray(p)[known])
    return found


def _less(groups: Groups, change: SampleChange) -> NDArray[np.float32]:
    """Whether each group's overlap is less than the references keep: each image is one difference."""
    from scipy.stats import t

    assert change.floor is not None
    below = (change.floor - change.overlap)[groups.rows].astype(np.float64)
    image = change.image_of[groups.rows]
    width = int(image.max(initial=0)) + 1
    keys, at, counts = np.unique(groups.of * width + image, return_inverse=True, return_counts=True)
    each, of = np.bincount(at, below) / counts, keys // width
    images = np.bincount(of, minlength=groups.count)
    mean = _ratio(np.bincount(of, each, groups.count), images).astype(np.float64)
    squares = np.bincount(of, (each - mean[of]) ** 2, groups.count)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(squares / (images - 1) / images)
        p = t.sf(mean / error, images - 1)
    p[(images < FEWEST_IMAGES) | ~(error > 0)] = np.nan
    return adjusted(p)


def _shift(means: tuple[NDArray[Any], NDArray[Any]], alignment: Alignment) -> NDArray[np.float32]:
    one = (means[0] - alignment.one.mean) / alignment.one.radius
    other = (means[1] - alignment.other.mean) / alignment.other.radius
    squared = (one**2).sum(axis=1) + (other**2).sum(axis=1)
    squared -= 2 * np.einsum("gc,cd,gd->g", one, alignment.rotation, other, optimize=True)
    found: NDArray[np.float32] = np.sqrt(np.maximum(squared, 0)).astype(np.float32)
    return found


def _accuracy(
    group: NDArray[np.int64],
    image: NDArray[np.int64],
    prediction: NDArray[np.int32] | None,
    labels: NDArray[np.int32],
    groups: Groups,
) -> NDArray[np.float32]:
    if prediction is None:
        return np.full(groups.count, np.nan, np.float32)
    return _share(group, image, prediction == labels, (labels >= 0) & (prediction >= 0), groups)


def _share(
    group: NDArray[np.int64],
    image: NDArray[np.int64],
    true: NDArray[np.bool_],
    judged: NDArray[np.bool_],
    groups: Groups,
) -> NDArray[np.float32]:
    """Share of each group's judged images for which something is true."""
    kept = judged[image]
    of, image = group[kept], image[kept]
    return _ratio(np.bincount(of, true[image], groups.count), np.bincount(of, minlength=groups.count))


def _ratio(total: NDArray[Any], count: NDArray[Any]) -> NDArray[np.float32]:
    found = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return found.astype(np.float32)


def groups_of_labels(labels: Sequence[int] | NDArray[np.integer[Any]], image_of: NDArray[Any], count: int) -> Groups:
    """The classes as groups: samples of labelled images."""
    label = np.asarray(labels, np.int64)[image_of]
    rows = np.flatnonzero(label >= 0)
    return Groups(label[rows], rows, count)
