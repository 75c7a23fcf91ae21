"""Where two networks differ: groups of samples (cells, classes) by neighbours, density, place and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.findings.significance import against_retraining
from atlas.findings.similarity import Alignment
from atlas.layouts.rows import Rows, blocks

FEWEST_IMAGES = 5
"""Images below which a group's change has no p-value."""
FEWEST_PAIRS = 3
"""Pairs of networks of one recipe (two references) below which nothing is known of how far retrainings differ."""
LEAST_VARIANCE = 1e-5
"""Of an angle times the root of its images: networks never agree better than this."""
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
    accuracy_other: over labelled images. floor: the overlap that networks of one recipe keep among themselves; p:
    whether this is less than a retraining's, after Benjamini-Hochberg over the groups; NaN without two references.
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

    overlap, denser: float32 (samples,), see LocalChange; kept: float32 (pairs, samples), the overlap of each pair of
    networks of the first one's recipe, None without references. predictions: int32 (images,) of each network, -1 or
    None where there is none; labels int32 (images,) number the same classes, -1 where there are none.
    """

    image_of: NDArray[np.int64]
    overlap: NDArray[np.float32]
    denser: NDArray[np.float32]
    kept: NDArray[np.float32] | None
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
    floor = none if change.kept is None else groups.mean(change.kept.mean(axis=0))
    return LocalChange(
        images=np.bincount(group, minlength=groups.count),
        overlap=groups.mean(change.overlap),
        denser=groups.mean(change.denser),
        shift=_shift(means, alignment),
        flips=flips,
        accuracy_one=_accuracy(group, image, one, change.labels, groups),
        accuracy_other=_accuracy(group, image, other, change.labels, groups),
        floor=floor,
        p=none if change.kept is None else _less(groups, change, change.kept),
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

    one, other: (class, value) of each network, (groups, k) each, padded with -1 and NaN. Of many
    outputs only the largest are listed: a class that one of them does not list is left out, for its effect there is
    not known. The value is the other's effect less the first's, in logits.
    """
    count = one[0].shape[0]
    classes, values = np.full((count, TOP_EFFECTS), -1, np.int32), np.full((count, TOP_EFFECTS), np.nan, np.float32)
    for group in range(count):
        both, here, there = np.intersect1d(one[0][group], other[0][group], return_indices=True)
        change = (other[1][group][there] - one[1][group][here])[both >= 0]
        both = both[both >= 0]
        top = np.argsort(-np.abs(change), kind="stable")[:TOP_EFFECTS]
        top = top[change[top] != 0]
        classes[group, : len(top)], values[group, : len(top)] = both[top], change[top]
    return classes, values


def adjusted(p: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """p-values after Benjamini and Hochberg 1995, NaN where they were."""
    from scipy.stats import false_discovery_control

    found = np.full(len(p), np.nan, np.float32)
    known = np.isfinite(p)
    if known.any():
        found[known] = false_discovery_control(np.asarray(p)[known])
    return found


def _less(groups: Groups, change: SampleChange, kept: NDArray[np.float32]) -> NDArray[np.float32]:
    """Whether each group's overlap is less than that of networks of one recipe: their pairs against this one.

    A moderated t (see `against_retraining`) of angles, each weighted by the root of the group's images, so that the
    noise of groups of any size is about even. On 12 retrained networks 4.8 % of the p-values of 120 groups of 2 to 37
    images, before their adjustment, were at most 0.05 with two references, and 5.5 % with three. A test over images
    alone would take the references for all the networks there are: of the same classes 20 % were.
    """
    image = change.image_of[groups.rows]
    width = int(image.max(initial=0)) + 1
    keys, at, counts = np.unique(groups.of * width + image, return_inverse=True, return_counts=True)
    of = keys // width
    images = np.bincount(of, minlength=groups.count)
    tested = np.flatnonzero(images >= FEWEST_IMAGES)
    found = np.full(groups.count, np.nan, np.float32)
    if len(kept) < FEWEST_PAIRS or not len(tested):
        return found

    def figures(overlap: NDArray[np.float32]) -> NDArray[np.float64]:
        each = np.bincount(at, overlap[groups.rows].astype(np.float64)) / counts
        share = _ratio(np.bincount(of, each, groups.count), images)[tested].astype(np.float64)
        return -np.arcsin(np.sqrt(np.clip(share, 0, 1))) * np.sqrt(images[tested])

    surprise = against_retraining(np.stack([figures(one) for one in kept]), figures(change.overlap), LEAST_VARIANCE)
    found[tested] = surprise.p
    return adjusted(found)


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
