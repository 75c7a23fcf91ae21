"""Groups of images: which half an image is in, clusters found on one half, and who lies among whom on the other."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.layouts.neighbors import find_neighbors

NEAR = 10
"""Neighbours that are looked at."""
WIDE, AXES = 512, 256
"""Above so many channels, the axes that rows are projected to: two networks of 4,000 x 2,048 then take 5.1 s of
processor time to compare instead of 8.6."""
OFFSET = 0.375
"""Added to a count before its share's angle is taken, and twice to the whole (Anscombe 1948)."""

Counts = NDArray[np.float64]


def halves(ids: Sequence[str]) -> NDArray[np.bool_]:
    """Say of each image whether groups are tested on it (else they are found on it): a bit of its id's hash. (images,)

    The id alone decides, so that two extractions and any order of the images agree.
    """
    bits = (hashlib.blake2b(name.encode(), digest_size=1).digest()[0] & 1 for name in ids)
    return np.fromiter(bits, bool, len(ids))


def unit_rows(vectors: NDArray[np.floating], seed: int = 0) -> NDArray[np.float32]:
    """Scale rows (images, channels) to length one after taking out their mean: Euclid is then the cosine's order.

    More than WIDE channels are projected to the AXES leading principal axes of 4,096 rows first.
    """
    rows = np.asarray(vectors, np.float32)
    rows = rows - rows.mean(axis=0)
    if rows.shape[1] > WIDE and len(rows) > AXES:
        from sklearn.utils.extmath import randomized_svd

        some = rows[:: max(1, len(rows) // 4096)]
        rows = rows @ randomized_svd(some, AXES, n_iter=2, random_state=seed)[2].T
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def find_clusters(rows: NDArray[np.float32], found_on: NDArray[np.bool_], count: int, seed: int) -> NDArray[np.int64]:
    """Cluster the rows of one half by k-means, and give every row its nearest centre. -> int64 (images,)"""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than clusters: some stay empty
        means = KMeans(count, n_init=4, max_iter=100, random_state=seed).fit(rows[found_on])
    return np.asarray(means.predict(rows), np.int64)


@dataclass(frozen=True)
class Graph:
    """A network's neighbours among the tested images: int64 (tested, NEAR), in the tested images' own numbers."""

    neighbors: NDArray[np.int64]

    @classmethod
    def of(cls, rows: NDArray[np.float32], seed: int, k: int = NEAR) -> Graph:
        """Find each row's neighbours among the others; fewer than `k` where there are few rows."""
        return cls(find_neighbors(rows, min(k, len(rows) - 1), seed=seed).indices)

    def edges(self, group: NDArray[np.int64], count: int) -> Counts:
        """Count edges from group to group, in images: float64 (count, count), a row's sum is its group's images.

        group (tested,): below `count`, or -1 for none; an edge that has not two is not counted.
        """
        there = group[self.neighbors]
        known = (group[:, None] >= 0) & (there >= 0)
        code = np.where(known, group[:, None] * count + there, count * count).ravel()
        summed = np.bincount(code, minlength=count * count + 1)[:-1].reshape(count, count)
        return np.asarray(summed / self.neighbors.shape[1])


def mixing(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Say how much each pair of groups lies mixed: (groups, groups) -> the same, symmetric, 0 apart to 0.5 as one.

    Of the edges between members of the two, the share that leads to the other group, as the angle asin sqrt, on which
    the noise of a share is about even (Anscombe 1948).
    """
    across = edges + edges.T
    within = np.diag(edges)
    return angle(across, across + within[:, None] + within[None, :])


def tightness(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Say how much each group lies among its own: (groups, groups) -> (groups,), the share of its edges as an angle."""
    return angle(np.diag(edges), edges.sum(axis=1))


def angle(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn a share into the angle asin sqrt, its noise evened."""
    return np.asarray(np.arcsin(np.sqrt(np.clip((part + OFFSET) / (whole + 2 * OFFSET), 0, 1))))
