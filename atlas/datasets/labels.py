"""Labels: from folders, from a CSV of id,label, from texts that stand beside the pictures, or none."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atlas.config import expand_path
from atlas.errors import ConfigError, DataError, nearest

SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev"})
_MOST_NUMBERS = 65_536  # a label above is an identifier, not an index: it becomes a name
_ID_HEADERS = ("id", "image", "image_id", "file", "filename", "file_name", "path", "name")
_LABEL_HEADERS = ("label", "class", "target", "cls", "category")


@dataclass(frozen=True)
class Labels:
    """A vocabulary and, for each image, an index into it (int32, -1: none)."""

    classes: tuple[str, ...]
    values: NDArray[np.int32]


def no_labels(images: int) -> Labels:
    """Labels of an unlabelled dataset."""
    return Labels((), np.full(images, -1, np.int32))


def choose_labels(
    setting: str | None,
    base: Path,
    ids: Sequence[str],
    *,
    own: Callable[[], Labels],
    folders: Callable[[], Labels | None] | None,
    where: str,
) -> Labels:
    """Labels as a manifest's `labels` asks.

    own gives the source's own; folders those of its folders (None: it has no folders at all). A CSV's
    relative path is relative to base; where names the dataset in errors. Raises ConfigError for a
    setting that the source cannot meet, DataError for labels that do not fit its images.
    """
    if setting is None:
        return own()
    if setting == "none":
        return no_labels(len(ids))
    if setting == "folders":
        if folders is None:
            raise ConfigError(
                f"{where} has no folders to take labels from: use labels = \"none\", a CSV, or no 'labels'"
            )
        labels = folders()
        if labels is None:
            raise DataError(
                f'{where} is flat, so labels = "folders" finds no class folders: '
                'use labels = "none" or a CSV of id,label'
            )
        return labels
    if not setting.lower().endswith((".csv", ".tsv", ".txt")):
        raise ConfigError(
            f"'labels' is '{setting}'{nearest(setting, ('folders', 'none'))} "
            "(allowed: 'folders', 'none', or the path of a CSV of id,label)"
        )
    return read_label_csv(expand_path(setting, base), ids)


def folder_labels(places: Sequence[str]) -> Labels | None:
    """Classes from the folders of paths such as "test/cat/1.jpg"; None when no path has a folder.

    The class is the first folder below those that all images share, as in torchvision's
    ImageFolder; where these folders are named as splits (train, test, ...) it is the next. Classes
    are sorted; an image beside the class folders has no label.
    """
    holders = [place.rpartition("/")[0] for place in places]
    parts = {holder: [p for p in holder.split("/") if p not in ("", ".", "..")] for holder in set(holders)}
    nested = [p for p in parts.values() if p]
    if not nested:
        return None
    depth = shared_depth(nested)
    if all(len(p) == depth for p in nested):
        depth -= 1  # one folder holds everything: it is the class
    below = [p for p in nested if len(p) > depth]
    if {p[depth].lower() for p in below} <= SPLITS and all(len(p) > depth + 1 for p in below):
        depth += 1
    names = {holder: p[depth] for holder, p in parts.items() if len(p) > depth}
    classes = tuple(sorted(set(names.values())))
    number = {name: i for i, name in enumerate(classes)}
    label = {holder: number[name] for holder, name in names.items()}
    return Labels(classes, np.fromiter((label.get(h, -1) for h in holders), np.int32, len(holders)))


def shared_depth(folders: Sequence[list[str]]) -> int:
    """How many leading folders all have in common."""
    first, last = min(folders), max(folders)
    depth = 0
    while depth < min(len(first), len(last)) and first[depth] == last[depth]:
        depth += 1
    return depth


def text_labels(texts: Sequence[str | None]) -> Labels:
    """Labels from one text per image (None or "": none).

    When all are whole numbers they are the indices themselves and the classes are "0" to the
    greatest; otherwise the classes are the distinct texts, sorted.
    """
    distinct = {t for t in texts if t}
    if distinct and all(t.isascii() and t.isdigit() for t in distinct):
        numbers = sorted({int(t) for t in distinct})
        if numbers[-1] < _MOST_NUMBERS:
            classes = tuple(str(i) for i in range(numbers[-1] + 1))
        else:
            classes = tuple(str(i) for i in numbers)
        index = {name: i for i, name in enumerate(classes)}
        return Labels(classes, np.fromiter((index[str(int(t))] if t else -1 for t in texts), np.int32, len(texts)))
    classes = tuple(sorted(distinct))
    index = {name: i for i, name in enumerate(classes)}
    return Labels(classes, np.fromiter((index[t] if t else -1 for t in texts), np.int32, len(texts)))


def read_label_csv(path: Path, ids: Sequence[str]) -> Labels:
    """Labels from a CSV of id,label with or without a header; a label is a class name or a whole number.

    Every image must have a row and every row an image; an empty label means none. Raises DataError
    that says how many do not fit, with an example.
    """
    rows = read_rows(path)
    first, id_column, label_column = _columns(path, rows, frozenset(ids))
    given: dict[str, str] = {}
    for line, row in rows[first:]:
        if len(row) <= max(id_column, label_column):
            raise DataError(f"{path}, line {line}: expected id,label but found '{','.join(row)}'")
        id, label = row[id_column], row[label_column].strip()
        if given.setdefault(id, label) != label:
            raise DataError(f"{path}, line {line}: '{id}' has two labels, '{given[id]}' and '{label}': keep one")
    # A file name made on macOS may be decomposed where the CSV's is composed, or the other way round.
    composed = {unicodedata.normalize("NFC", id): label for id, label in given.items()}
    texts = [given.get(id, composed.get(unicodedata.normalize("NFC", id))) for id in ids]
    missing = [id for id, text in zip(ids, texts, strict=True) if text is None]
    known = {unicodedata.normalize("NFC", id) for id in ids}
    unknown = [id for id in given if unicodedata.normalize("NFC", id) not in known]
    if unknown:
        hint = nearest(unknown[0], missing[:1000] or ids[:1000])
        raise DataError(
            f"{path} labels {len(unknown)} ids that the dataset does not have, such as '{unknown[0]}'{hint}; "
            "ids are paths inside the dataset, with suffix"
        )
    if missing:
        raise DataError(
            f"{path} has no row for {len(missing)} of {len(ids)} images, such as '{missing[0]}': "
            "add them (an empty label means none)"
        )
    labels = text_labels(texts)
    if not labels.classes:
        raise DataError(f'{path} gives no image a label: fill the label column, or use labels = "none"')
    return labels


def _columns(path: Path, rows: Sequence[tuple[int, list[str]]], ids: frozenset[str]) -> tuple[int, int, int]:
    """The first row of data and the columns of id and label."""
    if not rows:
        raise DataError(f"{path} is empty: it needs rows of id,label")
    head = [cell.strip().lower() for cell in rows[0][1]]
    id_column = next((head.index(h) for h in _ID_HEADERS if h in head), None)
    label_column = next((head.index(h) for h in _LABEL_HEADERS if h in head), None)
    if rows[0][1][0] in ids or (id_column is None and label_column is None):
        return 0, 0, 1
    if id_column is None or label_column is None or id_column == label_column:
        raise DataError(f"{path} has the header '{','.join(rows[0][1])}', which lacks 'id' or 'label': add it")
    return 1, id_column, label_column


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows of a CSV with their line numbers, blank ones left out. Raises DataError if it cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: check the path") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): name a CSV file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV in UTF-8: {error}") from None
