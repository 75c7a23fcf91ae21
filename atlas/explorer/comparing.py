"""What a comparison adds to the explorer: the columns that colour its images, and the list of what changed."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import StoreError
from atlas.explorer.columns import Column, ColumnTable
from atlas.explorer.encode import number
from atlas.storage.atlas import Atlas
from atlas.storage.diff import ARRAYS, COLUMNS, DOCUMENT, FIGURES, Diff, is_diff, open_diff

FLIPS_TOLD = 6
CLASSES_TOLD = 10
BELOW_TOLD = 3
CELL_ARRAYS = ("overlap", "flips", "accuracy_one", "accuracy_other")
EFFECT_ARRAYS = ("effect_class", "effect_change")
SHOWN_FIRST = 9  # of a change's images: docs/formats.md promises that they show it best
NOT_BY_CHANCE = 0.05
CHANGE_WORDS = "Of an image's 10 nearest in either network, the share that are not among the nearest in both"
"""What the columns `change …` hold."""


def diff_columns(atlas: Atlas) -> tuple[Column, ...]:
    """The columns of a comparison's own table; none of any other atlas. Raises AtlasError for a damaged one."""
    if not (is_diff(atlas.path) and (atlas.path / COLUMNS).is_file()):  # an unfinished one has none yet
        return ()
    return tuple(_told_column(column) for column in ColumnTable(atlas.path / COLUMNS).join(atlas.images.ids).columns)


def _told_column(column: Column) -> Column:
    """With what its numbers mean, where they are how much of an image's neighbours changed."""
    name, _, rest = column.name.partition(" ")
    if name != "change" or column.values is None:
        return column
    beyond = ", less what retraining alone changes" if rest.startswith("beyond") else ""
    return replace(
        column, heading=f"{column.name}: share of the nearest that are others", words=f"{CHANGE_WORDS}{beyond}."
    )


@lru_cache(maxsize=64)  # cells of a level are asked for one by one
def _cell_arrays(atlas: Atlas, level: int) -> dict[str, NDArray[Any]] | None:
    if not (is_diff(atlas.path) and (atlas.path / ARRAYS).is_file()):
        return None
    diff = open_diff(atlas.path)
    if diff.document["of"] != "networks":
        return None
    arrays = {name: diff.array(f"cells_{level}_{name}") for name in (*CELL_ARRAYS, *EFFECT_ARRAYS)}
    shapes = {array.shape[:2] for array in arrays.values()}
    cells = {len(one) for layer in atlas.layers for one in layer.levels if one.number == level}
    if shapes != {(len(diff.document["networks"]) - 1, max(cells))} or len(cells) > 1:
        raise StoreError(f"{atlas.path / ARRAYS} is damaged: its cells of level {level} are {shapes}; compare again")
    return arrays


def cell_change(atlas: Atlas, layer: int, level: int, cell: int) -> dict[str, Any] | None:
    """What changed in a cell of a comparison of networks, from the first to this one; None for any other atlas.

    between: layers, the last being the other one of the first. accuracy: of both. flips: share of the images predicted
    otherwise. overlap: share of the neighbours in common. None each where unknown. effects: [output, change] of those
    whose mean effect changed most. Raises StoreError where damaged.
    """
    arrays = _cell_arrays(atlas, level)
    if arrays is None:
        return None
    other = layer or len(atlas.layers) - 1
    at = {name: number(arrays[name][other - 1, cell]) for name in CELL_ARRAYS}
    accuracy = [at["accuracy_one"], at["accuracy_other"]]
    effects = zip(*(arrays[name][other - 1, cell].tolist() for name in EFFECT_ARRAYS), strict=True)
    return {
        "between": [0, other],
        "accuracy": accuracy,
        "flips": at["flips"],
        "overlap": at["overlap"],
        "effects": [[output, number(value, 3)] for output, value in effects if output >= 0 and np.isfinite(value)],
    }


