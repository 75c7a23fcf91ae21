"""What is wrong with a store, an atlas or a comparison, one sentence per damage; and what it holds, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import AtlasError, StoreError
from atlas.storage.atlas import (
    LEVEL_ARRAYS,
    SCORE_ARRAYS,
    STATISTICS_ARRAYS,
    TRUST_ARRAYS,
    Atlas,
    AtlasLayer,
    AtlasLevel,
)
from atlas.storage.atlas_header import HEADER, MARKS, SCHEMA, AtlasHeader, read_header
from atlas.storage.diff import describe_diff, is_diff, wrong_diff
from atlas.storage.files import hash_file
from atlas.storage.suspects import describe_suspects, wrong_suspects


def verify(path: str | Path) -> list[str]:
    """Check every hash and schema rule of a store, an atlas or a comparison; one sentence per damage, [] when whole.

    Raises StoreError when the path is neither.
    """
    folder = Path(path)
    if not _is_atlas(folder):
        from atlas.storage.store import verify_store  # h5py only where it is needed

        _need_store(folder)
        return verify_store(folder)
    header = read_header(folder)
    damage = []
    for name, digest in header.files.items():
        file = folder / name
        if not file.is_file():
            damage.append(f"{name} is missing")
        elif hash_file(file) != digest:
            damage.append(f"{name} has changed: its hash is not the recorded one")
    if not header.complete:  # what is written of the rest is recorded when it is whole
        what = "comparison" if folder.suffix == ".diff" else "atlas"
        return [*damage, f"the {what} is not finished: the same command as before goes on"]
    own = {HEADER, MARKS, *header.files}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name not in own and not file.name.startswith("."):
            damage.append(f"{name} is not recorded in {HEADER}: it is no part of the atlas")
    return damage or [*_wrong_content(folder), *(wrong_diff(folder) if is_diff(folder) else ())]


def describe(path: str | Path) -> dict[str, Any]:
    """Say what a store or an atlas holds and from what it was made, ready for JSON. Raises StoreError."""
    folder = Path(path)
    if not _is_atlas(folder):
        from atlas.storage.store import describe_store

        _need_store(folder)
        return describe_store(folder)
    header = read_header(folder)
    found = _describe_atlas(header) | {"suspects": describe_suspects(folder)}
    return describe_diff(folder, found) if is_diff(folder) else found


def _describe_atlas(header: AtlasHeader) -> dict[str, Any]:
    return {
        "kind": "atlas",
        "schema": SCHEMA,
        "name": header.name,
        "images": header.images,
        "skipped": len(header.skipped),
        "classes": list(header.classes),
        "outputs": list(header.outputs),
        "accuracy": header.accuracy,
        "complete": header.complete,
        "notes": list(header.notes),
        "layers": [
            {
                "name": layer.name,
                "samples": layer.samples,
                "pool": layer.pool,
                "channels": layer.channels,
                "states": dict(layer.states),
                "left_out": layer.left_out,
                "layout": dict(layer.layout),
                "quality": dict(layer.quality),
                "patches": layer.patches,
                "levels": [
                    {"level": level.level, "side": level.side, "cells": level.cells, "icons": level.icons}
                    for level in layer.levels
                ],
            }
            for layer in header.layers
        ],
        "fingerprint": header.fingerprint,
        "provenance": dict(header.provenance),
    }


def _is_atlas(folder: Path) -> bool:
    if not folder.is_dir():
        wrong = "is a file" if folder.exists() else "does not exist"
        raise StoreError(f"{folder} {wrong}: name the folder of a store, an atlas or a diff")
    return (folder / HEADER).exists() or folder.suffix in (".atlas", ".diff")


def _need_store(folder: Path) -> None:
    from atlas.storage.store import is_store

    if not is_store(folder):
        raise StoreError(
            f"{folder} is neither a store, an atlas nor a diff: name a folder made by 'atlas extract', 'import', "
            "'build' or 'compare'"
        )


def _wrong_content(folder: Path) -> list[str]:
    """Read everything that has the recorded hash: what then is wrong was written so."""
    damage = []
    try:
        atlas = Atlas(folder)
        images = atlas.images
        for values, bound, what in (
            (images.label, len(atlas.classes), "label"),
            (images.prediction, len(atlas.outputs), "prediction"),
        ):
            if len(values) and not (values.min() >= -1 and values.max() < max(bound, 1)):
                damage.append(f"images.parquet has a {what} that is no class")
        if len(set(images.ids)) != len(images):
            damage.append("images.parquet names an image twice")
        for layer in atlas.layers:
            damage += _wrong_layer(atlas, layer)
        damage += wrong_suspects(atlas)
    except AtlasError as error:
        damage.append(str(error))
    return damage


def _wrong_layer(atlas: Atlas, layer: AtlasLayer) -> list[str]:
    damage = []
    samples = layer.samples
    if len(samples) and not (samples.image.min() >= 0 and samples.image.max() < len(atlas.images)):
        damage.append(f"layers/{layer.index}/samples.parquet names an image that does not exist")
    recall = layer.sample_recall
    if ((recall < 0) | (recall > 1)).any():
        damage.append(f"layers/{layer.index}/quality.npz has a recall outside 0 to 1")
    for stored in layer.levels:
        trust = stored.layout_trust
        if ((trust < 0) | (trust > 1)).any():
            damage.append(f"layers/{layer.index}/quality.npz has a trust outside 0 to 1")
        where = f"layers/{layer.index}/levels/{stored.number}"
        level = stored.level
        stored.arrays(*LEVEL_ARRAYS, *STATISTICS_ARRAYS, *SCORE_ARRAYS, *TRUST_ARRAYS)
        if stored.side != level.side or len(level) != stored.header.cells:
            damage.append(f"{where}/cells.npz does not fit the side and cells of {HEADER}")
        elif len(level) and not (level.column.min() >= 0 and max(level.column.max(), level.row.max()) < level.side):
            damage.append(f"{where}/cells.npz has a cell outside the grid")
        elif level.start[0] != 0 or level.start[-1] != len(level.members) or (level.samples < 1).any():
            damage.append(f"{where}/cells.npz has cells whose samples do not add up")
        elif len(level.members) and not (level.members.min() >= 0 and level.members.max() < len(samples)):
            damage.append(f"{where}/cells.npz names samples that do not exist")
        elif int(stored.has_icon.sum()) != stored.header.icons:
            damage.append(f"{where}/cells.npz has other icons than {HEADER} counts")
        elif not _is_trust(stored):
            damage.append(f"{where}/cells.npz has icons nearest to cells that have none, or believed wrongly")
    return damage


def _is_trust(stored: AtlasLevel) -> bool:
    """Whether only icons are nearest to a cell, one with an icon, and what is believed to its own."""
    drawn, nearest, believable = stored.has_icon, stored.trust.nearest, stored.trust.believable
    cells = np.arange(len(stored))
    if len(nearest) and not (nearest.min() >= -1 and nearest.max() < len(stored)):
        return False
    # An icon whose activation is not finite is nearest to none.
    if not (drawn[nearest[nearest >= 0]].all() and (nearest[~drawn] == -1).all()):
        return False
    return bool((nearest[believable] == cells[believable]).all() and drawn[believable].all())
