"""Rows of activations read in blocks, whether they lie in memory or in a store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 32 * 2**20
"""Bytes of one block in float64: two or three stay in memory at once, and a read is long enough to be quick."""
RESIDENT_BYTES = 2**30
"""Rows that take no more than this, as they are stored, are read once and kept; larger ones are read at each pass."""


class Rows(Protocol):
    """A matrix (rows, channels) that can be read in slices: a numpy array, an HDF5 dataset."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, channels)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored numbers."""
        ...

    def __getitem__(self, key: Any, /) -> Any:
        """Rows of a slice, (n, channels)."""
        ...


class Selected:
    """Some rows of a matrix, in a given order, as a matrix of their own."""

    def __init__(self, rows: Rows, select: NDArray[np.int64]) -> None:
        self._rows, self._select = rows, select
        self.shape = (len(select), *rows.shape[1:])
        self.dtype = rows.dtype

    def __getitem__(self, key: Any) -> Any:
        return self._rows[self._select[key]]


def blocks(rows: Rows) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield consecutive (slice, float32 (n, channels)) of all rows, each at most BLOCK_BYTES in float64."""
    total, channels = rows.shape
    size = max(1, BLOCK_BYTES // (8 * max(1, channels)))
    for first in range(0, total, size):
        part = slice(first, min(total, first + size))
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is left out as such
            yield part, np.asarray(rows[part], np.float32)


def resident(rows: Rows, most: int | None = None) -> Rows:
    """Read the rows into memory once where they take at most `most` bytes (RESIDENT_BYTES); else leave them be."""
    size = rows.shape[0] * rows.shape[1] * rows.dtype.itemsize
    return np.asarray(rows[0 : rows.shape[0]]) if size <= (RESIDENT_BYTES if most is None else most) else rows
