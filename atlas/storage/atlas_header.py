"""The atlas's one JSON document, `atlas.json`: schema 1, read with checks and written whole."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from atlas.errors import StoreError
from atlas.storage.files import write_json

KIND = "atlas"
SCHEMA = 2
HEADER = "atlas.json"
MARKS = "marks.json"
"""The user's own notes: never hashed, never overwritten."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LevelHeader:
    """One level of one layer: its number z, cells a side, non-empty cells, and cells with an icon."""

    level: int
    side: int
    cells: int
    icons: int


@dataclass(frozen=True, slots=True)
class LayerHeader:
    """One layer of an atlas.

    pool is "sample" for sampled positions, else how an image was pooled ("mean", "max", "cls",
    "center"). states counts the rows by their state in the layout; left_out counts those without
    any position (NaN activations). patches is the length of the layer's patch list. quality says by
    name what the layout keeps, None where it cannot be said; empty where nothing was measured.
    """

    name: str
    index: int
    samples: int
    pool: str
    channels: int
    states: Mapping[str, int]
    left_out: int
    icon_size: int
    patch_size: int
    patches: int
    layout: Mapping[str, Any]
    levels: tuple[LevelHeader, ...] = ()
    quality: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AtlasHeader:
    """All that `atlas.json` says; notes are sentences for the reader, files maps relative POSIX paths to SHA-256."""

    name: str
    fingerprint: str
    images: int
    classes: tuple[str, ...]
    outputs: tuple[str, ...]
    aligned: bool
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    layers: tuple[LayerHeader, ...] = ()
    accuracy: float | None = None
    thumbnail_size: int = 96
    complete: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def layer_folder(index: int) -> str:
    """Relative folder of a layer."""
    return f"layers/{index}"


def level_folder(index: int, level: int) -> str:
    """Relative folder of a layer's level."""
    return f"layers/{index}/levels/{level}"


def write_header(folder: Path, header: AtlasHeader) -> None:
    """Write `atlas.json`, whole or not at all; NaN in the provenance is refused (ValueError)."""
    layers = [
        {
            **{name: getattr(layer, name) for name in LayerHeader.__slots__},
            "states": dict(layer.states),
            "layout": dict(layer.layout),
            "quality": dict(layer.quality),
            "levels": [{name: getattr(level, name) for name in LevelHeader.__slots__} for level in layer.levels],
        }
        for layer in header.layers
    ]
    write_json(
        folder / HEADER,
        {
            "kind": KIND,
            "schema": SCHEMA,
            **{name: getattr(header, name) for name in AtlasHeader.__slots__},
            "skipped": [list(pair) for pair in header.skipped],
            "layers": layers,
            "provenance": dict(header.provenance),
            "files": dict(sorted(header.files.items())),
        },
    )


def read_header(folder: Path) -> AtlasHeader:
    """Read and check `atlas.json`. Raises StoreError when it is absent, damaged, newer, or of another kind."""
    path = folder / HEADER
    if not folder.is_dir():
        wrong = "is a file" if folder.exists() else "does not exist"
        raise StoreError(f"{folder} {wrong}: name an atlas, a folder NAME.atlas")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{folder} is not an atlas, it has no {HEADER}: name one that 'atlas build' made") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise StoreError(f"{path} is damaged ({error}): build the atlas again") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}): check its permissions") from None
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise StoreError(f"{folder} is not an atlas, its {HEADER} is of another kind: name one that 'atlas build' made")
    schema = content.get("schema")
    if type(schema) is not int or schema < 1:
        raise StoreError(f"{path} is damaged: 'schema' is not a positive whole number")
    if schema > SCHEMA:
        raise StoreError(
            f"{folder} has schema {schema}, newer than the {SCHEMA} that this version reads: update activation-atlas"
        )
    if schema < SCHEMA:
        raise StoreError(
            f"{folder} has schema {schema}, older than the {SCHEMA} that this version reads: delete it and build anew"
        )
    return _parse(content, path)


