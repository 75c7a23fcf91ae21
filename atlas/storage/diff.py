"""A comparison on the disk, `NAME.diff`: an atlas whose layers are the networks, with what differs beside it.

`diff.json` is the comparison's document, `diff.npz` holds the arrays per sample, image and cell, and `columns.csv` what
the explorer colours images by. All three are recorded in `atlas.json` like any file of the atlas.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import StoreError
from atlas.storage.atlas import Atlas, open_atlas
from atlas.storage.atlas_header import HEADER, read_header
from atlas.storage.files import write_bytes, write_json
from atlas.storage.tables import read_arrays, write_arrays

KIND = "diff"
SCHEMA = 1
DOCUMENT = "diff.json"
ARRAYS = "diff.npz"
COLUMNS = "columns.csv"
FIGURES = ("cka", "procrustes", "neighbor_overlap")
CHANGES = ("merged", "split", "moved", "appeared", "vanished")
REQUIRED: dict[str, type] = {
    "of": str,
    "same": bool,
    "networks": list,
    "noise_floor": dict,
    "changes": list,
    "classes": list,
    "flips": list,
    "notes": list,
}
"""Keys of the document beside the figures, and what each must be."""


@dataclass(frozen=True)
class Diff:
    """A comparison: its document, ready for JSON, and where it is kept, None where nothing had to be."""

    document: Mapping[str, Any]
    path: Path | None = None

    @property
    def same(self) -> bool:
        """Whether both are the same network on the same images."""
        return bool(self.document["same"])

    @property
    def changes(self) -> Sequence[Mapping[str, Any]]:
        """What changed beyond the noise floor, the largest first: by size in standard errors."""
        changes: Sequence[Mapping[str, Any]] = self.document["changes"]
        return changes

    @cached_property
    def atlas(self) -> Atlas:
        """The shared map, an atlas whose layers are the networks. Raises StoreError where there is none."""
        if self.path is None:
            raise StoreError("the same network has no map of differences: explore either atlas")
        return open_atlas(self.path)

    def array(self, name: str) -> NDArray[Any]:
        """One array of `diff.npz`, see docs/formats.md."""
        return read_arrays(self.atlas.path / ARRAYS, [name])[name]


def is_diff(path: str | Path) -> bool:
    """Say whether a folder is a comparison, be it damaged."""
    return (Path(path) / DOCUMENT).exists() or Path(path).suffix == ".diff"


def open_diff(path: str | Path) -> Diff:
    """Open a comparison. Raises StoreError when it is absent, damaged or newer."""
    folder = Path(path)
    return Diff(read_document(folder), folder)


def write_diff_files(
    folder: Path,
    document: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    ids: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
) -> list[str]:
    """Write the document, the arrays and the columns of images into an atlas's folder; return the files' names."""
    write_arrays(folder / ARRAYS, arrays)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["id", *columns])
    lines.writerows(zip(ids, *columns.values(), strict=True))
    write_bytes(folder / COLUMNS, text.getvalue().encode())
    write_json(folder / DOCUMENT, {"kind": KIND, "schema": SCHEMA, **document})
    return [DOCUMENT, ARRAYS, COLUMNS]


def read_document(folder: Path) -> dict[str, Any]:
    """Read and check `diff.json`. Raises StoreError."""
    path = folder / DOCUMENT
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if not folder.is_dir():
            found = "is a file" if folder.exists() else "does not exist"
            raise StoreError(f"{folder} {found}: name a comparison, a folder NAME.diff") from None
        if (folder / HEADER).is_file() and not read_header(folder).complete:
            raise StoreError(f"{folder} is not finished: the same 'atlas compare' as before goes on") from None
        raise StoreError(f"{folder} is not a comparison (it has no {DOCUMENT}): make it with 'atlas compare'") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise StoreError(f"{path} is damaged ({error}): compare again with --force") from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise StoreError(f"{path} is of another kind: compare again with --force")
    if document.get("schema") != SCHEMA:
        raise StoreError(f"{path} has schema {document.get('schema')}, this version reads {SCHEMA}: compare again")
    wrong = wrong_document(document)
    if wrong:
        raise StoreError(f"{path} is damaged: {wrong[0]}; compare again with --force")
    return document


def wrong_document(document: Mapping[str, Any]) -> list[str]:
    """What does not follow the schema, in words; [] when all does."""
    wrong = [
        f"'{key}' is missing or has a wrong value"
        for key, kind in REQUIRED.items()
        if not isinstance(document.get(key), kind)
    ]
    for name in FIGURES:
        value = document.get(name, "absent")
        if not (value is None or isinstance(value, int | float)):
            wrong.append(f"'{name}' is no number")
    for change in document["changes"] if isinstance(document.get("changes"), list) else []:
        kinds = isinstance(change, dict) and change.get("kind") in CHANGES
        if not (kinds and isinstance(change.get("images"), list) and isinstance(change.get("text"), str)):
            wrong.append("'changes' holds what is no change")
            break
    return wrong


def describe_diff(folder: Path, atlas: Mapping[str, Any]) -> dict[str, Any]:
    """Say what a comparison holds, beside what its atlas says; ready for JSON."""
    document = read_document(folder)
    figures = {name: document[name] for name in FIGURES}
    changes = [{key: change.get(key) for key in ("kind", "score", "p", "text")} for change in document["changes"]]
    return {
        **atlas,
        "kind": KIND,
        "schema": SCHEMA,
        "of": document["of"],
        "networks": document["networks"],
        **figures,
        "noise_floor": document["noise_floor"],
        "changes": changes,
    }


def wrong_diff(folder: Path) -> list[str]:
    """What is wrong with a comparison beside its atlas: its document and its arrays; one sentence per damage."""
    try:
        document, atlas = read_document(folder), open_atlas(folder)
        known = set(atlas.images.ids)
        names = {name for change in document["changes"] for name in change["images"]}
        damage = [f"{DOCUMENT} names the image '{name}', which the atlas has not" for name in sorted(names - known)[:1]]
        with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
            overlap = arrays["overlap"] if "overlap" in arrays else np.empty((0, 0))
            if overlap.size and not (np.nanmin(overlap) >= 0 and np.nanmax(overlap) <= 1):
                damage.append(f"{ARRAYS} has an overlap outside 0 to 1")
    except (OSError, ValueError, KeyError) as error:
        return [f"{ARRAYS} is damaged ({error})"]
    except StoreError as error:
        return [str(error)]
    return damage
