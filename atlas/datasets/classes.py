"""Class files, and how a dataset's labels map to a network's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atlas.datasets.labels import read_rows
from atlas.errors import DataError, nearest

_FOLDER_HEADERS = ("folder", "synset", "wnid", "directory")
_NAME_HEADERS = ("name", "class", "label", "class_name")
_INDEX_HEADERS = ("index", "id", "idx", "output")


@dataclass(frozen=True)
class ClassTable:
    """A network's classes in the order of its outputs.

    names may repeat (ImageNet has two cranes); folders are the dataset's names for them, empty when
    the file gives none. path is the file, for messages.
    """

    names: tuple[str, ...]
    folders: tuple[str, ...] = ()
    path: Path = Path("the class table")

    def __len__(self) -> int:
        return len(self.names)


def read_class_table(path: str | Path) -> ClassTable:
    """Read a class file: one name a line, or a CSV index,name[,folder] in any order of rows.

    A CSV is known by a header with "index" and "name" (and "folder" or "synset"), or by whole numbers
    in its first column throughout. Raises DataError unless the indices are 0 to n - 1, each once.
    """
    path = Path(path)
    rows = read_rows(path)
    if not rows:
        raise DataError(f"{path} is empty: give one class name a line, or a CSV index,name[,folder]")
    head = [cell.strip().lower() for cell in rows[0][1]]
    index = next((head.index(h) for h in _INDEX_HEADERS if h in head), None)
    name = next((head.index(h) for h in _NAME_HEADERS if h in head), None)
    folder = next((head.index(h) for h in _FOLDER_HEADERS if h in head), None)
    if index is not None and (name is not None or folder is not None):
        return _table(path, rows[1:], index, folder if name is None else name, folder)
    if all(len(row) > 1 and row[0].strip().isdecimal() for _, row in rows):
        return _table(path, rows, 0, 1, 2 if all(len(row) > 2 for _, row in rows) else None)
    return _read_names(path)


def _read_names(path: Path) -> ClassTable:
    names = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    if "" in names:
        line = names.index("") + 1
        raise DataError(f"{path}, line {line} is blank, which would shift every class after it: remove it or name it")
    return ClassTable(tuple(names), (), path)


def _table(
    path: Path, rows: Sequence[tuple[int, list[str]]], index: int, name: int | None, folder: int | None
) -> ClassTable:
    name_column = index if name is None else name
    names: dict[int, str] = {}
    folders: dict[int, str] = {}
    for line, row in rows:
        if len(row) <= max(index, name_column, folder or 0) or not row[index].strip().isdecimal():
            raise DataError(f"{path}, line {line}: expected index,name[,folder] but found '{','.join(row)}'")
        number = int(row[index])
        if number in names:
            raise DataError(f"{path}, line {line}: the index {number} stands there twice: give each output one row")
        names[number] = row[name_column].strip()
        if folder is not None:
            folders[number] = row[folder].strip()
    order = range(len(names))
    missing = next((i for i in order if i not in names), None)
    if missing is not None:
        raise DataError(
            f"{path} has no row for index {missing}, but one for {max(names)}: "
            f"number the outputs from 0 to {len(names) - 1}"
        )
    if len(set(folders.values())) < len(folders):
        twice = next(f for f in folders.values() if list(folders.values()).count(f) > 1)
        raise DataError(f"{path} gives the folder '{twice}' to two outputs: keep one")
    return ClassTable(tuple(names[i] for i in order), tuple(folders[i] for i in order) if folders else (), path)


def align_labels(source_classes: Sequence[str], outputs: Sequence[str] | ClassTable) -> NDArray[np.int32] | None:
    """Map a dataset's labels to a network's outputs: int32 (classes,), label -> output index.

    Names match exactly, or else without regard to case, "_" and "-"; a table's folders come before
    its names. Classes "0" to "n - 1" are output indices when there are n outputs, or with a table
    whenever it has them. None when the dataset is unlabelled, or the vocabularies do not match;
    where a class table was given that is an error: DataError, with a class that it lacks.
    """
    if not source_classes:
        return None
    table = outputs if isinstance(outputs, ClassTable) else None
    vocabularies = [outputs.folders, outputs.names] if isinstance(outputs, ClassTable) else [tuple(outputs)]
    for vocabulary in vocabularies:
        for spelling in (str, _plain):
            places = _places([spelling(name) for name in vocabulary])
            found = [places.get(spelling(name)) for name in source_classes]
            if None not in found:
                return np.array(found, np.int32)
    numbers = [int(name) if name.isascii() and name.isdigit() else -1 for name in source_classes]
    size = len(vocabularies[-1])
    if sorted(numbers) == list(range(size)) or (table is not None and 0 <= min(numbers) <= max(numbers) < size):
        return np.array(numbers, np.int32)
    if table is not None:
        raise DataError(_mismatch(source_classes, table))
    return None


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


def _places(names: Sequence[str]) -> dict[str, int]:
    """Where each name stands; a name that stands twice is left out, for it decides nothing."""
    places: dict[str, int] = {}
    twice = set()
    for i, name in enumerate(names):
        if places.setdefault(name, i) != i:
            twice.add(name)
    return {name: i for name, i in places.items() if name not in twice}


def _mismatch(source_classes: Sequence[str], table: ClassTable) -> str:
    vocabulary = table.folders or table.names
    known = set(table.folders) | set(table.names)
    missing = [name for name in source_classes if name not in known] or list(source_classes)
    column = "folders" if table.folders else "names"
    return (
        f"{table.path} does not match the dataset: {len(missing)} of its {len(source_classes)} classes, such as "
        f"'{missing[0]}', are not among the file's {len(vocabulary)} {column}{nearest(missing[0], vocabulary)}; "
        "correct the file, or give it a folder column"
    )
