"""What the browser asks for: small documents named by a kind and a few whole numbers, made from an atlas on demand.

The same shards serve all three homes: the server sends them one by one, a site holds them as scripts, a notebook
carries as many as fit. Kinds and their numbers:

    tile/L/z/tx/ty    8 x 8 cells: counts, labels and effects of each, and the sheet of their icons
    real/L/z/tx/ty    each cell's best real patch, by the same slots
    detail/L/z/tx/ty  scores, effects and real patches of the same cells
    patch/L/n         page n of the layer's real patches, 16 on each
    points/L          the samples' places and groups, at most MAX_POINTS
    image/n           ids, labels, predictions and thumbnails of images 64 n to 64 n + 63

L is a layer's index, z a level's number; tx counts from the left, ty from the bottom. In a sheet of a tile the slots
run row by row from the TOP left, as in any picture, so the highest row of cells comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.explorer.encode import contact_sheet, number, pack, picture_uri
from atlas.explorer.patchbook import PAGE, PatchBook
from atlas.explorer.shelf import Shelf
from atlas.records import STATES
from atlas.storage.atlas import Atlas, AtlasLayer, AtlasLevel
from atlas.storage.sheets import TILE_SIDE

MAX_POINTS = 50_000
IMAGES_PER_SHARD = 64
TOP_EFFECTS = 3
UNKNOWN_CONFIDENCE = 255

Key = tuple[str, tuple[int, ...]]


class Shards:
    """All shards of one atlas. With pictures=False none holds a picture of the dataset."""

    def __init__(self, atlas: Atlas, *, pictures: bool = True) -> None:
        self.atlas, self.pictures = atlas, pictures
        self._makers: dict[str, tuple[int, Callable[..., dict[str, Any]]]] = {
            "tile": (4, self._tile),
            "detail": (4, self._detail),
            "points": (1, self._points),
            "image": (1, self._images),
        }
        if pictures:
            self._makers |= {"real": (4, self._real), "patch": (2, self._patch)}
        self._cells = lru_cache(maxsize=32)(LevelCells)

    @cached_property
    def books(self) -> tuple[PatchBook, ...]:
        """Each layer's patches in the order they are sent."""
        return tuple(PatchBook(layer) for layer in self.atlas.layers)

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
        deepest = max((len(layer.levels) for layer in layers), default=0)
        for depth in range(deepest):
            for layer in layers:
                if depth < len(layer.levels):
                    yield from self._level_keys(layer, layer.levels[depth])
                if depth == 0:
                    yield "points", (layer.index,)
        for layer in layers if self.pictures else ():
            for page in range(self.books[layer.index].pages):
                yield "patch", (layer.index, page)
        for shard in range(-(-len(self.atlas.images) // IMAGES_PER_SHARD)):
            yield "image", (shard,)

    def _level_keys(self, layer: AtlasLayer, level: AtlasLevel) -> Iterator[Key]:
        for tx, ty in self.cells(layer.index, level.number).tiles:
            for kind in ("tile", "real", "detail") if self.pictures else ("tile", "detail"):
                yield kind, (layer.index, level.number, tx, ty)

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
            "scores": cells.scores(cell),
            "effects": cells.effects(cell),
            "effectSamples": int(cells["effect_samples"][cell]),
            "patches": [self._patch_record(layer, patch, cosine) for patch, cosine in found if patch >= 0],
        }

    def _patch_record(self, layer: int, patch: int, cosine: float) -> dict[str, Any]:
        images, samples = self.atlas.images, self.atlas.layers[layer].samples
        row = int(self.atlas.layers[layer].patch_rows[patch])
        image = int(samples.image[row])
        return {
            "page": [int(n) for n in divmod(int(self.books[layer].place[patch]), PAGE)],
            "image": image,
            "id": images.ids[image],
            "label": int(images.label[image]),
            "prediction": int(images.prediction[image]),
            "confidence": number(images.confidence[image]),
            "aspect": number(int(images.width[image]) / max(1, int(images.height[image])) or 1.0),
            "box": [number(edge) for edge in samples.box[row]],
            "cosine": number(cosine, 3),
        }

    def _patch(self, layer: int, page: int) -> dict[str, Any]:
        _one_of(self.atlas.layers, layer, "layer")
        if not 0 <= page < self.books[layer].pages:
            raise LookupError(f"layer {layer} has no page {page} of patches")
        return {"pictures": self.shelves[layer].uris(self.books[layer].page(page).tolist())}

    def _points(self, layer: int) -> dict[str, Any]:
        samples, images = _one_of(self.atlas.layers, layer, "layer").samples, self.atlas.images
        rows = live_points(samples.positions, samples.state)
        # One fixed shuffle: no class is always painted on top, and a cut is an even one.
        shown = np.random.default_rng(0).permutation(rows)[:MAX_POINTS]
        image = samples.image[shown]
        places = np.rint(np.clip(samples.positions[shown], 0, 1) * 65535).astype(np.uint16)
        confidence = images.confidence[image]
        return {
            "total": len(rows),
            "x": pack(places[:, 0]),
            "y": pack(places[:, 1]),
            "image": pack(image.astype(np.uint32)),
            "label": pack(images.label[image].astype(np.int32)),
            "prediction": pack(images.prediction[image].astype(np.int32)),
            "confidence": pack(
                np.where(np.isnan(confidence), UNKNOWN_CONFIDENCE, np.nan_to_num(confidence) * 254).astype(np.uint8)
            ),
        }

    def _images(self, shard: int) -> dict[str, Any]:
        images = self.atlas.images
        first, last = shard * IMAGES_PER_SHARD, min(len(images), (shard + 1) * IMAGES_PER_SHARD)
        if not 0 <= first < last:
            raise LookupError(f"no images {first} and after")
        sheet = None
        if self.pictures:
            pictures = {image - first: self.atlas.thumbnail(image) for image in range(first, last)}
            sheet = picture_uri(contact_sheet(pictures, TILE_SIDE, self.atlas.header.thumbnail_size))
        return {
            "ids": images.ids[first:last],
            "label": images.label[first:last].tolist(),
            "prediction": images.prediction[first:last].tolist(),
            "confidence": [number(value) for value in images.confidence[first:last]],
            "sheet": sheet,
        }


class LevelCells:
    """A level's cells as the shards need them: by tile, with their numbers ready for JSON."""

    def __init__(self, level: AtlasLevel) -> None:
        self.level = level
        self._arrays = level.arrays(
            "column", "row", "start", "images", "label_counts", "accuracy", "confidence", "spread",
            "effect_class", "effect_value", "effect_samples", "patch_cosine",
        )  # fmt: skip
        self._by_tile: dict[tuple[int, int], list[int]] = {}
        tiles = zip((self["column"] // TILE_SIDE).tolist(), (self["row"] // TILE_SIDE).tolist(), strict=True)
        for cell, tile in enumerate(tiles):
            self._by_tile.setdefault(tile, []).append(cell)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    @property
    def tiles(self) -> list[tuple[int, int]]:
        """The (tx, ty) that hold any cell, in order."""
        return sorted(self._by_tile)

    def in_tile(self, tx: int, ty: int) -> list[int]:
        """Indices of a tile's cells. Raises LookupError for a tile without any."""
        if (tx, ty) not in self._by_tile:
            raise LookupError(f"level {self.level.number} has no cells in tile ({tx}, {ty})")
        return self._by_tile[tx, ty]

    def slot(self, cell: int) -> int:
        """A cell's slot in its tile's sheet, row by row from the top left."""
        column, row = int(self["column"][cell]), int(self["row"][cell])
        return (TILE_SIDE - 1 - row % TILE_SIDE) * TILE_SIDE + column % TILE_SIDE

    def summary(self, cell: int) -> dict[str, Any]:
        """What the map itself needs of a cell."""
        counts = self["label_counts"][cell]
        labels = np.flatnonzero(counts)
        labels = labels[np.argsort(-counts[labels], kind="stable")]
        return {
            "slot": self.slot(cell),
            "images": int(self["images"][cell]),
            "samples": int(self["start"][cell + 1] - self["start"][cell]),
            "icon": bool(self.level.has_icon[cell]),
            "real": bool(self.level.patches[cell, 0] >= 0),
            "accuracy": number(self["accuracy"][cell]),
            "confidence": number(self["confidence"][cell]),
            "labels": np.stack([labels, counts[labels]], axis=1).reshape(-1).tolist(),
            "effects": self.effects(cell)[:TOP_EFFECTS],
        }

    def effects(self, cell: int) -> list[list[float | int | None]]:
        """A cell's mean effects, largest first: [class, value] pairs."""
        pairs = zip(self["effect_class"][cell].tolist(), self["effect_value"][cell].tolist(), strict=True)
        return [[output, number(value)] for output, value in pairs if output >= 0]

    def scores(self, cell: int) -> dict[str, float | None] | None:
        """Scores of a cell's icon, None without one."""
        if not self.level.has_icon[cell]:
            return None
        scores = self.level.scores
        names = ("centre", "robust", "windowed", "strength")
        return {name: number(getattr(scores, name)[cell], 3) for name in names}


def live_points(positions: NDArray[np.float32], state: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Rows that have a place on the map: inside the unit square and no outliers."""
    inside = np.isfinite(positions).all(axis=1) & (positions >= 0).all(axis=1) & (positions <= 1).all(axis=1)
    return np.flatnonzero(inside & (state != STATES.index("outlier")))


def _one_of(layers: tuple[AtlasLayer, ...], index: int, what: str) -> AtlasLayer:
    if not 0 <= index < len(layers):
        raise LookupError(f"no {what} {index}")
    return layers[index]
