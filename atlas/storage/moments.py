"""Running mean and variance per channel, in float64, exact under merging of blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1024
"""Rows converted to float64 at a time: bounds the memory, and fixes the order of the sums."""


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of rows. mean and squares: float64 (channels,).

    Blocks are merged as in Chan, Golub and LeVeque 1979; a fixed order of merging gives fixed bits.
    """

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    @property
    def variance(self) -> NDArray[np.float64]:
        """Population variance per channel, float64 (channels,); zeros when there are no rows."""
        return self.squares / max(self.count, 1)

    @classmethod
    def empty(cls, channels: int) -> Moments:
        """Moments of no rows."""
        return cls(0, np.zeros(channels), np.zeros(channels))

    @classmethod
    def of(cls, rows: NDArray[Any]) -> Moments:
        """Moments of rows (n, channels), of any floating type."""
        total = cls.empty(rows.shape[1])
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK].astype(np.float64)
            mean = block.mean(axis=0)
            block -= mean
            total = total.merge(cls(len(block), mean, np.einsum("nc,nc->c", block, block)))
        return total

    def merge(self, later: Moments) -> Moments:
        """Moments of these rows followed by later ones."""
        count = self.count + later.count
        if count == 0:
            return self
        apart = later.mean - self.mean
        mean = self.mean + apart * (later.count / count)
        squares = self.squares + later.squares + apart**2 * (self.count * later.count / count)
        return Moments(count, mean, squares)