def _parse(content: dict[str, Any], path: Path) -> AtlasHeader:
    accuracy = content.get("accuracy")
    if accuracy is not None and not (isinstance(accuracy, int | float) and 0 <= accuracy <= 1):
        raise _damaged(path, "accuracy")
    pairs = _take(content, "skipped", list, path)
    if not all(isinstance(p, list) and len(p) == 2 and all(isinstance(v, str) for v in p) for p in pairs):
        raise _damaged(path, "skipped")
    files = _take(content, "files", dict, path)
    for name, digest in files.items():
        if not (isinstance(digest, str) and len(digest) == 64 and _inside(name)):
            raise _damaged(path, f"files.{name}")
    layers = tuple(_parse_layer(layer, path) for layer in _take(content, "layers", list, path))
    if [layer.index for layer in layers] != list(range(len(layers))):
        raise _damaged(path, "layers.index")
    return AtlasHeader(
        name=_take(content, "name", str, path),
        fingerprint=_take(content, "fingerprint", str, path),
        images=_count(content, "images", path),
        classes=_names(content, "classes", path),
        outputs=_names(content, "outputs", path),
        aligned=_take(content, "aligned", bool, path),
        skipped=tuple((a, b) for a, b in pairs),
        notes=_names(content, "notes", path) if "notes" in content else (),
        layers=layers,
        accuracy=None if accuracy is None else float(accuracy),
        thumbnail_size=_count(content, "thumbnail_size", path),
        complete=_take(content, "complete", bool, path),
        provenance=_take(content, "provenance", dict, path),
        files=files,
    )


def _parse_layer(value: Any, path: Path) -> LayerHeader:
    if not isinstance(value, dict):
        raise _damaged(path, "layers")
    states = _take(value, "states", dict, path)
    if not all(type(count) is int and count >= 0 for count in states.values()):
        raise _damaged(path, "states")
    quality = _take(value, "quality", dict, path) if "quality" in value else {}
    if not all(figure is None or type(figure) in (int, float) for figure in quality.values()):
        raise _damaged(path, "quality")
    levels = _take(value, "levels", list, path)
    if not all(isinstance(level, dict) for level in levels):
        raise _damaged(path, "levels")
    return LayerHeader(
        name=_take(value, "name", str, path),
        pool=_take(value, "pool", str, path),
        states=states,
        layout=_take(value, "layout", dict, path),
        quality=quality,
        levels=tuple(LevelHeader(**{name: _count(lv, name, path) for name in LevelHeader.__slots__}) for lv in levels),
        **{
            name: _count(value, name, path)
            for name in ("index", "samples", "channels", "left_out", "icon_size", "patch_size", "patches")
        },
    )


def _take(table: Mapping[str, Any], key: str, kind: type[T], path: Path) -> T:
    value = table.get(key)
    if not isinstance(value, kind):
        raise _damaged(path, key)
    return value


def _count(table: Mapping[str, Any], key: str, path: Path) -> int:
    value = table.get(key)
    if type(value) is not int or value < 0 or value > 2**40:
        raise _damaged(path, key)
    return value


def _names(table: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    values: Sequence[Any] = _take(table, key, list, path)
    if not all(isinstance(value, str) for value in values):
        raise _damaged(path, key)
    return tuple(values)


def _inside(name: str) -> bool:
    """Say whether a recorded path stays inside the atlas's folder."""
    pure = PurePosixPath(name)
    return not pure.is_absolute() and ".." not in pure.parts and "\\" not in name and name not in (HEADER, MARKS, "")


def _damaged(path: Path, key: str) -> StoreError:
    return StoreError(f"{path} is damaged: '{key}' is missing or has a wrong value; build the atlas again")


def finite_or_none(value: float) -> float | None:
    """JSON has no NaN: absent instead."""
    return value if math.isfinite(value) else None
