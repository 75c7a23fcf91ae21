"""The suspects of an atlas on the disk: `suspects.json`, `suspects.npz` and the pictures in `suspects/`.

They lie in the atlas's folder and are recorded in `atlas.json` like any file of it; what a user says of a suspect is in
the atlas's marks, under the suspect's id.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import StoreError
from atlas.storage.atlas import Atlas
from atlas.storage.atlas_header import read_header, write_header
from atlas.storage.files import hash_file, write_bytes, write_json
from atlas.storage.tables import read_arrays, write_arrays

SCHEMA = 1
DOCUMENT = "suspects.json"
ARRAYS = "suspects.npz"
PICTURES = "suspects"
KINDS = ("within", "shared", "errors", "disagreeing", "outlying")
USED = ("yes", "no", "undecided", "untested")
SPURIOUS = ("likely", "unlikely", "unclear")
TESTS = ("remove_direction", "blur", "inpaint", "paste", "add_direction")
_REQUIRED: dict[str, type] = {"layer": str, "made_from": dict, "tested": bool, "notes": list, "suspects": list}
_TEXTS = ("id", "kind", "used", "why_used", "spurious", "why_spurious", "text")
_LISTS = ("images", "image_ids", "usual", "rows", "boxes", "tests")


@dataclass(frozen=True)
class Suspects:
    """The ranked suspects of one atlas: their document, ready for JSON, and the atlas's folder."""

    document: Mapping[str, Any]
    path: Path

    @property
    def listed(self) -> Sequence[Mapping[str, Any]]:
        """The suspects, the most suspicious first; see docs/formats.md for their keys."""
        found: Sequence[Mapping[str, Any]] = self.document["suspects"]
        return found

    def array(self, name: str) -> NDArray[Any]:
        """`membership`, float16 (suspects, images), or `direction`, float32 (suspects, channels)."""
        return read_arrays(self.path / ARRAYS, [name])[name]


def suspect_id(layer: str, feeds: int, image_ids: Sequence[str]) -> str:
    """Twelve hexadecimal digits from the layer, the class that is fed and the members' ids in any order."""
    text = json.dumps([layer, feeds, sorted(image_ids)])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def write_suspects(
    atlas: Path, document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], pictures: Mapping[str, bytes]
) -> Suspects:
    """Write an atlas's suspects in place of those that it has, and record them.

    document: the keys of docs/formats.md without `schema`. arrays: membership and direction. pictures: PNG files by
    their path in the atlas, all in `suspects/`. A run that is stopped leaves the atlas without suspects.
    """
    drop_suspects(atlas)
    names = [ARRAYS, DOCUMENT, *pictures]
    for name, content in pictures.items():
        write_bytes(atlas / name, content)
    write_arrays(
        atlas / ARRAYS,
        {
            "membership": np.asarray(arrays["membership"], np.float16),
            "direction": np.asarray(arrays["direction"], np.float32),
        },
    )
    write_json(atlas / DOCUMENT, {"schema": SCHEMA, **document})
    header = read_header(atlas)
    recorded = {name: hash_file(atlas / name) for name in names}
    write_header(atlas, replace(header, files={**header.files, **recorded}))
    return Suspects({"schema": SCHEMA, **document}, atlas)


def drop_suspects(atlas: Path) -> None:
    """Strike an atlas's suspects from its record, then delete them."""
    header = read_header(atlas)
    kept = {name: digest for name, digest in header.files.items() if not is_of_suspects(name)}
    if len(kept) < len(header.files):
        write_header(atlas, replace(header, files=kept))
    shutil.rmtree(atlas / PICTURES, ignore_errors=True)
    for name in (DOCUMENT, ARRAYS):
        (atlas / name).unlink(missing_ok=True)


def is_of_suspects(name: str) -> bool:
    """Say whether a file of an atlas, by its relative path, belongs to its suspects."""
    return name in (DOCUMENT, ARRAYS) or name.startswith(f"{PICTURES}/")


def read_suspects(atlas: Atlas | str | Path) -> Suspects | None:
    """Read the suspects of an atlas; None where none were looked for. Raises StoreError where they are damaged."""
    folder = atlas.path if isinstance(atlas, Atlas) else Path(atlas)
    recorded = (atlas.header if isinstance(atlas, Atlas) else read_header(folder)).files
    if DOCUMENT not in recorded:  # a run that was stopped leaves files without a record
        return None
    path = folder / DOCUMENT
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise StoreError(f"{path} is damaged ({error}): 'atlas suspects --force' looks for them anew") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise StoreError(f"{path} has another schema than {SCHEMA}: 'atlas suspects --force' looks for them anew")
    wrong = wrong_document(document)
    if wrong:
        raise StoreError(f"{path} is damaged: {wrong[0]}; 'atlas suspects --force' looks for them anew")
    return Suspects(document, folder)


