"""A planted comparison of two networks that answer differently."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from planted import write_planted_atlas

from atlas.storage.atlas import Atlas, open_atlas
from atlas.storage.atlas_header import HEADER, layer_folder
from atlas.storage.diff import write_diff_files

CHANGED = [17, 3, 24, 10, 31]
"""Images of the first change, what shows it best first; the second network calls them another class than the first."""


def write_planted_diff(folder: Path) -> Atlas:
    """Two networks on 200 images of 5 classes, 2 samples each.

    The first answers as the atlas's images say. The second is sure of class (label + 2) % 5 in every third image and of
    the CHANGED ones, with confidence 0.5 there and 0.95 elsewhere.
    """
    write_planted_atlas(folder, images=200, samples_per_image=2, levels=1, layers=2)
    share_the_map(folder)
    atlas = open_atlas(folder)
    images, ids = atlas.images, atlas.images.ids
    odd = np.isin(np.arange(200), CHANGED) | (np.arange(200) % 3 == 0)
    other = np.where(odd, (np.maximum(images.label, 0) + 2) % 5, images.prediction).astype(np.int32)
    sure = np.where(odd, 0.5, 0.95).astype(np.float32)
    arrays: dict[str, Any] = {
        "overlap": np.zeros((1, 400), np.float32),
        "prediction": np.stack([images.prediction, other]),
        "confidence": np.stack([images.confidence, sure]),
        **cell_figures(atlas),
    }
    columns = {"change": [f"{i / 200:.3f}" for i in range(200)], "verdict": ["same", "other"] * 100}
    names = write_diff_files(folder, _document(list(ids)), arrays, ids, columns)
    assert names
    return open_atlas(folder)


def share_the_map(folder: Path) -> None:
    """Make all layers' maps and cells those of the first, as a comparison's are."""
    header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
    one, files = layer_folder(0), header["files"]
    for index, layer in enumerate(header["layers"][1:], start=1):
        two = layer_folder(index)
        shutil.rmtree(folder / two)
        shutil.copytree(folder / one, folder / two)
        header["layers"][index] = {**header["layers"][0], "index": index, "name": layer["name"]}
        kept = {name: digest for name, digest in files.items() if not name.startswith(f"{two}/")}
        files = kept | {name.replace(one, two, 1): kept[name] for name in kept if name.startswith(f"{one}/")}
    (folder / HEADER).write_text(json.dumps({**header, "files": files}), encoding="utf-8")


def cell_figures(atlas: Atlas) -> dict[str, Any]:
    """Planted figures of the cells of level 0: the overlap rises from 0 to 1 from cell to cell, the p-value with it.

    The effect on class 1 fell by 0.5 in every cell and that on class 2 rose by 0.25; every seventh cell has no p-value.
    """
    shape = (len(atlas.layers) - 1, len(atlas.layers[0].levels[0]))
    rising = np.linspace(0, 1, shape[1], dtype=np.float32)
    effect_class, change = np.full((*shape, 5), -1, np.int32), np.full((*shape, 5), np.nan, np.float32)
    effect_class[..., :2], change[..., :2] = (1, 2), (-0.5, 0.25)
    p = np.tile(rising, (shape[0], 1))
    p[:, ::7] = np.nan
    return {
        "cells_0_effect_class": effect_class,
        "cells_0_effect_change": change,
        "cells_0_p": p,
        "cells_0_overlap": np.tile(rising, (shape[0], 1)),
        "cells_0_flips": np.full(shape, 0.41, np.float32),
        "cells_0_accuracy_one": np.full(shape, 0.82, np.float32),
        "cells_0_accuracy_other": np.full(shape, 0.59, np.float32),
    }


def _document(ids: list[str]) -> dict[str, Any]:
    texts = [("vanished", "5 pictures <b>dissolved</b>", CHANGED, 12), ("merged", "Two classes became one", [1, 2], 2)]
    return {
        "kind": "diff",
        "schema": 1,
        "of": "networks",
        "same": False,
        "networks": [{"title": "layer1"}, {"title": "layer2"}],
        "cka": 0.9,
        "procrustes": 0.1,
        "neighbor_overlap": 0.6,
        "intervals": {},
        "noise_floor": {"kind": "sampling", "words": "as other images would move them"},
        "changes": [
            {
                "kind": kind, "score": 1.0, "p": 0.003, "images": [ids[i] for i in images], "count": count,
                "classes": ["a"], "before": 0.87, "after": 0.5, "text": text,
            }
            for kind, text, images, count in texts
        ],
        "classes": [
            {
                "class": f"class {c}", "images": 40, "overlap": c / 10, "denser": 0.0, "shift": 0.0, "flips": 0.3,
                "accuracy": [0.9, 0.6],
            }
            for c in range(5)
        ],
        "flips": [
            {"from": f"class {c}", "to": "class 1", "images": 20 - c, "gained": 1, "lost": 9, "examples": ids[:2]}
            for c in (0, 2, 3, 4)
        ],
        "notes": ["A note."],
    }  # fmt: skip
