"""Activations made elsewhere, from `.npz`, `.npy` beside a CSV, or Parquet, made into a store."""

from __future__ import annotations

import csv
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import ArrayLike, NDArray

from atlas.config import fingerprint
from atlas.errors import ConfigError, DataError, StoreError, nearest
from atlas.records import LayerShape, Progress, silent
from atlas.storage.files import hash_file
from atlas.storage.parts import TOP, ImageTable, LayerRows, LayerSpec, Part, Skipped
from atlas.storage.store import ActivationStore, open_store
from atlas.storage.store_index import StoreHeader
from atlas.storage.store_writer import StoreWriter, fingerprint_of
from atlas.storage.tally import Tally

_PLACE = ("u", "v")
_BOX = ("left", "top", "right", "bottom")
_SPELLINGS = {"activation": "activations", "ids": "id", "image": "id", "labels": "label"}
_KNOWN = ("activations", "id", "label", "uv", "box", "classes")


@dataclass(frozen=True)
class _Rows:
    """What was read: activations (rows, channels), and for each row its image, label, place and box."""

    activations: NDArray[Any]
    image: NDArray[np.int64]  # ascending, into ids
    ids: list[str]
    label: NDArray[np.int32]  # per image
    classes: tuple[str, ...]
    uv: NDArray[np.float32]
    box: NDArray[np.float32]

    @property
    def single(self) -> bool:
        """Whether every image has one row."""
        return len(self.ids) == len(self.image)


def import_arrays(
    arrays: str | Path | ArrayLike | Mapping[str, ArrayLike],
    out: str | Path,
    *,
    layer: str = "imported",
    part: int = 1024,
    max_unreadable: float = 0.05,
    force: bool = False,
    progress: Progress = silent,
) -> ActivationStore:
    """Make a store with one layer from activations (rows, channels), and return it.

    arrays: a file, an array, or a mapping with the keys of an `.npz`: `activations`, and for each row
    where they are known `id` (of its image; rows of one id are samples of one image), `label` (a name,
    or a number that `classes` names), `uv` (rows, 2) and `box` (rows, 4). A `.npy` takes these from
    columns id, label, u, v, left, top, right, bottom of the CSV of the same name, a Parquet file from
    its own columns. Rows are ordered by image, images by their first row. An image with a value that is
    not finite as float16 is left out and listed; more than the share `max_unreadable` of them stops the
    import. The formats stand in docs/formats.md. Raises DataError, StoreError or
    ConfigError, each in one sentence.
    """
    if part < 1:
        raise ConfigError(f"part is {part}: give at least 1")
    columns, source, name = _read(arrays)
    rows = _checked(columns, name)
    spec = LayerSpec(
        layer,
        LayerShape("vector", rows.activations.shape[1]),
        pools=("mean",) if rows.single else (),
        positions=1 if rows.single else None,
    )
    made_from = {"import": source, "layer": layer, "part": part, "classes": list(rows.classes)}
    provenance = {"import": {"file": name, "sha256": source}}
    header = StoreHeader(name, fingerprint(made_from), (spec,), classes=rows.classes, provenance=provenance)
    if not force and fingerprint_of(Path(out)) == header.fingerprint:
        try:
            return open_store(out)
        except StoreError:
            pass  # unfinished or damaged: goes on below
    writer = StoreWriter(Path(out), header, len(rows.ids), part, force)
    tally = Tally(len(rows.ids), max_unreadable)
    for number in range(writer.parts):
        covered = writer.range_of(number)
        made = _part(rows, covered)
        tally.check(len(covered), made.skipped)
        tally.add(len(covered), made.skipped)
        if number in writer.missing:
            writer.write(number, made)
        progress("import", covered.stop, len(rows.ids))
    tally.check_finished()
    writer.finish(writer.join())
    return open_store(out)


def _read(arrays: str | Path | ArrayLike | Mapping[str, ArrayLike]) -> tuple[dict[str, Any], str, str]:
    """Read columns by their names; also a hash of what they came from, and what to call it."""
    if isinstance(arrays, str | Path):
        path = Path(arrays)
        readers = {".npz": _read_npz, ".npy": _read_npy, ".parquet": _read_parquet}
        if path.suffix not in readers:
            raise DataError(f"{path} is not .npz, .npy or .parquet: convert it to one of these")
        if not path.is_file():
            raise DataError(f"{path} does not exist or is not a file: check the path")
        try:
            columns = readers[path.suffix](path)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, csv.Error, pa.ArrowException) as error:
            raise DataError(f"{path} cannot be read ({_first_line(error)}): write it again, without pickles") from None
        beside = path.with_suffix(".csv")
        also = hash_file(beside) if path.suffix == ".npy" and beside.is_file() else ""
        return columns, hash_file(path) + also, path.name
    given = dict(arrays) if isinstance(arrays, Mapping) else {"activations": arrays}
    columns = _named({key: np.asarray(value) for key, value in given.items()}, "the mapping")
    sha = hashlib.sha256()
    for key in sorted(columns):
        sha.update(f"{key} {columns[key].dtype} {columns[key].shape}".encode())
        content = columns[key]
        sha.update(
            repr(content.tolist()).encode() if content.dtype == object else np.ascontiguousarray(content).tobytes()
        )
    return columns, sha.hexdigest(), "arrays"


