"""What the browser asks for: small documents named by a kind and a few whole numbers, made from an atlas on demand.

The same shards serve all three homes: the server sends them one by one, a site holds them as scripts, a notebook
carries as many as fit. Kinds and their numbers:

    tile/L/z/tx/ty    8 x 8 cells: counts, labels and effects of each, and the sheet of their icons
    real/L/z/tx/ty    each cell's best real patch, by the same slots
    detail/L/z/tx/ty  scores, effects, confusions and real patches of the same cells
    patch/L/n         page n of the layer's real patches, 16 on each
    cells/L/z         what colours and filters need of all cells of a level
    effect/L/z/g      effects of classes 16 g to 16 g + 15 in all cells of a level
    points/L/s/tx/ty  samples' places and groups: a tile of a slice of them, see points.py
    density/L         how many samples fall where: a grid over the whole map
    tally/L           samples by label, prediction and confidence
    places/L/n        where on the map the samples of images 64 n to 64 n + 63 lie
    names/n           ids of images 4096 n to 4096 n + 4095
    census/L          each image's label, prediction, confidence and number of samples
    column/c          column c of the user's own: a code for each image
    values/c          the numbers themselves, of a column of numbers
    image/n           ids, labels, predictions and thumbnails of the same images; of a comparison, `answers` holds
                      predictions and confidences by layer
    suspect/i         suspect i: its members, boxes, icons, figures and causal test
    strip/i           of a comparison, the pictures that show change i best
    outlined/L        where all suspects lie on a layer's map

L is a layer's index, z a level's number; tx counts from the left, ty from the bottom. In a sheet of a tile the slots
run row by row from the TOP left, as in any picture, so the highest row of cells comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.explorer.answers import Answers, answers_by_layer
from atlas.explorer.cells import LevelCells
from atlas.explorer.columns import Column
from atlas.explorer.comparing import SHOWN_FIRST, beyond_floor, cell_change, changed_images, diff_columns, told
from atlas.explorer.confusions import confusions, is_wrong
from atlas.explorer.encode import contact_sheet, number, pack, picture_uri
from atlas.explorer.patchbook import PAGE, PatchBook
from atlas.explorer.points import MAX_POINTS, PointBook, percents, tally
from atlas.explorer.shelf import Shelf
from atlas.explorer.suspecting import outlined, suspect_columns, suspect_detail, told_suspects
from atlas.storage.atlas import Atlas, AtlasLayer, AtlasLevel, ImageColumns
from atlas.storage.sheets import TILE_SIDE

IMAGES_PER_SHARD = 64
IDS_PER_SHARD = 4096

Key = tuple[str, tuple[int, ...]]


class Shards:
    """All shards of one atlas; with pictures=False none holds a picture of the dataset.

    limit: how many samples are drawn at once. columns: the user's own, of the atlas's images; a comparison has some of
    its own before them, and so has an atlas with suspects.
    """

    def __init__(
        self, atlas: Atlas, *, pictures: bool = True, limit: int = MAX_POINTS, columns: tuple[Column, ...] = ()
    ) -> None:
        self.atlas, self.pictures, self.limit = atlas, pictures, limit
        self.columns = (*diff_columns(atlas), *suspect_columns(atlas), *columns)
        self._makers: dict[str, tuple[int, Callable[..., dict[str, Any]]]] = {
            "tile": (4, self._tile),
            "detail": (4, self._detail),
            "cells": (2, self._table),
            "effect": (3, self._effects),
            "points": (4, self._points),
            "density": (1, self._density),
            "tally": (1, self._tally),
            "places": (2, self._places),
            "names": (1, self._names),
            "image": (1, self._images),
            "column": (1, self._column),
            "values": (1, self._values),
            "census": (1, self._census),
            "suspect": (1, self._suspect),
            "outlined": (1, self._outlined),
        }
        if pictures:
            self._makers |= {"real": (4, self._real), "patch": (2, self._patch), "strip": (1, self._strip)}
        self._cells = lru_cache(maxsize=32)(LevelCells)

    @cached_property
    def books(self) -> tuple[PatchBook, ...]:
        """Each layer's patches in the order they are sent."""
        return tuple(PatchBook(layer) for layer in self.atlas.layers)

    @cached_property
    def points(self) -> tuple[PointBook, ...]:
        """Each layer's samples by slice and tile."""
        return tuple(PointBook(layer.samples, limit=self.limit) for layer in self.atlas.layers)

    @cached_property
    def answers(self) -> tuple[Answers, ...]:
        """What each layer's network says of the images."""
        return answers_by_layer(self.atlas)

    @cached_property
    def shelves(self) -> tuple[Shelf, ...]:
        """Each layer's patches, encoded once."""
        return tuple(Shelf(layer.patch, layer.header.patches) for layer in self.atlas.layers)

    def value(self, kind: str, *numbers: int) -> dict[str, Any]:
        """One shard, ready for JSON. Raises LookupError for a kind or number that this atlas does not have."""
        count, make = self._makers.get(kind, (0, None))
        if make is None or len(numbers) != count:
            raise LookupError(f"no shard {kind} of {len(numbers)} numbers")
        return make(*numbers)

    def all_keys(self) -> Iterator[Key]:
        """Every shard of the atlas, what is looked at first coming first."""
        layers = self.atlas.layers
        for index, column in enumerate(self.columns):
            yield "column", (index,)
            if column.values is not None:
                yield "values", (index,)
        deepest = max((len(layer.levels) for layer in layers), default=0)
        for depth in range(deepest):
            for layer in layers:
                if depth < len(layer.levels):
                    yield from self._level_keys(layer, layer.levels[depth])
                if depth == 0:
                    yield "points", (layer.index, 0, 0, 0)
                    yield "density", (layer.index,)
                    yield "tally", (layer.index,)
                    if self.columns and len(self.points[layer.index].ends) > 1:
                        yield "census", (layer.index,)
        changes = (told(self.atlas) or {"changes": ()})["changes"] if self.pictures else ()
        yield from (("strip", (index,)) for index in range(len(changes)))
        yield from self._suspect_keys()
        for layer in layers if self.pictures else ():
            for page in range(self.books[layer.index].pages):
                yield "patch", (layer.index, page)
        for layer in layers:
            yield from (("points", (layer.index, *key)) for key in self.points[layer.index].tiles()[1:])
        yield from (("names", (shard,)) for shard in range(-(-len(self.atlas.images) // IDS_PER_SHARD)))
        for shard in range(-(-len(self.atlas.images) // IMAGES_PER_SHARD)):
            yield "image", (shard,)
            yield from (("places", (layer.index, shard)) for layer in layers)

    def _level_keys(self, layer: AtlasLayer, level: AtlasLevel) -> Iterator[Key]:
        cells = self.cells(layer.index, level.number)
        yield "cells", (layer.index, level.number)
        yield from (("effect", (layer.index, level.number, group)) for group in range(cells.effect_groups))
        for tx, ty in cells.tiles:
            for kind in ("tile", "real", "detail") if self.pictures else ("tile", "detail"):
                yield kind, (layer.index, level.number, tx, ty)

    def _suspect_keys(self) -> Iterator[Key]:
        found = told_suspects(self.atlas)
        if found is not None and found["listed"]:
            yield from (("outlined", (layer.index,)) for layer in self.atlas.layers)
            yield from (("suspect", (index,)) for index in range(len(found["listed"])))

    def cells(self, layer: int, level: int) -> LevelCells:
        """A level's cells by tile. Raises LookupError where the atlas has no such layer or level."""
        at = _one_of(self.atlas.layers, layer, "layer")
        for candidate in at.levels:
            if candidate.number == level:
                return self._cells(candidate)
        raise LookupError(f"layer {layer} has no level {level}")

    def _tile(self, layer: int, level: int, tx: int, ty: int) -> dict[str, Any]:
        cells = self.cells(layer, level)
        return {
            "cells": [cells.summary(cell) for cell in cells.in_tile(tx, ty)],
            "icons": picture_uri(cells.level.tile(tx, ty)) if (tx, ty) in cells.level.tiles else None,
        }

    def _real(self, layer: int, level: int, tx: int, ty: int) -> dict[str, Any]:
        cells = self.cells(layer, level)
        best = {cells.slot(cell): int(cells.level.patches[cell, 0]) for cell in cells.in_tile(tx, ty)}
        there = {slot: patch for slot, patch in best.items() if patch >= 0}
        uris = self.shelves[layer].uris(there.values())
        return {"pictures": {str(slot): uri for slot, uri in zip(there, uris, strict=True)}}

    def _detail(self, layer: int, level: int, tx: int, ty: int) -> dict[str, Any]:
        cells = self.cells(layer, level)
        return {
            "cells": {str(cells.slot(cell)): self._cell_detail(layer, cells, cell) for cell in cells.in_tile(tx, ty)}
        }

    def _cell_detail(self, layer: int, cells: LevelCells, cell: int) -> dict[str, Any]:
        patches = cells.level.patches[cell]
        cosines = cells["patch_cosine"][cell]
        found = zip(patches.tolist(), cosines.tolist(), strict=True)
        return {
            "cell": cell,
            "spread": number(cells["spread"][cell]),
            "effects": cells.effects(cell),
            "effectSamples": int(cells["effect_samples"][cell]),
            "near": cells.nearest(cell),
            "confusions": self._confusions(layer, cells, cell),
            "kept": number(cells.level.layout_trust[cell], 3),
            "change": cell_change(self.atlas, layer, cells.level.number, cell),
            "patches": [self._patch_record(layer, patch, cosine) for patch, cosine in found if patch >= 0],
        }

    def _confusions(self, layer: int, cells: LevelCells, cell: int) -> dict[str, Any] | None:
        if not self.atlas.aligned:  # then labels and outputs are numbers of different classes
            return None
        level = cells.level.level
        members = level.members[level.start[cell] : level.start[cell + 1]]
        of = self.atlas.layers[layer].samples.image[members]
        distinct = np.unique(of[self._wrong[layer][of]])  # the wrong ones alone: a coarse cell has up to all samples
        return confusions(self.atlas.images.label[distinct], self.answers[layer].prediction[distinct])

    @cached_property
    def _wrong(self) -> list[NDArray[np.bool_]]:
        return [is_wrong(self.atlas.images.label, answers.prediction) for answers in self.answers]

    def _patch_record(self, layer: int, patch: int, cosine: float) -> dict[str, Any]:
        images, samples, answers = self.atlas.images, self.atlas.layers[layer].samples, self.answers[layer]
        row = int(self.atlas.layers[layer].patch_rows[patch])
        image = int(samples.image[row])
        return {
            "page": [int(n) for n in divmod(int(self.books[layer].place[patch]), PAGE)],
            "image": image,
            "id": images.ids[image],
            "label": int(images.label[image]),
            "prediction": int(answers.prediction[image]),
            "confidence": number(answers.confidence[image]),
            "aspect": number(int(images.width[image]) / max(1, int(images.height[image])) or 1.0),
            "box": [number(edge) for edge in samples.box[row]],
            "cosine": number(cosine, 3),
        }

    def _patch(self, layer: int, page: int) -> dict[str, Any]:
        _one_of(self.atlas.layers, layer, "layer")
        if not 0 <= page < self.books[layer].pages:
            raise LookupError(f"layer {layer} has no page {page} of patches")
        return {"pictures": self.shelves[layer].uris(self.books[layer].page(page).tolist())}

    def _table(self, layer: int, level: int) -> dict[str, Any]:
        table = self.cells(layer, level).table()
        beyond = beyond_floor(self.atlas, layer, level)
        return table if beyond is None else table | {"beyond": pack(beyond)}

    def _effects(self, layer: int, level: int, group: int) -> dict[str, Any]:
        return self.cells(layer, level).effects_of(group)

    def _points(self, layer: int, slice_: int, tx: int, ty: int) -> dict[str, Any]:
        samples, images = _one_of(self.atlas.layers, layer, "layer").samples, self.atlas.images
        rows = self.points[layer].rows(slice_, tx, ty)
        image, answers = samples.image[rows], self.answers[layer]
        places = np.rint(np.clip(samples.positions[rows], 0, 1) * 65535).astype(np.uint16)
        return {
            "row": pack(rows.astype(np.uint32)),
            "x": pack(places[:, 0]),
            "y": pack(places[:, 1]),
            "image": pack(image.astype(np.uint32)),
            "label": pack(images.label[image].astype(np.int32)),
            "prediction": pack(answers.prediction[image].astype(np.int32)),
            "confidence": pack(percents(answers.confidence[image])),
        }

    def _density(self, layer: int) -> dict[str, Any]:
        _one_of(self.atlas.layers, layer, "layer")
        return {"counts": pack(self.points[layer].density())}

    def _tally(self, layer: int) -> dict[str, Any]:
        samples = _one_of(self.atlas.layers, layer, "layer").samples
        label, prediction, percent, count = tally(
            samples.image[self.points[layer].order], self.atlas.images.label, self.answers[layer]
        ).T
        return {
            "label": pack(label.astype(np.int32)),
            "prediction": pack(prediction.astype(np.int32)),
            "confidence": pack(percent.astype(np.uint8)),
            "samples": pack(count.astype(np.uint32)),
        }

    def _census(self, layer: int) -> dict[str, Any]:
        samples, images = _one_of(self.atlas.layers, layer, "layer").samples, self.atlas.images
        live = np.bincount(samples.image[self.points[layer].order], minlength=len(images))
        answers = self.answers[layer]
        return {
            "label": pack(images.label.astype(np.int32)),
            "prediction": pack(answers.prediction.astype(np.int32)),
            "confidence": pack(percents(answers.confidence)),
            "samples": pack(live.astype(np.uint32)),
        }

    def _places(self, layer: int, shard: int) -> dict[str, Any]:
        _one_of(self.atlas.layers, layer, "layer")
        first, last = self._image_range(shard)
        rows, image = self._by_image[layer]
        start, stop = np.searchsorted(image, [first, last])
        here = self.atlas.layers[layer].samples.positions[rows[start:stop]]
        return {
            "image": image[start:stop].tolist(),
            "x": [number(value) for value in here[:, 0]],
            "y": [number(value) for value in here[:, 1]],
        }

    @cached_property
    def _by_image(self) -> list[tuple[NDArray[np.int64], NDArray[np.int32]]]:
        """For each layer, its live sample rows by image, and their images."""
        found = []
        for layer, book in zip(self.atlas.layers, self.points, strict=True):
            rows = np.sort(book.order)
            rows = rows[np.argsort(layer.samples.image[rows], kind="stable")]
            found.append((rows, layer.samples.image[rows]))
        return found

    def _image_range(self, shard: int) -> tuple[int, int]:
        first, last = shard * IMAGES_PER_SHARD, min(len(self.atlas.images), (shard + 1) * IMAGES_PER_SHARD)
        if not 0 <= first < last:
            raise LookupError(f"no images {first} and after")
        return first, last

    def _names(self, shard: int) -> dict[str, Any]:
        first = shard * IDS_PER_SHARD
        if not 0 <= first < len(self.atlas.images):
            raise LookupError(f"no images {first} and after")
        return {"ids": self.atlas.images.ids[first : first + IDS_PER_SHARD]}

    def _column(self, column: int) -> dict[str, Any]:
        if not 0 <= column < len(self.columns):
            raise LookupError(f"no column {column}")
        return {"codes": pack(self.columns[column].codes)}

    def _values(self, column: int) -> dict[str, Any]:
        values = self.columns[column].values if 0 <= column < len(self.columns) else None
        if values is None:
            raise LookupError(f"no column {column} of numbers")
        return {"values": pack(values)}

    def _strip(self, change: int) -> dict[str, Any]:
        images = changed_images(self.atlas, change)[:SHOWN_FIRST]
        pictures = {slot: self.atlas.thumbnail(image) for slot, image in enumerate(images)}
        sheet = picture_uri(contact_sheet(pictures, 3, self.atlas.header.thumbnail_size))
        return {"images": images, "ids": [self.atlas.images.ids[image] for image in images], "sheet": sheet}

    def _suspect(self, index: int) -> dict[str, Any]:
        return suspect_detail(self.atlas, index, pictures=self.pictures)

    def _outlined(self, layer: int) -> dict[str, Any]:
        return outlined(self.atlas, layer)

    def _images(self, shard: int) -> dict[str, Any]:
        images = self.atlas.images
        first, last = self._image_range(shard)
        sheet = None
        if self.pictures:
            pictures = {image - first: self.atlas.thumbnail(image) for image in range(first, last)}
            sheet = picture_uri(contact_sheet(pictures, TILE_SIDE, self.atlas.header.thumbnail_size))
        told = {"ids": images.ids[first:last], "label": images.label[first:last].tolist(), "sheet": sheet}
        if any(answers.own for answers in self.answers):
            return told | {"answers": [_of_images(answers, first, last) for answers in self.answers]}
        return told | _of_images(images, first, last)


def _of_images(answers: Answers | ImageColumns, first: int, last: int) -> dict[str, Any]:
    return {
        "prediction": answers.prediction[first:last].tolist(),
        "confidence": [number(value) for value in answers.confidence[first:last]],
    }


def _one_of(layers: tuple[AtlasLayer, ...], index: int, what: str) -> AtlasLayer:
    if not 0 <= index < len(layers):
        raise LookupError(f"no {what} {index}")
    return layers[index]
