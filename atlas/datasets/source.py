"""What every image source is, and the compact list of ids and labels that it keeps in memory."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from atlas.errors import DataError, nearest
from atlas.records import Entry


class ImageSource(Protocol):
    """A dataset: it lists its images at once, and reads each only when asked.

    `read` may be called from several threads at once. It returns an RGB picture, turned upright,
    the first frame of an animation, and raises PictureError, whose message is the reason alone.
    """

    @property
    def name(self) -> str:
        """The manifest's name."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels' vocabulary, empty when there are no labels."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of what the dataset is, the same on every machine."""
        ...

    def __len__(self) -> int: ...

    def entries(self) -> Sequence[Entry]:
        """Id and label of every image, always in the same order."""
        ...

    def read(self, index: int) -> Image.Image:
        """The picture at an index of `entries`."""
        ...

    def index_of(self, id: str) -> int:
        """The index of an id. Raises DataError with the nearest id."""
        ...


class Listing(Sequence[Entry]):
    """Ids and labels of a dataset, as one text and two arrays: the ids' bytes and 12 more per image.

    As Entry objects in a list they would take some 250 bytes per image, and a dictionary to find
    them by id as much again; here an id is found by bisection. Raises DataError when two ids are
    equal.
    """

    def __init__(self, ids: Sequence[str], labels: ArrayLike | None = None) -> None:
        encoded = [id.encode() for id in ids]
        self._text = b"".join(encoded)
        self._ends = np.cumsum([len(e) for e in encoded], dtype=np.int64)
        self.labels: NDArray[np.int32] = (
            np.full(len(ids), -1, np.int32) if labels is None else np.asarray(labels, np.int32)
        )
        order = None if _ascending(ids) else sorted(range(len(ids)), key=ids.__getitem__)
        if order is not None:
            for before, after in itertools.pairwise(order):
                if ids[before] == ids[after]:
                    raise DataError(f"two images have the id '{ids[before]}': rename one of them")
        self._order = None if order is None else np.asarray(order, np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def id(self, index: int) -> str:
        """The id at an index from 0 to len - 1."""
        start = int(self._ends[index - 1]) if index else 0
        return self._text[start : int(self._ends[index])].decode()

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        return Entry(self.id(position), int(self.labels[position]))

    def __iter__(self) -> Iterator[Entry]:
        start = 0
        for end, label in zip(self._ends.tolist(), self.labels.tolist(), strict=True):
            yield Entry(self._text[start:end].decode(), label)
            start = end

    def index_of(self, id: str) -> int:
        """The index of an id. Raises DataError with the nearest id."""
        place = bisect.bisect_left(range(len(self)), id, key=self._sorted_id)
        if place < len(self) and self._sorted_id(place) == id:
            return self._sorted_index(place)
        # Comparing with all of a million ids would take seconds: the neighbours in order will do.
        around = range(max(0, place - 50), min(len(self), place + 50))
        raise DataError(f"no image has the id '{id}'{nearest(id, (self._sorted_id(i) for i in around))}")

    def relabelled(self, labels: ArrayLike | None) -> Listing:
        """The same ids with other labels."""
        other = object.__new__(Listing)
        other._text, other._ends, other._order = self._text, self._ends, self._order
        other.labels = np.full(len(self), -1, np.int32) if labels is None else np.asarray(labels, np.int32)
        return other

    def digest(self, classes: Sequence[str], *settings: Any, stamps: ArrayLike | None = None) -> str:
        """Fingerprint: 32 hex digits over ids, labels, classes, settings (JSON values) and stamps.

        stamps (images,) are integers that change with a picture's content, such as its size.
        """
        sha = hashlib.sha256(json.dumps([list(classes), *settings], sort_keys=True).encode())
        for part in (self._ends.astype("<i8"), self.labels.astype("<i4"), np.asarray([] if stamps is None else stamps)):
            sha.update(part.astype("<i8").tobytes())
        sha.update(self._text)
        return sha.hexdigest()[:32]

    def _sorted_index(self, place: int) -> int:
        return place if self._order is None else int(self._order[place])

    def _sorted_id(self, place: int) -> str:
        return self.id(self._sorted_index(place))


def _ascending(ids: Sequence[str]) -> bool:
    return all(before < after for before, after in itertools.pairwise(ids))


class ListedSource(ABC):
    """A source over a Listing; children say how one picture is read."""

    def __init__(self, name: str, classes: tuple[str, ...], listing: Listing, fingerprint: str) -> None:
        self.name = name
        self.classes = classes
        self.fingerprint = fingerprint
        self._listing = listing

    def __len__(self) -> int:
        return len(self._listing)

    def entries(self) -> Listing:
        """Id and label of every image, always in the same order."""
        return self._listing

    def index_of(self, id: str) -> int:
        """The index of an id. Raises DataError with the nearest id."""
        return self._listing.index_of(id)

    @abstractmethod
    def read(self, index: int) -> Image.Image:
        """The picture at an index of `entries`. Raises PictureError when it cannot be read."""


class RelabelledSource(ListedSource):
    """Another source's pictures under labels that its own reader does not know."""

    def __init__(self, source: ImageSource, classes: tuple[str, ...], labels: ArrayLike | None) -> None:
        entries = source.entries()
        listing = (
            entries.relabelled(labels) if isinstance(entries, Listing) else Listing([e.id for e in entries], labels)
        )
        super().__init__(source.name, classes, listing, listing.digest(classes, source.fingerprint))
        self._source = source

    def read(self, index: int) -> Image.Image:
        """The picture at an index of `entries`. Raises PictureError when it cannot be read."""
        return self._source.read(index)
