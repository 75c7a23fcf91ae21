"""A part of a dataset, drawn evenly over its classes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.config import fingerprint
from atlas.datasets.source import ImageSource
from atlas.errors import DataError
from atlas.records import Entry


def take(source: ImageSource, limit: int | None, seed: int = 0) -> ImageSource:
    """At most `limit` images of a source, drawn evenly over its classes, in their old order.

    No class gets two more than another that still has images left; the unlabelled count as a class.
    Which images is decided by a hash of the seed and each id, so that it depends neither on a
    library's version nor on the other images. None, or a limit of the whole, is the source itself.
    Raises DataError for a limit below 1.
    """
    if limit is not None and limit < 1:
        raise DataError(f"a limit of {limit} images leaves none: give at least 1")
    if limit is None or limit >= len(source):
        return source
    by_class: dict[int, list[tuple[bytes, int]]] = {}
    for index, entry in enumerate(source.entries()):
        by_class.setdefault(entry.label, []).append((_lot(seed, entry.id), index))
    shares = _even_shares({label: len(members) for label, members in by_class.items()}, limit, seed)
    chosen = [index for label, members in by_class.items() for _, index in sorted(members)[: shares[label]]]
    return DrawnSource(source, np.sort(np.array(chosen, np.int64)))


def _lot(seed: int, text: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{text}".encode(), digest_size=8).digest()


def _even_shares(sizes: dict[int, int], limit: int, seed: int) -> dict[int, int]:
    """How many of each class; what cannot be divided evenly goes to classes drawn by lot."""
    shares = dict.fromkeys(sizes, 0)
    left = limit
    while left:
        open_classes = [label for label in sizes if shares[label] < sizes[label]]
        each = left // len(open_classes)
        if each == 0:
            open_classes = sorted(open_classes, key=lambda label: _lot(seed, f"class {label}"))[:left]
            each = 1
        for label in open_classes:
            given = min(each, sizes[label] - shares[label])
            shares[label] += given
            left -= given
    return shares


def whole_of(source: ImageSource) -> ImageSource:
    """The source that a part was drawn from; any other source itself."""
    return source.whole if isinstance(source, DrawnSource) else source


class DrawnSource:
    """Some images of another source, by their indices there; `whole` is that source."""

    def __init__(self, source: ImageSource, chosen: NDArray[np.int64]) -> None:
        self.name = source.name
        self.classes = source.classes
        self.fingerprint = fingerprint([source.fingerprint, hashlib.sha256(chosen.astype("<i8").tobytes()).hexdigest()])
        self.whole = source
        self._chosen = chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def entries(self) -> Sequence[Entry]:
        """Id and label of every image drawn, in the source's order."""
        return _DrawnEntries(self.whole.entries(), self._chosen)

    def read(self, index: int) -> Image.Image:
        """The picture at an index of `entries`. Raises PictureError when it cannot be read."""
        return self.whole.read(int(self._chosen[index]))

    def index_of(self, id: str) -> int:
        """The index of an id. Raises DataError when it is unknown or was not drawn."""
        original = self.whole.index_of(id)
        place = int(np.searchsorted(self._chosen, original))
        if place == len(self._chosen) or self._chosen[place] != original:
            raise DataError(f"'{id}' is in the dataset but not among the {len(self)} images drawn of it: raise 'limit'")
        return place


class _DrawnEntries(Sequence[Entry]):
    def __init__(self, entries: Sequence[Entry], chosen: NDArray[np.int64]) -> None:
        self._entries = entries
        self._chosen = chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __iter__(self) -> Iterator[Entry]:
        return (self._entries[i] for i in self._chosen.tolist())

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        if isinstance(index, slice):
            return [self._entries[i] for i in self._chosen[index].tolist()]
        return self._entries[int(self._chosen[index])]
