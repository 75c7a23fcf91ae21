"""Each sample's nearest by comparing every pair once, a tile at a time: memory is that of two tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from atlas.layouts.neighbors import Neighbors
from atlas.records import Progress, silent

TILE_BYTES = 2**25
"""Of one tile's points: smaller ones would be read more often."""
BLOCK = 1024
"""Points of either tile whose products are looked at while the processor's cache holds them."""
CHUNK = 32
"""Distances of which the smallest is found before any is looked at alone: nearly all chunks hold nothing new."""

ReadPoints = Callable[[slice], NDArray[Any]]


def compare_all(
    read: ReadPoints,
    shape: tuple[int, int],
    group: NDArray[np.int64],
    k: int,
    *,
    threads: int = 1,
    tile: int | None = None,
    progress: Progress = silent,
) -> Neighbors:
    """The k nearest of other groups of each point, nearest first; of those at one distance the lower number first.

    read(rows) gives some points, (n, channels), float32; shape is (rows, channels) of all; group int64 (rows,), such
    as each sample's image. Every group leaves at least k others. Distances are Euclidean, by |a|² + |b|² - 2 a.b.
    """
    rows, channels = shape
    tile = tile or max(BLOCK, TILE_BYTES // (4 * max(1, channels)))
    lists = Neighbors(np.full((rows, k), -1, np.int64), np.full((rows, k), np.inf, np.float32))
    starts = range(0, rows, tile)
    done, total = 0, len(starts) * (len(starts) + 1) // 2
    # Distances do not change when all points move; about a typical one, the squares lose less to rounding.
    middle = np.float32(0) if not rows else _read(read, slice(0, min(tile, rows))).mean(axis=0)
    for start in starts:
        own = _Tile(start, _read(read, slice(start, min(start + tile, rows))) - middle)
        for other_start in starts[start // tile :]:
            progress("neighbours", done, total)
            same = other_start == start
            other = own if same else _Tile(other_start, _read(read, slice(other_start, other_start + tile)) - middle)
            for a in own.blocks():
                for b in other.blocks():
                    if not same or b.start >= a.start:
                        _meet(a, b, group, lists, threads)
            done += 1
    progress("neighbours", total, total)
    return Neighbors(lists.indices, np.sqrt(lists.distances))


class _Tile:
    """Some points with their squared lengths; start is the first one's number."""

    def __init__(self, start: int, points: NDArray[np.float32]) -> None:
        self.start, self.points = start, points
        self.lengths = np.einsum("ij,ij->i", points, points)

    def blocks(self) -> list[_Tile]:
        return [_Tile(self.start + i, self.points[i : i + BLOCK]) for i in range(0, len(self.points), BLOCK)]


def _meet(one: _Tile, other: _Tile, group: NDArray[np.int64], lists: Neighbors, threads: int) -> None:
    """Put each of two blocks' points into the other's lists, of numbers and squared distances."""
    products = one.points @ other.points.T
    _keep(products, one.lengths, other.lengths, one.start, other.start, group, *_arrays(lists), CHUNK, threads)
    if one.start != other.start:
        turned = np.ascontiguousarray(products.T)
        _keep(turned, other.lengths, one.lengths, other.start, one.start, group, *_arrays(lists), CHUNK, threads)


def _arrays(lists: Neighbors) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return lists.indices, lists.distances


def _read(read: ReadPoints, rows: slice) -> NDArray[np.float32]:
    return np.ascontiguousarray(read(rows), np.float32)


@njit(parallel=True, fastmath={"nnan", "nsz", "reassoc", "contract"}, cache=True)
def _keep(
    products: Any, lengths: Any, reach: Any, first: Any, start: Any, group: Any, nearest: Any, squared: Any,
    chunk: Any, parts: Any,
) -> None:  # fmt: skip
    """Put the others of a tile into the lists of the points that they are near to, in order of distance.

    products (n, m) of points first to first + n with points start to start + m; lengths (n,) and reach (m,) are both
    tiles' squared lengths.
    """
    count, others = products.shape
    k = nearest.shape[1]
    size = (count + parts - 1) // parts
    for part in prange(parts):
        for i in range(part * size, min(count, (part + 1) * size)):
            own = first + i
            for begin in range(0, others, chunk):
                end = min(begin + chunk, others)
                least = np.float32(np.inf)
                for j in range(begin, end):
                    least = min(least, reach[j] - np.float32(2) * products[i, j])
                if lengths[i] + least >= squared[own, k - 1]:
                    continue
                for j in range(begin, end):
                    apart = max(lengths[i] + reach[j] - np.float32(2) * products[i, j], np.float32(0))
                    if apart >= squared[own, k - 1] or group[start + j] == group[own]:
                        continue
                    place = k - 1
                    while place > 0 and squared[own, place - 1] > apart:
                        squared[own, place], nearest[own, place] = squared[own, place - 1], nearest[own, place - 1]
                        place -= 1
                    squared[own, place], nearest[own, place] = apart, start + j
