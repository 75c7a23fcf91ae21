"""Nearest neighbours of points, found once for every method: exact for few points, by inverted lists for many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import faiss  # here, not where it is used: a limit on threads reaches only libraries that are loaded
import numpy as np
from numpy.typing import NDArray

EXACT_ROWS = 20_000
"""Up to here all pairs are compared: 20,000 x 100 takes about a second on two cores."""
PROBES, ROUNDS = 4, 2
"""Lists that are searched for each point, and rounds through neighbours' neighbours after that. Of the true 15 nearest
of 50,000 x 512, 31 of so many found hold 0.65 before the rounds, 0.84 after; 8 lists and one round hold as many for a
fifth more time, and lists are what grows fastest with the rows."""
WIDER, TOGETHER = 2, 2_000
"""So many times the neighbours are looked for among the points, of which the nearest are kept, by whole vectors where
these can be read, for so many points at a time: of the true 15 nearest of 100,000 x 512 the graph then holds 0.83 where
100 principal components alone give 0.63, and a t-SNE map keeps 0.265 where it kept 0.240."""
WHOLE = 400_000_000
"""Bytes of vectors that are held at once, rather than read for each block that has them among its neighbours: of
100,000 x 512 each would be read ten times, and the nearest 15 of 31 be found in 5.4 s of processor time, not in 1.2."""

SEARCHED = 50_000
"""Points that are searched for at a time, which bounds what is held beside the neighbours found."""

Vectors = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Some points' numbers (n,) to what they were made from, (n, channels)."""


@dataclass(frozen=True)
class Neighbors:
    """indices int64 (rows, k) of each point's nearest others, nearest first; distances float32, Euclidean."""

    indices: NDArray[np.int64]
    distances: NDArray[np.float32]


def nearest_part(neighbors: Neighbors, share: float) -> Neighbors:
    """The nearest share of each point's neighbours, at least two of them."""
    k = min(neighbors.indices.shape[1], max(2, round(share * neighbors.indices.shape[1])))
    return Neighbors(neighbors.indices[:, :k], neighbors.distances[:, :k])


def find_neighbors(
    points: NDArray[np.float32], k: int, *, seed: int = 0, threads: int = 1, vectors: Vectors | None = None
) -> Neighbors:
    """Find the k nearest other points of each point. (rows, dimensions) -> Neighbors; needs k < rows.

    Exact up to EXACT_ROWS; above, faiss's inverted lists and a search through neighbours' neighbours find nearly all.
    With `vectors`, of which the points are a reduction, more are found and the nearest by the vectors are kept.
    """
    rows = len(points)
    if not 0 < k < rows:
        raise ValueError(f"{k} neighbours among {rows} points")
    points = np.ascontiguousarray(points, np.float32)
    wide, order = min(WIDER * k, rows - 1), np.arange(rows)
    if rows <= EXACT_ROWS:
        squared, found = _exact(points).search(points, wide + 1)
    else:
        order, squared, found = _search_lists(points, wide, seed, threads)
    others, squared = _without_self(found, squared)
    del found
    if vectors is not None:
        others, squared = _nearest_by(vectors, others, order, k, threads)
    return Neighbors(others[:, :k].astype(np.int64), np.sqrt(np.maximum(squared[:, :k], 0)).astype(np.float32))


def _search_lists(
    points: NDArray[np.float32], k: int, seed: int, threads: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int32]]:
    """The points in the order of their lists (rows,), and squared distances and numbers of the k + 1 nearest of each.

    What is near in space is near in memory then: 100,000 x 100 are searched in 0.6 of the time, and refined in 0.7.
    """
    from atlas.layouts.refining import refine

    index = _inverted_lists(points, seed)
    lists = [(index.invlists.get_ids(i), index.invlists.list_size(i)) for i in range(index.nlist)]
    order = np.concatenate([faiss.rev_swig_ptr(start, count).copy() for start, count in lists if count])
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    sorted_points = points[order]
    # Of a million points the numbers alone are 250 MB as faiss gives them, so they are kept as half of that.
    found, squared = np.empty((len(order), k + 1), np.int32), np.empty((len(order), k + 1), np.float32)
    for some in _blocks(len(order)):
        squared[some], near = index.search(sorted_points[some], k + 1)
        found[some] = np.where(near < 0, -1, place[near])
    del index  # it holds a copy of the points
    for _ in range(ROUNDS):
        found, squared = refine(sorted_points, found, squared, threads)
    short = np.flatnonzero((found < 0).any(axis=1))
    if len(short):  # the searched lists held fewer points than asked for
        squared[short], found[short] = _exact(sorted_points).search(sorted_points[short], k + 1)
    del sorted_points
    named = np.empty_like(found)
    for some in _blocks(len(order)):
        named[some] = order[found[place[some]]]
    return order, squared[place], named


def _blocks(rows: int) -> Iterator[slice]:
    return (slice(first, first + SEARCHED) for first in range(0, rows, SEARCHED))


def _nearest_by(
    vectors: Vectors, found: NDArray[np.integer[Any]], order: NDArray[np.int64], k: int, threads: int
) -> tuple[NDArray[np.integer[Any]], NDArray[np.float32]]:
    """The k of each point's found (rows, more) that are nearest by their vectors, and squared distances, (rows, k)."""
    from atlas.layouts.refining import apart

    kept, squared = np.empty((len(found), k), found.dtype), np.empty((len(found), k), np.float32)
    whole, place = _hold(vectors, order), np.argsort(order)
    for first in range(0, len(order), TOGETHER):
        some = order[first : first + TOGETHER]
        if whole is not None:
            distance = apart(whole, place[some], place[found[some]], threads)
        else:
            there, number = np.unique(np.concatenate([some, found[some].ravel()]), return_inverse=True)
            own, others = number[: len(some)], number[len(some) :].reshape(len(some), -1)
            distance = apart(vectors(there), own, others, threads)
        best = np.argsort(distance, axis=1, kind="stable")[:, :k]
        kept[some] = np.take_along_axis(found[some], best, 1)
        squared[some] = np.take_along_axis(distance, best, 1)
    return kept, squared


def _hold(vectors: Vectors, order: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """All vectors in this order, (points, channels): near ones are near in memory then. None if they are too large."""
    width = vectors(order[:1]).shape[1]
    if 4 * len(order) * width > WHOLE:
        return None
    whole = np.empty((len(order), width), np.float32)
    for first in range(0, len(order), TOGETHER):
        whole[first : first + TOGETHER] = vectors(order[first : first + TOGETHER])
    return whole


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


def _without_self(
    found: NDArray[np.integer[Any]], squared: NDArray[np.float32]
) -> tuple[NDArray[np.integer[Any]], NDArray[np.float32]]:
    """Drop each point from its own list; it need not come first when others lie at the same place."""
    others, distances = np.empty_like(found[:, 1:]), np.empty_like(squared[:, 1:])
    for some in _blocks(len(found)):
        own = found[some] == np.arange(len(found))[some, None]
        order = np.argsort(own, axis=1, kind="stable")[:, :-1]
        others[some] = np.take_along_axis(found[some], order, 1)
        distances[some] = np.take_along_axis(squared[some], order, 1)
    return others, distances
