"""Small pictures as JPEG data URIs, each cut out of its stored sheet and encoded once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from atlas.explorer.encode import picture_uri

SPOOL_BYTES = 64 * 2**20


class Shelf:
    """Pictures by index, as data URIs.

    To decode a sheet takes as long as to encode sixty of its pictures: so what was encoded is kept, in memory first and
    then in an unnamed temporary file.
    """

    def __init__(self, read: Callable[[int], NDArray[np.uint8]], count: int) -> None:
        self._read, self.count = read, count
        self._at: dict[int, tuple[int, int]] = {}
        self._file = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115  # closed with the shelf

    def uris(self, indices: Iterable[int]) -> list[str]:
        """Data URIs of the pictures, in the order asked for."""
        wanted = list(indices)
        for index in sorted(set(wanted) - self._at.keys()):  # ascending: each sheet is decoded once
            self._keep(index)
        return [self._text(index) for index in wanted]

    def fill(self) -> None:
        """Encode all pictures, sheet by sheet, before all of them are asked for in another order."""
        for index in range(self.count):
            if index not in self._at:
                self._keep(index)

    def _keep(self, index: int) -> None:
        text = picture_uri(self._read(index)).encode("ascii")
        self._at[index] = self._file.seek(0, 2), len(text)
        self._file.write(text)

    def _text(self, index: int) -> str:
        offset, length = self._at[index]
        self._file.seek(offset)
        return self._file.read(length).decode("ascii")
