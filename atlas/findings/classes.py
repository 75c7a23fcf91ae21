"""Where the classes lie to one another, raw and on the map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.findings.ranks import Space

COMPARED = 2_000
"""Classes whose centroids are compared pair by pair: the largest."""
NEAREST = 3


@dataclass(frozen=True)
class ClassTable:
    """One row for each class; see Quality for the whole layer.

    centroids: Spearman's correlation of the distances between centroids, map against raw; None below 4 classes.
    spread and spread_map: float32 (classes,), root mean square distance of a class's samples to their centroid over
    that of all samples to theirs, raw and on the map: 1 is as wide as everything; NaN for a class without samples.
    nearest: int32 (classes, 3), the classes whose centroids are nearest, raw, nearest first, padded with -1.
    """

    centroids: float | None
    spread: NDArray[np.float32]
    spread_map: NDArray[np.float32]
    nearest: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.spread)


def compare_classes(
    raw: Space, flat: Space, image_of: NDArray[np.integer], labels: NDArray[np.integer] | None, classes: int
) -> ClassTable:
    """Compare the classes' centroids and spreads; labels (images,) with -1 for none, below `classes`."""
    nearest = np.full((classes, NEAREST), -1, np.int32)
    if labels is None or not classes:
        nothing = np.full(classes, np.nan, np.float32)
        return ClassTable(None, nothing, nothing.copy(), nearest)
    label = np.asarray(labels)[np.asarray(image_of)]
    (centre, spread, count), (flat_centre, flat_spread, _) = (_sums(space, label, classes) for space in (raw, flat))
    present = np.argsort(-count, kind="stable")[: min(COMPARED, int((count > 0).sum()))]
    apart = _distances(centre[present])
    for i, one in enumerate(present):
        near = present[np.argsort(apart[i], kind="stable")]
        near = near[near != one][:NEAREST]
        nearest[one, : len(near)] = near
    correlation = _spearman(apart, _distances(flat_centre[present])) if len(present) >= 4 else None
    return ClassTable(correlation, spread, flat_spread, nearest)


def _sums(
    space: Space, label: NDArray[np.integer], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.int64]]:
    """Centroids (classes, channels), spreads relative to that of all samples (classes,), and counts (classes,)."""
    sums = np.zeros((classes + 1, space.rows.shape[1]))
    squares, count = np.zeros(classes + 1), np.zeros(classes + 1, np.int64)
    for rows, points in space.stream(256):
        of = label[rows].astype(np.int64)  # -1, without label, is the last
        order = np.argsort(of, kind="stable")
        there, first = np.unique(of[order], return_index=True)
        sums[there] += np.add.reduceat(points[order], first, axis=0, dtype=np.float64)
        squares += np.roll(np.bincount(of + 1, (points.astype(np.float64) ** 2).sum(axis=1), classes + 1), -1)
        count += np.roll(np.bincount(of + 1, minlength=classes + 1), -1)
    centre = sums / np.maximum(count, 1)[:, None]
    variance = np.maximum(squares / np.maximum(count, 1) - (centre**2).sum(axis=1), 0)
    whole = squares.sum() / max(1, count.sum()) - ((sums.sum(axis=0) / max(1, count.sum())) ** 2).sum()
    spread = np.sqrt(variance / max(float(whole), np.finfo(float).tiny))
    spread[count == 0] = np.nan
    return centre[:classes], spread[:classes].astype(np.float32), count[:classes]


def _distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial.distance import pdist, squareform

    return squareform(pdist(points))


def _spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    from scipy.stats import spearmanr

    upper = np.triu_indices(len(one), 1)
    found = float(spearmanr(one[upper], other[upper]).statistic)
    return found if np.isfinite(found) else None
