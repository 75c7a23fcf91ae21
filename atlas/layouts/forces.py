"""The forces of t-SNE, compiled: attraction along edges, and repulsion of everything by everything through a grid.

All points repel all others with the gradient of phi(y) = sum_j 1 / (1 + |y - y_j|^2). phi is one convolution: points
are spread onto a grid by cubic B-splines, the grid is multiplied by the kernel in Fourier space, and phi and its
gradient are read off between the grid's nodes by the same splines. That is the particle-mesh method of Essmann et al.
1995 with the kernel of Linderman et al. 2019; one transform there and one back, where interpolation by polynomials
takes four each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

SPACING = 0.7
"""Nodes of the grid lie so far apart, in units of the kernel's width: forces are then right to 7 %, and maps keep as
many neighbours as with 0.5, where they are right to 3 %."""
EXACT_POINTS = 1_500
"""Up to here all pairs are taken; few points also spread wide, and would need a large grid with little on it."""
MARGIN = 3
"""Nodes around the points that splines reach beyond them."""

Places = NDArray[np.float32]


@contextmanager
def thread_count(threads: int) -> Iterator[None]:
    """Let compiled loops use so many threads, at most numba's own limit."""
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    try:
        yield
    finally:
        numba.set_num_threads(before)


class Field:
    """phi of some points at others, by a grid that is kept while the points' extent stays."""

    def __init__(self, threads: int, spacing: float = SPACING) -> None:
        self._threads, self._spacing = threads, spacing
        self._shape, self._spectrum = (0, 0), np.empty((0, 0), np.float32)

    def at(self, sources: Places, targets: Places) -> tuple[float, NDArray[np.float32]]:
        """Sum of phi over the targets, and its gradient at each, float32 (targets, 2); targets near the sources."""
        from scipy import fft

        if len(sources) <= EXACT_POINTS:
            sums, gradient = _all_pairs(sources, targets, self._threads)
            return float(sums.sum()), gradient
        low = np.minimum(sources.min(axis=0), targets.min(axis=0))
        high = np.maximum(sources.max(axis=0), targets.max(axis=0))
        self._widen(float((high - low).max()), len(sources))
        nodes = np.ceil((high - low) / self._spacing).astype(np.int64) + 2 * MARGIN
        origin = (low - MARGIN * self._spacing).astype(np.float32)
        self._fit(nodes)
        half = tuple(n // 2 for n in self._shape)
        parts = _spread(sources, origin, np.float32(1 / self._spacing), half[0], half[1], self._threads)
        wave = fft.rfft2(parts.sum(axis=0) if len(parts) > 1 else parts[0], self._shape, workers=self._threads)
        wave *= self._spectrum
        # Only the part that the points cover is needed of the way back: half of the first transform is spared.
        rows = fft.ifft(wave, axis=0, workers=self._threads, overwrite_x=True)[: half[0]]
        phi = fft.irfft(rows, self._shape[1], axis=1, workers=self._threads, overwrite_x=True)
        sums, gradient = _gather(phi, targets, origin, np.float32(1 / self._spacing), self._threads)
        return float(sums.sum()), gradient

    def _widen(self, extent: float, points: int) -> None:
        """Let nodes lie further apart where islands have drifted far from one another: memory has its bounds."""
        while extent / self._spacing > 500 + 4 * np.sqrt(points):
            self._spacing, self._shape = 1.25 * self._spacing, (0, 0)

    def _fit(self, nodes: NDArray[np.int64]) -> None:
        """Take a grid that holds so many nodes twice over, so that no force comes around the edge."""
        from scipy import fft

        if all(2 * n <= side <= 3 * n + 64 for n, side in zip(nodes, self._shape, strict=True)):
            return
        # A tenth to grow into, since each new size costs a transform of the kernel.
        self._shape = tuple(2 * fft.next_fast_len(int(1.1 * n) + 1, real=True) for n in nodes)
        square = [(np.minimum(np.arange(side), side - np.arange(side)) * self._spacing) ** 2 for side in self._shape]
        kernel = fft.rfft2(1 / (1 + square[0][:, None] + square[1])).real
        # Splines blur both ways: twice the spectrum of a cubic spline's values at the nodes, (1, 4, 1) / 6.
        blur = [((2 + np.cos(2 * np.pi * np.arange(side) / side)) / 3) ** 2 for side in self._shape]
        self._spectrum = (kernel / (blur[0][:, None] * blur[1][: kernel.shape[1]])).astype(np.float32)


@njit(inline="always")
def _weights(t: Any) -> Any:
    """Values of the four cubic B-splines that reach a point at t in [0, 1) between two nodes."""
    u = np.float32(1) - t
    sixth = np.float32(1 / 6)
    return (
        u * u * u * sixth,
        (t * t * (np.float32(3) * t - np.float32(6)) + np.float32(4)) * sixth,
        (u * u * (np.float32(3) * u - np.float32(6)) + np.float32(4)) * sixth,
        t * t * t * sixth,
    )


@njit(inline="always")
def _slopes(t: Any) -> Any:
    """Derivatives of the same."""
    u = np.float32(1) - t
    half = np.float32(0.5)
    return (
        -u * u * half,
        t * (np.float32(3) * t - np.float32(4)) * half,
        -u * (np.float32(3) * u - np.float32(4)) * half,
        t * t * half,
    )


@njit(parallel=True, fastmath=True, cache=True)
def _all_pairs(sources: Any, targets: Any, parts: int) -> Any:
    """Sum of phi over each part of the targets, and its gradient at each target, pair by pair."""
    gradient = np.empty((len(targets), 2), np.float32)
    sums = np.zeros(parts, np.float64)
    size = (len(targets) + parts - 1) // parts
    for part in prange(parts):
        for i in range(part * size, min(len(targets), (part + 1) * size)):
            value, along, up = np.float32(0), np.float32(0), np.float32(0)
            for j in range(len(sources)):
                dx, dy = targets[i, 0] - sources[j, 0], targets[i, 1] - sources[j, 1]
                near = np.float32(1) / (np.float32(1) + dx * dx + dy * dy)
                value += near
                along -= np.float32(2) * near * near * dx
                up -= np.float32(2) * near * near * dy
            sums[part] += value
            gradient[i, 0], gradient[i, 1] = along, up
    return sums, gradient


@njit(parallel=True, fastmath=True, cache=True)
def _spread(points: Any, origin: Any, scale: Any, rows: int, columns: int, parts: int) -> Any:
    """Weight of the points at each node, one grid for each part of the points."""
    grid = np.zeros((parts, rows, columns), np.float32)
    size = (len(points) + parts - 1) // parts
    for part in prange(parts):
        for i in range(part * size, min(len(points), (part + 1) * size)):
            x, y = (points[i, 0] - origin[0]) * scale, (points[i, 1] - origin[1]) * scale
            a, b = int(x), int(y)
            wx, wy = _weights(x - np.float32(a)), _weights(y - np.float32(b))
            for j in range(4):
                for k in range(4):
                    grid[part, a - 1 + j, b - 1 + k] += wx[j] * wy[k]
    return grid


@njit(parallel=True, fastmath=True, cache=True)
def _gather(grid: Any, points: Any, origin: Any, scale: Any, parts: int) -> Any:
    """Sum of the grid's function over each part of the points, and its gradient at each point."""
    gradient = np.empty((len(points), 2), np.float32)
    sums = np.zeros(parts, np.float64)
    size = (len(points) + parts - 1) // parts
    for part in prange(parts):
        total = np.float64(0)
        for i in range(part * size, min(len(points), (part + 1) * size)):
            x, y = (points[i, 0] - origin[0]) * scale, (points[i, 1] - origin[1]) * scale
            a, b = int(x), int(y)
            wx, wy = _weights(x - np.float32(a)), _weights(y - np.float32(b))
            sx, sy = _slopes(x - np.float32(a)), _slopes(y - np.float32(b))
            value, along, up = np.float32(0), np.float32(0), np.float32(0)
            for j in range(4):
                line, tilt = np.float32(0), np.float32(0)
                for k in range(4):
                    node = grid[a - 1 + j, b - 1 + k]
                    line += wy[k] * node
                    tilt += sy[k] * node
                value += wx[j] * line
                along += sx[j] * line
                up += wx[j] * tilt
            total += value
            gradient[i, 0], gradient[i, 1] = along * scale, up * scale
        sums[part] = total
    return sums, gradient


@njit(parallel=True, fastmath=True, cache=True)
def step(
    places: Any, ends: Any, start: Any, index: Any, weight: Any, repulsion: Any, update: Any, gains: Any,
    attraction: Any, balance: Any, momentum: Any, rate: Any, longest: Any, parts: int,
) -> Any:  # fmt: skip
    """Move every point by one step of descent with momentum and gains (Jacobs 1988), and return the new places.

    Point i is drawn along its edges start[i] to start[i + 1] to ends[index] with weight times attraction, and pushed
    by its repulsion (points, 2) times balance. update and gains (points, 2) are what the steps remember.
    """
    moved = np.empty_like(places)
    size = (len(places) + parts - 1) // parts
    for part in prange(parts):
        for i in range(part * size, min(len(places), (part + 1) * size)):
            x, y = places[i, 0], places[i, 1]
            pull_x, pull_y = np.float32(0), np.float32(0)
            for edge in range(start[i], start[i + 1]):
                dx, dy = x - ends[index[edge], 0], y - ends[index[edge], 1]
                strength = weight[edge] / (np.float32(1) + dx * dx + dy * dy)
                pull_x += strength * dx
                pull_y += strength * dy
            for axis in range(2):
                slope = attraction * (pull_x if axis == 0 else pull_y) + balance * repulsion[i, axis]
                known = np.float32(update[i, axis])
                gain = gains[i, axis] * np.float32(0.8) if known * slope > 0 else gains[i, axis] + np.float32(0.2)
                gain = max(gain, np.float32(0.01))
                gains[i, axis] = gain
                known = momentum * known - rate * gain * slope
                known = min(max(known, -longest), longest)
                update[i, axis] = known
                moved[i, axis] = places[i, axis] + known
    return moved