def wrong_document(document: Mapping[str, Any]) -> list[str]:
    """What of a document does not follow the schema, in words; [] when all does."""
    wrong = [
        f"'{key}' is missing or has a wrong value"
        for key, kind in _REQUIRED.items()
        if not isinstance(document.get(key), kind)
    ]
    for number, suspect in enumerate(document["suspects"] if isinstance(document.get("suspects"), list) else []):
        if not isinstance(suspect, dict):
            wrong.append(f"suspect {number + 1} is no object")
            continue
        wrong += [f"suspect {number + 1} has a wrong '{key}'" for key in _wrong_keys(suspect)]
    return wrong


def _wrong_keys(suspect: Mapping[str, Any]) -> list[str]:
    wrong = [key for key in _TEXTS if not isinstance(suspect.get(key), str)]
    wrong += [key for key in _LISTS if not isinstance(suspect.get(key), list)]
    wrong += [key for key in ("score", "p") if not _is_number(suspect.get(key))]
    for key, known in (("kind", KINDS), ("used", USED), ("spurious", SPURIOUS)):
        if suspect.get(key) not in known and key not in wrong:
            wrong.append(key)
    if "images" not in wrong and not all(type(image) is int and image >= 0 for image in suspect["images"]):
        wrong.append("images")
    if "image_ids" not in wrong and len(suspect["image_ids"]) != len(suspect.get("images", ())):
        wrong.append("image_ids")
    figures = suspect.get("figures")
    if not (isinstance(figures, dict) and all(_is_number(value) for value in figures.values())):
        wrong.append("figures")
    if "tests" not in wrong and not all(isinstance(t, dict) and t.get("name") in TESTS for t in suspect["tests"]):
        wrong.append("tests")
    return wrong


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def wrong_suspects(atlas: Atlas) -> list[str]:
    """What is wrong with an atlas's suspects; one sentence per damage, [] where there are none."""
    try:
        found = read_suspects(atlas)
        if found is None:
            return []
        count, images = len(found.listed), len(atlas.images)
        ids = atlas.images.ids
        damage = []
        for number, suspect in enumerate(found.listed):
            own = suspect["images"]
            if any(image >= images for image in own) or [ids[image] for image in own] != suspect["image_ids"]:
                damage.append(f"{DOCUMENT}: suspect {number + 1} names images that the atlas has not")
        if found.array("membership").shape != (count, images):
            damage.append(f"{ARRAYS} has not one membership for each suspect and image")
        if len(found.array("direction")) != count:
            damage.append(f"{ARRAYS} has not one direction for each suspect")
    except StoreError as error:
        return [str(error)]
    return damage


def listed_by_name(found: Suspects) -> dict[str, Any]:
    """The document with names in place of numbers, as `atlas suspects --json` prints it.

    `label` and `feeds` are class names, `images` and `usual` ids; what else refers to rows of the atlas stays.
    """
    ids = read_ids(found.path)
    suspects = []
    for suspect in found.listed:
        names = {"label": suspect["label_name"], "feeds": suspect["feeds_name"], "images": suspect["image_ids"]}
        kept = {key: value for key, value in suspect.items() if key not in ("label_name", "feeds_name", "image_ids")}
        suspects.append({**kept, **names, "usual": [ids[image] for image in suspect["usual"]]})
    return {**found.document, "suspects": suspects}


def read_ids(folder: Path) -> Sequence[str]:
    """The ids of an atlas's images."""
    return Atlas(folder).images.ids[:]


def describe_suspects(folder: Path) -> dict[str, Any] | None:
    """Say in short what suspects an atlas has, ready for JSON; None where none were looked for."""
    found = read_suspects(folder)
    if found is None:
        return None
    keys = ("id", "kind", "score", "p", "label_name", "feeds_name", "used", "spurious", "text")
    return {
        "layer": found.document["layer"],
        "tested": found.document["tested"],
        "suspects": [{key: suspect.get(key) for key in keys} for suspect in found.listed],
    }
