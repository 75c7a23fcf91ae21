"""The forces of UMAP, compiled: attraction along sampled edges, and repulsion by points drawn at random.

umap-learn moves both ends of an edge in place, from several threads at once: what comes out depends on who was first.
Here a point is moved by one thread alone, against where all others stood before the epoch, and draws its random
numbers from its own index and the epoch: the places are the same whatever the number of threads. Powers are read off a
table, for they were most of the time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

NEGATIVES = 5
"""Points that push for each edge that pulls, as in McInnes et al. 2018."""
FURTHEST = 4.0
"""No force moves a point further along an axis, at a rate of 1: umap-learn's bound."""
LOWEST_POWER, POWERS, STEPS = -24, 48, 16
"""The table begins at a squared distance of 2^-24 and goes over 48 octaves, in 16 steps each: forces are right to
0.2 %, and all of it stays in the nearest cache."""


def tabulate_forces(a: float, b: float) -> NDArray[np.float32]:
    """Both forces over the distance as a table of the squared distance, float32 (POWERS * STEPS + 1, 2).

    Of 1 / (1 + a d^2b): column 0 pulls, 2ab d^(2b - 2) / (1 + a d^2b); column 1 pushes,
    2b / ((0.001 + d^2) (1 + a d^2b)). McInnes et al. 2018, and umap-learn for the 0.001.
    """
    octave, step = np.divmod(np.arange(POWERS * STEPS + 1), STEPS)
    squared = 2.0 ** (LOWEST_POWER + octave) * (1 + step / STEPS)
    falls = 1 + a * squared**b
    pull = 2 * a * b * squared ** (b - 1) / falls
    push = 2 * b / ((0.001 + squared) * falls)
    return np.stack([pull, push], axis=1).astype(np.float32)


@njit(inline="always")
def _force(table: Any, squared: Any, kind: int) -> Any:
    """A force by the table, linear between its entries; the exponent and first bits of a float are the index."""
    lowest = np.float32(2.0**LOWEST_POWER)
    bits = np.float32(max(squared, lowest)).view(np.int32) - np.int32((127 + LOWEST_POWER) << 23)
    place: Any = min(bits >> 19, POWERS * STEPS - 1)
    part = np.float32(bits & 0x7FFFF) * np.float32(1 / 0x80000)
    return table[place, kind] + part * (table[place + 1, kind] - table[place, kind])


@njit(inline="always")
def _bounded(value: Any) -> Any:
    return min(max(value, np.float32(-FURTHEST)), np.float32(FURTHEST))


@njit(parallel=True, fastmath=True, cache=True)
def descend(
    places: Any, first: int, start: Any, index: Any, often: Any, table: Any, pulls: Any, rate: Any, epoch: int,
    seed: int, parts: int,
) -> Any:  # fmt: skip
    """Move the points from `first` on by one epoch, and return their new places, float32 (points - first, 2).

    Point first + i has the edges start[i] to start[i + 1], to places[index], of which one that is taken `often` = 0.25
    counts every fourth epoch. Each that counts pulls `pulls` times, and NEGATIVES other points push.
    """
    count = len(places)
    moved = np.empty((count - first, 2), np.float32)
    size = (len(moved) + parts - 1) // parts
    for part in prange(parts):
        for i in range(part * size, min(len(moved), (part + 1) * size)):
            x, y = places[first + i, 0], places[first + i, 1]
            # Steele et al. 2014: what is next to one another comes far apart.
            mixed = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= (np.uint64(epoch + 1) << np.uint64(40)) ^ np.uint64(i + 1)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed = (mixed ^ (mixed >> np.uint64(31))) | np.uint64(1)
            for edge in range(start[i], start[i + 1]):
                if int(often[edge] * np.float32(epoch + 1)) == int(often[edge] * np.float32(epoch)):
                    continue
                dx, dy = x - places[index[edge], 0], y - places[index[edge], 1]
                force = -pulls * _force(table, dx * dx + dy * dy, 0)
                along, up = _bounded(force * dx), _bounded(force * dy)
                # All from where the point stood: each would wait for the one before it otherwise.
                for _ in range(NEGATIVES):
                    # Marsaglia 2003; the upper half is good enough to draw a point by.
                    mixed ^= mixed << np.uint64(13)
                    mixed ^= mixed >> np.uint64(7)
                    mixed ^= mixed << np.uint64(17)
                    j = np.int64(((mixed >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32))
                    dx, dy = x - places[j, 0], y - places[j, 1]
                    force = _force(table, dx * dx + dy * dy, 1)
                    along += _bounded(force * dx)
                    up += _bounded(force * dy)
                x += rate * along
                y += rate * up
            moved[i, 0], moved[i, 1] = x, y
    return moved
