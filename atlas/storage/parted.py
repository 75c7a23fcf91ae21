"""Rows that lie in many parts, read as one array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from atlas.errors import StoreError


class PartedRows:
    """One dataset over all parts of a store: sliced like an array of shape (rows, ...), read on demand.

    Takes slices (any positive step), integers and integer arrays in any order. The parts are opened
    one after the other, not through the index's virtual datasets: HDF5 keeps every source of those
    open, and where the limit on open files is reached (1,024 as a rule) the rest reads as zeros
    without an error.
    """

    def __init__(self, paths: Sequence[Path], dataset: str, starts: NDArray[np.int64], like: Any) -> None:
        """`starts` (parts + 1,) is the first row of each part, then all rows; `like` has the shape and dtype."""
        self._paths, self._dataset, self._starts = paths, dataset, starts
        self.dtype: np.dtype[Any] = np.dtype(like.dtype)
        self.shape: tuple[int, ...] = (int(starts[-1]), *like.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("rows on the disk cannot be had without a copy")
        return self[:].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Rows of a slice, an integer or an integer array. Raises IndexError, or StoreError for a damaged part."""
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step < 1:
                raise IndexError(f"the step of a slice of stored rows is {step}: use one above 0")
            return self._slice(start, max(start, stop))[::step]
        if isinstance(key, int | np.integer):
            row = int(key) + (len(self) if key < 0 else 0)
            self._check(row, row)
            return self._slice(row, row + 1)[0]
        rows = np.asarray(key)
        if rows.dtype == np.bool_ or (rows.size and not np.issubdtype(rows.dtype, np.integer)):
            raise IndexError("stored rows are chosen by a slice, an integer or an array of integers")
        return self._take(rows.astype(np.int64))

    def _check(self, lowest: int, highest: int) -> None:
        if lowest < 0 or highest >= len(self):
            raise IndexError(f"row {lowest if lowest < 0 else highest} is not among the {len(self)} stored rows")

    def _read(self, part: int, pieces: Sequence[tuple[int, int]]) -> list[NDArray[Any]]:
        """Read half-open ranges of one part's rows."""
        path = self._paths[part]
        try:
            with h5py.File(path, "r") as file:
                dataset = file[self._dataset]
                return [dataset[start:stop] for start, stop in pieces]
        except (OSError, KeyError) as error:
            raise StoreError(f"{path} cannot be read ({error}): restore it, or run the same extraction again") from None

    def _slice(self, start: int, stop: int) -> NDArray[Any]:
        found = np.empty((stop - start, *self.shape[1:]), self.dtype)
        part = int(np.searchsorted(self._starts, start, side="right")) - 1
        while start < stop:
            first, end = int(self._starts[part]), min(stop, int(self._starts[part + 1]))
            if end > start:
                found[len(found) - (stop - start) :][: end - start] = self._read(part, [(start - first, end - first)])[
                    0
                ]
                start = end
            part += 1
        return found

    def _take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        found = np.empty((*rows.shape, *self.shape[1:]), self.dtype)
        if not rows.size:
            return found
        wanted, back = np.unique(rows, return_inverse=True)
        self._check(int(wanted[0]), int(wanted[-1]))
        once = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        edges = np.searchsorted(wanted, self._starts)
        for part in np.flatnonzero(np.diff(edges)):
            chosen = slice(edges[part], edges[part + 1])
            local = wanted[chosen] - self._starts[part]
            # One read a run of rows that lie close together: HDF5's own picking of single rows is far slower.
            breaks = np.flatnonzero(np.diff(local) > 64) + 1
            runs = np.split(local, breaks)
            read = self._read(int(part), [(int(run[0]), int(run[-1]) + 1) for run in runs])
            once[chosen] = np.concatenate([block[run - run[0]] for run, block in zip(runs, read, strict=True)])
        found[...] = once[back.reshape(rows.shape)]
        return found