def _named(columns: dict[str, Any], where: str) -> dict[str, Any]:
    """Bring names to one spelling. Raises DataError for an unknown one: nothing is read past in silence."""
    found = {}
    for key, value in columns.items():
        name = _SPELLINGS.get(key, key)
        if name not in _KNOWN:
            raise DataError(f"{where} has an array '{key}'{nearest(key, _KNOWN)} (known: {', '.join(_KNOWN)})")
        if name in found:
            raise DataError(f"{where} has '{name}' twice, once as '{key}': keep one")
        found[name] = value
    return found


def _read_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        columns = {key: file[key] for key in file.files}
    if len(columns) == 1:
        columns = {"activations": next(iter(columns.values()))}
    return _named(columns, str(path))


def _read_npy(path: Path) -> dict[str, Any]:
    columns: dict[str, Any] = {"activations": np.load(path, mmap_mode="r", allow_pickle=False)}
    beside = path.with_suffix(".csv")
    if not beside.is_file():
        return columns
    with beside.open(newline="", encoding="utf-8-sig") as file:
        lines = list(csv.reader(file))
    header = [name.strip() for name in lines[0]] if lines else []
    known = ("id", "label", *_PLACE, *_BOX)
    for name in header:
        if name not in known:
            raise DataError(f"{beside} has a column '{name}'{nearest(name, known)} (known: {', '.join(known)})")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            raise DataError(f"{beside}, line {number}, has {len(line)} values for {len(header)} columns: mend it")
    return columns | _table({name: [line[i] for line in lines[1:]] for i, name in enumerate(header)}, beside)


def _read_parquet(path: Path) -> dict[str, Any]:
    table = pyarrow.parquet.read_table(path)
    lists = [field.name for field in table.schema if pa.types.is_list(field.type) or _is_fixed(field.type)]
    reserved = {"id", "label", *_PLACE, *_BOX}
    kept = {name: table.column(name).to_pylist() for name in table.column_names if name in reserved}
    if lists:
        name = "activations" if "activations" in lists else lists[0]
        if name != "activations" and len(lists) > 1:
            raise DataError(f"{path} has several columns of lists ({', '.join(lists)}): call one 'activations'")
        activations = _stacked(table.column(name), f"{path}: column '{name}'")
    else:
        names = [name for name in table.column_names if name not in reserved]
        odd = [name for name in names if not _is_number(table.schema.field(name).type) or table.column(name).null_count]
        if not names or odd:
            what = f"column '{odd[0]}' is not all numbers" if odd else "there is no column of activations"
            raise DataError(
                f"{path}: {what}: keep a column 'activations' of lists, or numeric columns beside id and label"
            )
        activations = np.stack([table.column(name).to_numpy() for name in names], axis=1)
    return {"activations": activations} | _table(kept, path)


def _is_fixed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _stacked(column: Any, where: str) -> NDArray[Any]:
    """Join a column of lists of one length: (rows, channels)."""
    lengths = pa.compute.list_value_length(column).to_numpy(zero_copy_only=False)
    if column.null_count or (len(lengths) and not (lengths == lengths[0]).all()):
        raise DataError(f"{where} has empty rows or lists of different lengths: give every row as many values")
    flat = pa.compute.list_flatten(column)
    if flat.null_count or not _is_number(flat.type):
        raise DataError(f"{where} holds something else than numbers: give lists of floats")
    found: NDArray[Any] = flat.to_numpy().reshape(len(column), -1)
    return found


def _table(columns: dict[str, list[Any]], where: Path) -> dict[str, Any]:
    """Turn columns of a table into id, label, uv and box."""
    found: dict[str, Any] = {}
    for name, parts in (("uv", _PLACE), ("box", _BOX)):
        there = [part for part in parts if part in columns]
        if not there:
            continue
        if len(there) < len(parts):
            missing = next(part for part in parts if part not in columns)
            raise DataError(f"{where} has a column '{there[0]}' but no '{missing}': give all of {', '.join(parts)}")
        try:
            found[name] = np.array([columns[part] for part in parts], np.float32).T
        except (ValueError, TypeError):
            raise DataError(f"{where}: {', '.join(parts)} must be numbers in every row") from None
    for name in ("id", "label"):
        if name in columns:
            found[name] = np.array(["" if value is None else value for value in columns[name]], object)
    return found


