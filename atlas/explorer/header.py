"""What the page must know before it asks for anything: names, layers, levels and counts."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from atlas.errors import StoreError
from atlas.explorer.comparing import diff_columns, told
from atlas.explorer.encode import pack
from atlas.explorer.shards import Shards
from atlas.explorer.suspecting import suspect_columns, told_suspects
from atlas.storage.atlas import AtlasLayer
from atlas.storage.diff import is_diff
from atlas.storage.sheets import TILE_SIDE

CORNER = (0.25, 0.06)
"""Width and height of a map's top left part, as shares of it."""

Home = Literal["server", "site", "notebook"]


def page_header(
    shards: Shards,
    home: Home,
    token: str,
    *,
    notes: tuple[str, ...] = (),
    others: tuple[tuple[str, str], ...] = (),
    network: bool = False,
    asks: bool = False,
) -> dict[str, Any]:
    """The page's first document, ready for JSON.

    notes: sentences on what this home leaves out. others: (name, address) of each atlas that the same server shows,
    this one included; empty when it is alone. network: whether one is at hand; beside a comparison it looks inside
    pictures alone. asks: whether somebody answers
    the page's questions; a server always does, a notebook's kernel may.
    """
    atlas = shards.atlas
    try:
        suspects = told_suspects(atlas)
    except StoreError as error:  # the map is as good without them
        suspects, notes = None, (*notes, str(error).replace(f"{atlas.path}/", "").replace(str(atlas.path), atlas.name))
    return {
        "home": home,
        "asks": asks or home == "server",
        "token": token,
        "name": atlas.name,
        "fingerprint": hashlib.sha256(atlas.fingerprint.encode()).hexdigest()[:16],
        "model": _named(atlas.provenance, "model"),
        "dataset": _named(atlas.provenance, "dataset", "data", "manifest", "source"),
        "images": len(atlas.images),
        "skipped": len(atlas.skipped),
        "accuracy": atlas.accuracy,
        "classes": list(atlas.classes),
        "outputs": list(atlas.outputs),
        "aligned": atlas.aligned,
        "labelled": bool((atlas.images.label >= 0).any()),
        "predicted": any(bool((answers.prediction >= 0).any()) for answers in shards.answers),
        "pictures": shards.pictures,
        "complete": atlas.complete,
        "maxPoints": shards.limit,
        "thumbnailSize": atlas.header.thumbnail_size,
        "notes": list(notes),
        "atlases": [list(pair) for pair in others],
        "network": network and not is_diff(atlas.path),
        "looks": network,
        "columns": [column.summary() for column in shards.columns],
        "diff": told(atlas),
        "suspects": suspects and suspects | {"column": _suspect_column(shards)},
        "layers": _layers(shards),
    }


def _suspect_column(shards: Shards) -> int | None:
    """Index of the column that says which suspect an image is in."""
    own = suspect_columns(shards.atlas)
    return len(diff_columns(shards.atlas)) if own else None


@lru_cache(maxsize=4)  # 40 ms for a million samples, at every page that is opened
def _layers(shards: Shards) -> list[dict[str, Any]]:
    return [_layer(shards, layer) for layer in shards.atlas.layers]


def _layer(shards: Shards, layer: AtlasLayer) -> dict[str, Any]:
    book = shards.points[layer.index]
    labels = shards.atlas.images.label[layer.samples.image[book.order]]
    return {
        "name": layer.name,
        "pool": layer.pool,
        "channels": layer.channels,
        "accuracy": shards.answers[layer.index].accuracy,
        "samples": layer.header.samples,
        "outliers": layer.header.states.get("outlier", 0),
        "method": str(layer.layout_settings.get("method", "")),
        "iconSize": layer.icon_size,
        "patchSize": layer.patch_size,
        "ends": book.ends,
        "labels": np.bincount(labels[labels >= 0], minlength=len(shards.atlas.classes)).tolist(),
        "effects": any(shards.cells(layer.index, level.number).effect_groups for level in layer.levels),
        "rows": _digest(layer.samples.image),
        "layout": _digest(layer.samples.positions),
        "kept": any(bool(np.isfinite(level.layout_trust).any()) for level in layer.levels),
        "bounds": _bounds(shards, layer),
        "corner": _fills_corner(shards, layer),
        "levels": [_level(shards, layer, level.number) for level in layer.levels],
    }


def _level(shards: Shards, layer: AtlasLayer, number: int) -> dict[str, Any]:
    cells = shards.cells(layer.index, number)
    side = cells.level.side
    present = np.zeros((side // TILE_SIDE, side // TILE_SIDE), bool)
    for tx, ty in cells.tiles:
        present[ty, tx] = True
    return {
        "level": number,
        "side": side,
        "cells": len(cells.level),
        "icons": cells.level.header.icons,
        "dense": dense_images(cells["images"], cells.level.arrays("kept")["kept"]),
        "tiles": pack(np.packbits(present.reshape(-1), bitorder="little")),
    }


def _digest(values: NDArray[Any]) -> str:
    """A short name of an array's content: two layers whose names agree have the same samples, or the same layout."""
    return hashlib.blake2b(np.ascontiguousarray(values).tobytes(), digest_size=6).hexdigest()


def dense_images(images: NDArray[np.int32], kept: NDArray[np.bool_]) -> float:
    """Images in a cell at which its icon fills the cell: the median of the kept cells.

    Half of the icons then touch their neighbours, as in the map by Carter et al. (Distill 2019), and the others
    shrink with their images, area for count.
    """
    counts = images[kept] if kept.any() else images
    return float(np.median(counts)) if len(counts) else 1.0


def _bounds(shards: Shards, layer: AtlasLayer) -> list[float]:
    """Left, bottom, right, top of the cells of the deepest level: what "home" shows."""
    if not layer.levels:
        return [0.0, 0.0, 1.0, 1.0]
    cells = shards.cells(layer.index, layer.levels[-1].number)
    if not len(cells.level):
        return [0.0, 0.0, 1.0, 1.0]
    side, column, row = cells.level.side, cells["column"], cells["row"]
    return [float(edge / side) for edge in (column.min(), row.min(), column.max() + 1, row.max() + 1)]


def _fills_corner(shards: Shards, layer: AtlasLayer) -> bool:
    """Whether any cell lies in the top left of the map, where a wide page's level and tools would stand over it."""
    if not layer.levels:
        return False
    cells = shards.cells(layer.index, layer.levels[-1].number)
    left, bottom, right, top = _bounds(shards, layer)
    across = ((cells["column"] + 0.5) / cells.level.side - left) / (right - left)
    down = (top - (cells["row"] + 0.5) / cells.level.side) / (top - bottom)
    return bool(((across < CORNER[0]) & (down < CORNER[1])).any())


def _named(provenance: Any, *keys: str) -> str:
    """A name out of the provenance, wherever its writer put it; empty when it holds none."""
    for key in keys:
        value = provenance.get(key)
        if isinstance(value, dict):
            value = value.get("name") or value.get("factory")
        if isinstance(value, str):
            return value.rsplit(":", 1)[-1]  # python:package.module:factory, torchvision:NAME
    return ""
