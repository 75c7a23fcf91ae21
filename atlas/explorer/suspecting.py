"""What an atlas's suspects add to the explorer: their list, what the panel of each shows, where they lie on the map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.errors import StoreError
from atlas.explorer.columns import CATEGORIES, UNKNOWN, Column
from atlas.explorer.encode import number, pack, picture_uri
from atlas.explorer.points import live_points
from atlas.storage.atlas import Atlas, AtlasLayer
from atlas.storage.suspects import Suspects, read_suspects

COVERED = 0.8  # share of a suspect's samples that its outlined cells hold: the last fifth may lie anywhere on the map
FAINT = (
    0.25  # of the fullest cell's samples: a cell with fewer is not outlined, as single ones all over the map are not
)
COLUMN = "suspect"
USUAL_TOLD = 32
WHOLE = [0, 0, 1, 1]  # a box that frames nothing
MOST_SAMPLES = 2000
LARGEST_SIDE = 512  # of a suspect's icon or cue, in pixels
INTERVALS = ("logit", "control", "accuracy", "accuracy_control", "control_spread")


@lru_cache(maxsize=4)  # asked for at every page that is opened
def _suspects(atlas: Atlas) -> Suspects | None:
    return read_suspects(atlas)


def told_suspects(atlas: Atlas) -> dict[str, Any] | None:
    """The list of suspects as a page tells it, ready for JSON; None where none were looked for.

    layer: index of the layer that they were found on. tested: whether the network was at hand. listed: of each its id,
    kind, score, p, label and feeds (names, or None), text, both verdicts and why, and how many images are members.
    Raises StoreError for damaged ones.
    """
    found = _suspects(atlas)
    if found is None:
        return None
    return {
        "layer": _own_layer(atlas, found),
        "tested": bool(found.document["tested"]),
        "notes": [str(note) for note in found.document["notes"]],
        "listed": [_told(atlas, suspect) for suspect in found.listed],
    }


def _told(atlas: Atlas, suspect: Mapping[str, Any]) -> dict[str, Any]:
    keys = {"why_used": "whyUsed", "why_spurious": "whySpurious"}
    texts = {keys.get(key, key): suspect[key] for key in ("id", "kind", "used", "spurious", "text", *keys)}
    return texts | {
        "score": number(suspect["score"], 3),
        "p": number(suspect["p"]),
        "label": _name(atlas.classes, suspect.get("label")),
        "feeds": _name(atlas.outputs, suspect.get("feeds")),
        "images": len(suspect["images"]),
    }


def _name(names: Sequence[str], index: Any) -> str | None:
    return names[index] if isinstance(index, int) and 0 <= index < len(names) else None


def _own_layer(atlas: Atlas, found: Suspects) -> int:
    names = [layer.name for layer in atlas.layers]
    if found.document["layer"] not in names:
        raise StoreError(
            f"{found.path} has suspects of a layer that it has not: 'atlas suspects --force' finds them anew"
        )
    return names.index(found.document["layer"])


def suspect_columns(atlas: Atlas) -> tuple[Column, ...]:
    """A column that says which suspect an image is in, the first of several.

    Its values are the suspects in order, so that code i is suspect i, of the first CATEGORIES. None without suspects,
    and with damaged ones, of which the page's header speaks.
    """
    try:
        told = told_suspects(atlas)
        listed = [] if told is None else told["listed"][:CATEGORIES]
        members = [np.array(_members(atlas, index), np.int64) for index in range(len(listed))]
    except StoreError:
        return ()
    codes = np.full(len(atlas.images), UNKNOWN, np.uint8)
    names = []
    for index, (suspect, images) in enumerate(zip(listed, members, strict=True)):
        codes[images[codes[images] == UNKNOWN]] = index
        classes = dict.fromkeys(name for name in (suspect["label"], suspect["feeds"]) if name is not None)
        names.append(f"{index + 1} {' → '.join(classes)}".strip())
    return (Column(COLUMN, codes, tuple(names)),) if names else ()


def _members(atlas: Atlas, index: int) -> list[int]:
    found = _suspects(atlas)
    images: list[int] = [] if found is None else found.listed[index]["images"]
    if any(image >= len(atlas.images) for image in images):
        raise StoreError(
            f"{atlas.path} has suspects of images that it has not: 'atlas suspects --force' finds them anew"
        )
    return images


def suspect_detail(atlas: Atlas, index: int, *, pictures: bool) -> dict[str, Any]:
    """What one suspect's panel shows, ready for JSON. Raises LookupError past the last one.

    images: all members, most typical first, with their `membership`; boxes: of the first ones where the cue is, None
    where unknown, and in all of them where the cue covers the whole picture (`whole`); usual: images of the class
    outside. aspects: width over height of each image whose picture is shown,
    by its index. tests, figures: as stored. inside, outside: icons, cue: a picture, as data URIs or None; without
    pictures of the dataset there is no cue.
    """
    found = _suspects(atlas)
    if found is None or not 0 <= index < len(found.listed):
        raise LookupError(f"no suspect {index}")
    suspect = found.listed[index]
    images = np.array(_members(atlas, index), np.int64)
    usual = [int(image) for image in suspect["usual"][:USUAL_TOLD]]
    boxes = [None if box == WHOLE else _box(box) for box in suspect["boxes"][: len(images)]]
    shown = [*images[: len(boxes)].tolist(), *usual]
    if any(not 0 <= image < len(atlas.images) for image in usual):
        raise StoreError(
            f"{atlas.path} has suspects of images that it has not: 'atlas suspects --force' finds them anew"
        )
    icons = suspect.get("icons") or {}
    width, height = atlas.images.width, atlas.images.height
    return {
        "images": images.tolist(),
        "membership": [number(value, 3) for value in found.array("membership")[index][images]],
        "boxes": boxes,
        "usual": usual,
        "whole": suspect.get("box") == WHOLE,
        "aspects": {str(image): number(int(width[image]) / max(1, int(height[image])) or 1.0) for image in shown},
        "figures": {str(name): number(value) for name, value in suspect["figures"].items()},
        "tests": [_tested(test) for test in suspect["tests"]],
        "inside": _picture(atlas, icons.get("inside")),
        "outside": _picture(atlas, icons.get("outside")),
        "cue": _picture(atlas, suspect.get("cue")) if pictures else None,
    }


def _box(box: Any) -> list[float | None] | None:
    return [number(edge) for edge in box] if isinstance(box, list) and len(box) == 4 else None


def _tested(test: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"name": str(test["name"])}
    for name in INTERVALS:
        values = test.get(name)
        told[name] = [number(value) for value in values] if isinstance(values, list) else None
    return told | {name: int(test.get(name) or 0) for name in ("images", "controls")}


def _picture(atlas: Atlas, name: Any) -> str | None:
    """A picture of the suspects as a data URI; None for a file that the atlas does not record."""
    if not isinstance(name, str) or name not in atlas.header.files:
        return None
    try:
        with Image.open(Path(atlas.path) / name, formats=("PNG",)) as opened:
            if max(opened.size) > LARGEST_SIDE:
                return None
            return picture_uri(np.asarray(opened.convert("RGB")))
    except (OSError, ValueError) as error:
        raise StoreError(f"{atlas.path / name} is damaged ({error}): 'atlas suspects --force' draws it anew") from None


def outlined(atlas: Atlas, layer: int) -> dict[str, Any]:
    """Where all suspects lie on a layer's map, ready for JSON. Raises LookupError for a layer that is not there.

    suspects: of each, `x` and `y`, its samples' places as packed uint16 of the unit square (on the layer that it was
    found on its own samples, where it has any, else all samples of its images), `squares`, by level what
    `fullest_cells` gives, and `view`, left, bottom, right, top of the samples in those of the coarsest level, None
    where there are none.
    """
    found = _suspects(atlas)
    if found is None or not 0 <= layer < len(atlas.layers):
        raise LookupError(f"no suspects on layer {layer}")
    own = layer == _own_layer(atlas, found)
    at = atlas.layers[layer]
    on_map = np.zeros(len(at.samples), bool)
    on_map[live_points(at.samples.positions, at.samples.state)] = True
    return {"suspects": [_placed(at, on_map, suspect, own) for suspect in found.listed]}


def _placed(layer: AtlasLayer, on_map: NDArray[np.bool_], suspect: Mapping[str, Any], own: bool) -> dict[str, Any]:
    rows = samples_of(layer, on_map, suspect, own)[:MOST_SAMPLES]
    places = np.clip(layer.samples.positions[rows], 0, 1)
    x, y = np.rint(places * 65535).astype(np.uint16).T
    squares = {str(level.number): fullest_cells(places, level.side) for level in layer.levels}
    side = layer.levels[0].side if layer.levels else 1
    shown = np.isin(_squares(places, side), np.array(fullest_cells(places, side), np.int64).reshape(-1, 2) @ (1, side))
    view = None
    if shown.any():
        view = [number(edge) for edge in (*places[shown].min(axis=0), *places[shown].max(axis=0))]
    return {"x": pack(x), "y": pack(y), "squares": squares, "view": view}


def samples_of(
    layer: AtlasLayer, on_map: NDArray[np.bool_], suspect: Mapping[str, Any], own: bool
) -> NDArray[np.int64]:
    """Rows of a layer that belong to a suspect, of those on the map, (samples,); own: its `rows` are this layer's."""
    samples = layer.samples
    if own and suspect["rows"]:
        rows = np.array(suspect["rows"], np.int64)
        if rows.min() < 0 or rows.max() >= len(samples):
            raise StoreError(f"layer {layer.name} has suspects of samples that it has not: find the suspects anew")
        return rows[on_map[rows]]
    order = {image: place for place, image in enumerate(suspect["images"])}
    member = np.zeros(samples.image.max(initial=max(suspect["images"], default=0)) + 1, bool)
    member[suspect["images"]] = True
    rows = np.flatnonzero(on_map & member[samples.image])
    return rows[np.argsort([order[image] for image in samples.image[rows].tolist()], kind="stable")]


def fullest_cells(places: NDArray[np.floating], side: int) -> list[int]:
    """[column, row, column, row, ...] of the cells of a grid where most of some places are, the fullest first.

    The fewest that hold COVERED of them, but none with less than FAINT of the fullest one's.
    """
    if not len(places):
        return []
    cells, counts = np.unique(_squares(places, side), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    enough = int(np.searchsorted(np.cumsum(counts[order]), COVERED * len(places))) + 1
    chosen = order[:enough]
    chosen = cells[chosen[counts[chosen] >= FAINT * counts[order[0]]]]
    flat: list[int] = np.stack([chosen % side, chosen // side], axis=1).reshape(-1).tolist()
    return flat


def _squares(places: NDArray[np.floating], side: int) -> NDArray[np.int64]:
    """The cell of each place, (n, 2) -> (n,): column plus side times row."""
    square = np.minimum(np.floor(places * side), side - 1).astype(np.int64)
    cells: NDArray[np.int64] = square[:, 0] + side * square[:, 1]
    return cells
