"""Neighbours of neighbours, and distances of some to some, compiled: nearly found neighbours become found ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange


@njit(parallel=True, fastmath=True, cache=True)
def refine(points: Any, indices: Any, squared: Any, parts: int) -> Any:
    """Replace each point's neighbours by the nearest among them and their neighbours.

    points float32 (rows, dimensions); indices int64 and squared float32 (rows, k), nearest first, -1 where there are
    none, are left as they are; (indices, squared) of the same shapes come back. One round of Dong et al. 2011.
    """
    rows, k = indices.shape
    found, length = indices.copy(), squared.copy()
    size = (rows + parts - 1) // parts
    for part in prange(parts):
        # Who was looked at for which point: a stamp costs less than a set.
        seen = np.full(rows, -1, np.int32)
        for i in range(part * size, min(rows, (part + 1) * size)):
            seen[i] = i
            for a in range(k):
                if indices[i, a] >= 0:
                    seen[indices[i, a]] = i
            for a in range(k):
                via = indices[i, a]
                if via < 0:
                    continue
                for b in range(k):
                    j = indices[via, b]
                    if j < 0 or seen[j] == i:
                        continue
                    seen[j] = i
                    total = np.float32(0)
                    for axis in range(points.shape[1]):
                        step = points[i, axis] - points[j, axis]
                        total += step * step
                    if total < length[i, k - 1]:
                        place = k - 1
                        while place > 0 and length[i, place - 1] > total:
                            length[i, place], found[i, place] = length[i, place - 1], found[i, place - 1]
                            place -= 1
                        length[i, place], found[i, place] = total, j
    return found, length


@njit(parallel=True, fastmath=True, cache=True)
def apart(vectors: Any, points: Any, others: Any, parts: int) -> Any:
    """Squared distances of vectors[points] (n,) to vectors[others] (n, k), float32 (n, k)."""
    found = np.empty(others.shape, np.float32)
    size = (len(points) + parts - 1) // parts
    for part in prange(parts):
        for i in range(part * size, min(len(points), (part + 1) * size)):
            for j in range(others.shape[1]):
                total = np.float32(0)
                for axis in range(vectors.shape[1]):
                    step = vectors[points[i], axis] - vectors[others[i, j], axis]
                    total += step * step
                found[i, j] = total
    return found
