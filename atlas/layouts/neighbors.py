"""Nearest neighbours of points, found once for every method: exact for few points, by inverted lists for many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss  # here, not where it is used: a limit on threads reaches only libraries that are loaded
import numpy as np
from numpy.typing import NDArray

EXACT_ROWS = 20_000
"""Up to here all pairs are compared: 20,000 x 100 takes about a second on two cores."""
PROBES, ROUNDS = 8, 2
"""Lists that are searched for each point, and rounds through neighbours' neighbours after that: 0.92 of the true
neighbours of 100,000 x 100 in 3.4 s, where 32 lists alone find 0.97 in 9 s, and the maps keep as many."""


@dataclass(frozen=True)
class Neighbors:
    """indices int64 (rows, k) of each point's nearest others, nearest first; distances float32, Euclidean."""

    indices: NDArray[np.int64]
    distances: NDArray[np.float32]


def find_neighbors(points: NDArray[np.float32], k: int, *, seed: int = 0, threads: int = 1) -> Neighbors:
    """Find the k nearest other points of each point. (rows, dimensions) -> Neighbors; needs k < rows.

    Exact up to EXACT_ROWS; above, faiss's inverted lists and a search through neighbours' neighbours find nearly all.
    """
    rows = len(points)
    if not 0 < k < rows:
        raise ValueError(f"{k} neighbours among {rows} points")
    points = np.ascontiguousarray(points, np.float32)
    if rows <= EXACT_ROWS:
        squared, found = _exact(points).search(points, k + 1)
        return _without_self(found, squared, k)
    from atlas.layouts.refining import refine

    squared, found = _inverted_lists(points, seed).search(points, k + 1)
    for _ in range(ROUNDS):
        found, squared = refine(points, found, squared, threads)
    short = np.flatnonzero((found < 0).any(axis=1))
    if len(short):  # the searched lists held fewer points than asked for
        squared[short], found[short] = _exact(points).search(points[short], k + 1)
    return _without_self(found, squared, k)


def find_among(points: NDArray[np.float32], others: NDArray[np.float32], k: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Find the k nearest of `points` for each of `others`, nearest first. -> int64 (others, k); needs k <= points."""
    if len(points) <= EXACT_ROWS:
        return np.asarray(_exact(points).search(others, k)[1])
    found = np.asarray(_inverted_lists(points, seed).search(others, k)[1])
    short = np.flatnonzero((found < 0).any(axis=1))
    if len(short):
        found[short] = _exact(points).search(others[short], k)[1]
    return found


def _exact(points: NDArray[np.float32]) -> Any:
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points)
    return index


def _inverted_lists(points: NDArray[np.float32], seed: int) -> Any:
    rows, dimensions = points.shape
    lists = int(2 * np.sqrt(rows))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(dimensions), dimensions, lists)
    index.cp.seed, index.cp.niter, index.cp.min_points_per_centroid = seed + 1, 6, 1
    rng = np.random.default_rng(seed)
    index.train(points[np.sort(rng.choice(rows, min(rows, 32 * lists), replace=False))])
    index.add(points)
    index.nprobe = min(PROBES, lists)
    return index


def _without_self(found: NDArray[np.int64], squared: NDArray[np.float32], k: int) -> Neighbors:
    """Drop each point from its own list; it need not come first when others lie at the same place."""
    own = found == np.arange(len(found))[:, None]
    order = np.argsort(own, axis=1, kind="stable")[:, :k]
    distances = np.sqrt(np.maximum(np.take_along_axis(squared, order, 1), 0))
    return Neighbors(np.take_along_axis(found, order, 1), distances.astype(np.float32))