@lru_cache(maxsize=64)
def beyond_floor(atlas: Atlas, layer: int, level: int) -> NDArray[np.uint8] | None:
    """Whether each of a level's cells changed by more than the noise floor, uint8 (cells,): 1 yes, 0 no, 2 unknown.

    By the p-values of the comparison, adjusted over all cells; None where it has none, as without references.
    """
    if not (is_diff(atlas.path) and (atlas.path / ARRAYS).is_file()):
        return None
    diff = open_diff(atlas.path)
    at = next(one for one in atlas.layers[layer].levels if one.number == level)
    found = diff.array(f"cells_{level}_p")
    if diff.document["of"] == "networks":
        found = found[(layer or len(atlas.layers) - 1) - 1]
        if len(found) != len(at):
            raise StoreError(f"{atlas.path / ARRAYS} is damaged: level {level} has {len(found)} cells; compare again")
    else:  # of all cells of either dataset, where the layer has those of its own
        column, row = diff.array(f"cells_{level}_column"), diff.array(f"cells_{level}_row")
        by_place = dict(zip(zip(column.tolist(), row.tolist(), strict=True), found.tolist(), strict=True))
        places = zip(at.level.column.tolist(), at.level.row.tolist(), strict=True)
        found = np.array([by_place.get(place, np.nan) for place in places], np.float64)
    if not np.isfinite(found).any():
        return None
    return np.where(np.isfinite(found), found < NOT_BY_CHANCE, 2).astype(np.uint8)


def changed_images(atlas: Atlas, change: int) -> list[int]:
    """The images of a listed change that the atlas has, in stored order. Raises LookupError past the last change."""
    changes = () if (about := told(atlas)) is None else about["changes"]
    if not 0 <= change < len(changes):
        raise LookupError(f"no change {change}")
    images: list[int] = changes[change]["images"]
    return images


@lru_cache(maxsize=4)  # asked for at every page that is opened
def told(atlas: Atlas) -> dict[str, Any] | None:
    """A comparison as its page tells it, ready for JSON; None for any other atlas.

    layer: the word for what the layers are. figures: [name, value]. changes: kind, classes, text, p, count of images,
    the indices of those named whose id the atlas has, in the order of the document. floored: whether cells are known to
    be within the noise floor. tested: whether any were looked for; below: text and p of the
    nearest that are not listed. classes, flips: the document's, the first few. curve: of three networks or more, the
    figures of each but the first against the first and the one before. Raises StoreError for a damaged one.
    """
    if not (is_diff(atlas.path) and (atlas.path / DOCUMENT).is_file()):
        return None
    diff = open_diff(atlas.path)
    place = {name: image for image, name in enumerate(atlas.images.ids)}
    changes = [
        {
            "kind": change["kind"],
            "classes": list(change["classes"]),
            "text": change["text"],
            "p": change.get("p"),
            "count": change.get("count", len(change["images"])),
            "images": [place[name] for name in dict.fromkeys(change["images"]) if name in place],
        }
        for change in diff.changes
    ]
    return {
        "layer": "Network" if diff.document["of"] == "networks" else "Dataset",
        "figures": [[name, diff.document[name]] for name in FIGURES if diff.document.get(name) is not None],
        "floor": str(diff.document["noise_floor"].get("words", "")),
        "changes": changes,
        "tested": bool(diff.document.get("tested", True)),
        "floored": any(
            beyond_floor(atlas, layer.index, level.number) is not None
            for layer in atlas.layers
            for level in layer.levels[:1]
        ),
        **_lists(diff),
        "curve": [
            {name: point[name] for name in ("title", "first", "previous")} for point in diff.document.get("curve", ())
        ],
        "notes": list(diff.document["notes"]),
    }


def _lists(diff: Diff) -> dict[str, Any]:
    below = (diff.document.get("tested") or {}).get("below", ())
    classes, flips = diff.document["classes"], diff.document["flips"]
    return {
        "below": [{"text": change["text"], "p": change.get("p")} for change in below[:BELOW_TOLD]],
        "classes": [
            {name: row.get(name) for name in ("class", "overlap", "flips", "accuracy", "effects")}
            for row in classes[:CLASSES_TOLD]
        ],
        "moreClasses": max(0, len(classes) - CLASSES_TOLD),
        "flips": [
            {name: row.get(name) for name in ("from", "to", "images", "gained", "lost")} for row in flips[:FLIPS_TOLD]
        ],
        "moreFlips": sum(int(row["images"]) for row in flips[FLIPS_TOLD:]),
    }
