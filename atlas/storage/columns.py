"""The columns of an atlas's tables, each read on first use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from atlas.errors import StoreError, nearest
from atlas.storage.tables import read_column, read_numbers


class Ids(Sequence[str]):
    """The images' stable ids: a list of str that stays packed (a million ids are read in milliseconds)."""

    def __init__(self, array: pa.Array) -> None:
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._array[index].to_pylist() if isinstance(index, slice) else self._array[index].as_py()

    def __iter__(self) -> Iterator[str]:
        return iter(self._array.to_pylist())

    def containing(self, words: str) -> NDArray[np.int64]:
        """Indices of the ids that hold some words anywhere, whatever the case; all for no words."""
        found = pyarrow.compute.match_substring(self._array, words, ignore_case=True)
        return np.flatnonzero(found.to_numpy(zero_copy_only=False))

    def index_of(self, image_id: str) -> int:
        """Index of an id. Raises StoreError with the nearest id."""
        found = pyarrow.compute.index(self._array, image_id).as_py()
        if found < 0:
            raise StoreError(f"no image '{image_id}' in the atlas{nearest(image_id, self[:10000])}")
        return int(found)


class ImageColumns:
    """The atlas's images, one array per property, read on first use: ids (list-like of str), label and
    prediction int32 (-1: none), confidence float32 (NaN: none), width and height int32."""

    def __init__(self, path: Path, count: int) -> None:
        self._path, self._count = path, count

    def __len__(self) -> int:
        return self._count

    @cached_property
    def ids(self) -> Ids:
        """Stable ids, in the order of the dataset."""
        return Ids(read_column(self._path, "id", self._count))

    @cached_property
    def label(self) -> NDArray[np.int32]:
        """Index into the atlas's classes, -1 without label."""
        return self._read("label")

    @cached_property
    def prediction(self) -> NDArray[np.int32]:
        """Index into the atlas's outputs, -1 without prediction."""
        return self._read("prediction")

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """Softmax of the predicted output, NaN without prediction."""
        return self._read("confidence")

    @cached_property
    def width(self) -> NDArray[np.int32]:
        """Width of the original picture in pixels, after EXIF rotation."""
        return self._read("width")

    @cached_property
    def height(self) -> NDArray[np.int32]:
        """Height of the original picture in pixels, after EXIF rotation."""
        return self._read("height")

    def _read(self, name: str) -> NDArray[Any]:
        return read_numbers(self._path, name, self._count)


class SampleColumns:
    """A layer's samples, one array per property, read on first use."""

    def __init__(self, path: Path, count: int) -> None:
        self._path, self._count = path, count

    def __len__(self) -> int:
        return self._count

    @cached_property
    def image(self) -> NDArray[np.int32]:
        """Index of each sample's image, (samples,)."""
        return self._read("image")

    @cached_property
    def positions(self) -> NDArray[np.float32]:
        """Place on the map, (samples, 2), x to the right, y up; NaN for rows left out."""
        return self._stack("x", "y")

    @cached_property
    def state(self) -> NDArray[np.uint8]:
        """Index into records.STATES, (samples,)."""
        return self._read("state")

    @cached_property
    def uv(self) -> NDArray[np.float32]:
        """Relative position in the picture, (samples, 2), u to the right, v down."""
        return self._stack("u", "v")

    @cached_property
    def box(self) -> NDArray[np.float32]:
        """What the sample sees, (samples, 4): left, top, right, bottom as shares of the picture."""
        return self._stack("left", "top", "right", "bottom")

    def _read(self, name: str) -> NDArray[Any]:
        return read_numbers(self._path, name, self._count)

    def _stack(self, *names: str) -> NDArray[np.float32]:
        return np.stack([self._read(name) for name in names], axis=1)