def _checked(columns: dict[str, Any], where: str) -> _Rows:
    """Check shapes and values, and put the rows in the order of their images."""
    if "activations" not in columns:
        raise DataError(
            f"{where} has no array 'activations'{nearest('activations', columns)}: add it, (rows, channels)"
        )
    activations = columns["activations"]
    if activations.ndim != 2 or not activations.size or activations.dtype.kind not in "fiu":
        raise DataError(
            f"{where}: activations have type {activations.dtype} and shape {activations.shape}: give numbers of shape "
            "(rows, channels), a map reduced to one vector per row"
        )
    rows = len(activations)
    for name, shape in (("id", (rows,)), ("label", (rows,)), ("uv", (rows, 2)), ("box", (rows, 4))):
        if name in columns and columns[name].shape != shape:
            raise DataError(f"{where}: '{name}' has shape {columns[name].shape}, but {rows} rows need {shape}")
    for name in ("uv", "box"):
        values = columns.get(name)
        if values is not None and not (values.dtype.kind in "fiu" and ((values >= 0) & (values <= 1)).all()):
            raise DataError(f"{where}: '{name}' has values outside 0 to 1: give shares of the picture")
    names = [str(value) for value in columns["id"]] if "id" in columns else [f"row/{i:08d}" for i in range(rows)]
    if "" in names:
        raise DataError(f"{where}: row {names.index('')} has no id: give every row the id of its image")
    places: dict[str, int] = {}
    image = np.array([places.setdefault(name, len(places)) for name in names], np.int64)
    order: Any = np.argsort(image, kind="stable")
    if (np.diff(image) >= 0).all():
        order = slice(None)  # a view: an array that lies on the disk stays there
    label, classes = _labels(columns, image, list(places), where)
    uv = np.asarray(columns.get("uv", np.full((rows, 2), 0.5)), np.float32)
    box = np.asarray(columns.get("box", np.tile([0.0, 0.0, 1.0, 1.0], (rows, 1))), np.float32)
    return _Rows(activations[order], image[order], list(places), label, classes, uv[order], box[order])


def _labels(
    columns: dict[str, Any], image: NDArray[np.int64], ids: Sequence[str], where: str
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Return one label per image and the classes' names; "" and negative numbers are no label."""
    per_image = np.full(len(ids), -1, np.int32)
    if "label" not in columns:
        return per_image, ()
    given = columns["label"]
    texts = [str(value) for value in given.tolist()]
    if "classes" in columns:
        classes = tuple(str(name) for name in columns["classes"].tolist())
        if given.dtype.kind not in "iu" or given.max(initial=-1) >= len(classes):
            raise DataError(f"{where}: with 'classes', labels are numbers below {len(classes)}, negative for none")
        numbers = np.maximum(given, -1).astype(np.int32)
    else:
        known = {text for text in texts if text and not (text[0] == "-" and text[1:].isdecimal())}
        # Numbers in the order of numbers: "10" after "9".
        classes = tuple(sorted(known, key=lambda t: (0, int(t), t) if t.isdecimal() else (1, 0, t)))
        numbering = {name: i for i, name in enumerate(classes)}
        numbers = np.array([numbering.get(text, -1) for text in texts], np.int32)
    first = np.unique(image, return_index=True)[1]
    per_image = numbers[first]
    odd = np.flatnonzero(per_image[image] != numbers)
    if odd.size:
        raise DataError(f"{where}: image '{ids[image[odd[0]]]}' has rows of different labels: give it one")
    return per_image, classes


def _part(rows: _Rows, covered: range) -> Part:
    """The images of one part: cast to float16, without those that do not fit."""
    start, stop = np.searchsorted(rows.image, [covered.start, covered.stop])
    with np.errstate(over="ignore"):
        half = np.asarray(rows.activations[start:stop]).astype(np.float16)
    image = rows.image[start:stop] - covered.start
    usable = np.ones(len(covered), np.bool_)
    usable[image[~np.isfinite(half).all(axis=1)]] = False
    skipped = [
        Skipped(covered.start + int(i), rows.ids[covered.start + int(i)], "activations that are not finite as float16")
        for i in np.flatnonzero(~usable)
    ]
    index, kept = covered.start + np.flatnonzero(usable), usable[image]
    n = len(index)
    none = np.full(n, -1, np.int32)
    table = ImageTable(
        [rows.ids[i] for i in index.tolist()],
        index,
        np.zeros(n, np.int32),
        np.zeros(n, np.int32),
        rows.label[index],
        none,
        np.full(n, np.nan, np.float32),
        np.full((n, TOP), -1, np.int32),
        np.full((n, TOP), np.nan, np.float32),
        np.tile(np.array([0, 0, 1, 1], np.float32), (n, 1)),
    )
    half = half[kept]
    place = (np.cumsum(usable) - 1)[image[kept]]
    layer = LayerRows(
        {"mean": half} if rows.single else {}, half, place, rows.uv[start:stop][kept], rows.box[start:stop][kept]
    )
    return Part(covered.start, len(covered), table, [layer], skipped)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
