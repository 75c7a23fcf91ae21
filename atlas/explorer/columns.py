"""Columns of a user's own CSV, joined to an atlas's images by their ids: further colours of the map."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from atlas.errors import AtlasError
from atlas.explorer.encode import number

STEPS = 10  # of a number's scale
CATEGORIES = 20  # of a text's, the commonest; what is beyond them is one more
UNKNOWN = 255
EDGES = (2, 98)  # percentiles between which the scale runs: one odd value would else leave all others one colour


@dataclass(frozen=True)
class Column:
    """A column as it is drawn.

    codes: uint8 (images,), a step of the scale from 0 to 9 or an index into `categories`, UNKNOWN without a value.
    categories: texts, the commonest first, empty for numbers. low, high: the scale's ends, of numbers alone; the first
    and the last step hold what lies beyond as well. values: float64 (images,), NaN without one; None for texts.
    heading: what a legend is headed with, the name unless given; words: what the numbers mean, which are then shares.
    """

    name: str
    codes: NDArray[np.uint8]
    categories: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    values: NDArray[np.float64] | None = None
    heading: str = ""
    words: str = ""

    def summary(self) -> dict[str, Any]:
        """What a page must know of it before it asks for the codes."""
        scale = None if self.categories else [number(self.low), number(self.high)]
        known = int((self.codes != UNKNOWN).sum())
        told: dict[str, Any] = {"name": self.name, "categories": list(self.categories), "scale": scale, "known": known}
        if self.words:
            told |= {"heading": self.heading, "words": self.words}
        if self.values is not None:
            told["range"] = [float(np.nanmin(self.values)), float(np.nanmax(self.values))]
        return told


@dataclass(frozen=True)
class Joined:
    """Columns of one atlas; `words` says in one sentence how many ids had no counterpart."""

    columns: tuple[Column, ...] = ()
    words: str = ""


class ColumnTable:
    """A CSV with a column `id` and others, read once."""

    def __init__(self, path: str | Path) -> None:
        """Read it. Raises AtlasError for a file that is not there, is no CSV, has no column `id`, or an id twice."""
        self.path = Path(path)
        try:
            content = self.path.read_bytes()
            options = pa.csv.ConvertOptions(column_types={"id": pa.string()}, strings_can_be_null=True)
            table = pa.csv.read_csv(pa.BufferReader(content), convert_options=options)
            if table.column_names.count("id") == 1:  # read anew: an image may be called NA
                names = pa.csv.ConvertOptions(include_columns=["id"], column_types={"id": pa.string()})
                ids = pa.csv.read_csv(pa.BufferReader(content), convert_options=names)["id"]
        except OSError as error:
            raise AtlasError(f"{path} cannot be read ({error.strerror}): name a CSV with a column 'id'") from None
        except pa.ArrowInvalid as error:
            raise AtlasError(f"{path} is no CSV ({str(error).splitlines()[0]}): write one with a column 'id'") from None
        if table.column_names.count("id") != 1 or len(table.column_names) < 2:
            raise AtlasError(f"{path} needs one column 'id' and at least one other: it has {table.column_names}")
        self.digest = hashlib.sha256(content).hexdigest()
        self._ids = ids.combine_chunks()
        counts = self._ids.value_counts().field("counts")
        if len(counts) < len(self._ids):
            twice = self._ids.value_counts().field("values")[pc.index(counts, pc.max(counts)).as_py()]
            raise AtlasError(f"{path} has the id '{twice}' more than once: keep one row for each")
        self._columns = {name: table[name].combine_chunks() for name in table.column_names if name != "id"}

    def join(self, ids: Sequence[str]) -> Joined:
        """Its columns for images of these ids, those without any value left out.

        Raises AtlasError when no id is in the table, or no column has a value.
        """
        row_of = pc.index_in(pa.array(list(ids), pa.string()), value_set=self._ids)
        with_row = len(row_of) - row_of.null_count
        if with_row == 0:
            raise AtlasError(f"{self.path} has none of the atlas's {len(ids):,} ids, such as '{ids[0]}': check its ids")
        found = (_column(name, values.take(row_of)) for name, values in self._columns.items())
        columns = tuple(column for column in found if (column.codes != UNKNOWN).any())
        if not columns:
            raise AtlasError(f"{self.path} has no value for any of the atlas's images: check its columns")
        return Joined(columns, self._words(len(ids) - with_row, len(ids), len(self._ids) - with_row))

    def _words(self, without_row: int, images: int, without_image: int) -> str:
        if without_row == without_image == 0:
            return ""
        return (
            f"{self.path.name}: {without_row:,} of {images:,} images have no row in it, "
            f"{without_image:,} of its {len(self._ids):,} rows no image"
        )


def _column(name: str, values: pa.Array) -> Column:
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return _numbers(name, np.where(np.isfinite(numbers), numbers, np.nan))
    return _texts(name, values.cast(pa.string()).to_pylist())


def _numbers(name: str, values: NDArray[np.float64]) -> Column:
    known = np.isfinite(values)
    if not known.any():
        return Column(name, np.full(len(values), UNKNOWN, np.uint8))
    low, high = (float(edge) for edge in np.percentile(values[known], EDGES))
    if low == high:
        low, high = float(values[known].min()), float(values[known].max())
    share = (values[known] - low) / (high - low) if high > low else np.zeros(known.sum())
    codes = np.full(len(values), UNKNOWN, np.uint8)
    codes[known] = np.clip(np.floor(share * STEPS), 0, STEPS - 1).astype(np.uint8)
    return Column(name, codes, (), low, high, values)


def _texts(name: str, values: list[str | None]) -> Column:
    names, of, counts = np.unique([v for v in values if v is not None], return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    codes = np.full(len(values), UNKNOWN, np.uint8)
    codes[[v is not None for v in values]] = np.minimum(rank[of], CATEGORIES).astype(np.uint8)
    told = [str(names[i]) for i in order[:CATEGORIES]]
    beyond = len(names) - CATEGORIES
    return Column(name, codes, tuple([*told, f"{beyond:,} other values"] if beyond > 0 else told))
