"""Rows of activations read in blocks, whether they lie in memory or in a store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 32 * 2**20
"""Bytes of one block in float64: two or three stay in memory at once, and a read is long enough to be quick."""


class Rows(Protocol):
    """A matrix (rows, channels) that can be read in slices: a numpy array, an HDF5 dataset."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, channels)."""
        ...

    def __getitem__(self, key: Any, /) -> Any:
        """Rows of a slice, (n, channels)."""
        ...


def blocks(rows: Rows) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield consecutive (slice, float32 (n, channels)) of all rows, each at most BLOCK_BYTES in float64."""
    total, channels = rows.shape
    size = max(1, BLOCK_BYTES // (8 * max(1, channels)))
    for first in range(0, total, size):
        part = slice(first, min(total, first + size))
        yield part, np.asarray(rows[part], np.float32)
