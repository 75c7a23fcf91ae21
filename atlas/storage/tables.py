"""Arrays and columns on disk without pickles: `.npz` and Parquet, the same bytes for the same values."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from atlas.errors import StoreError
from atlas.storage.files import written_beside

_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as `.npz`, readable by numpy.load; no time stamp, so equal arrays give equal files."""
    with written_beside(path) as beside, zipfile.ZipFile(beside, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            # Indices shrink to a fifth at level 1; floats hardly at all, so they are stored as they are.
            compressed = array.dtype.kind in "iub"
            entry.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
            entry._compresslevel = 1  # type: ignore[attr-defined]  # ZipInfo has no public way to set it
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Read some arrays of an `.npz`. Raises StoreError when the file or an array is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except FileNotFoundError:
        raise StoreError(f"{path} is missing: 'atlas verify' lists all damage") from None
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise StoreError(f"{path} is damaged ({error}): 'atlas verify' lists all damage") from None


def write_table(path: Path, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> None:
    """Write columns of equal length as one Parquet file."""
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    with written_beside(path) as beside:
        pq.write_table(table, beside, compression="zstd")


def read_column(path: Path, name: str, rows: int) -> pa.Array:
    """Read one column of a Parquet file that must have so many rows, as one pyarrow array; or raise StoreError."""
    try:
        column = pq.read_table(path, columns=[name], partitioning=None).column(name)
    except FileNotFoundError:
        raise StoreError(f"{path} is missing: 'atlas verify' lists all damage") from None
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"{path} is damaged ({reason}): 'atlas verify' lists all damage") from None
    if len(column) != rows:
        raise StoreError(f"{path} is damaged: it has {len(column)} rows where {rows} are expected")
    return column.combine_chunks()


def read_numbers(path: Path, name: str, rows: int) -> NDArray[Any]:
    """Read one numeric column as numpy."""
    return read_column(path, name, rows).to_numpy(zero_copy_only=False)
