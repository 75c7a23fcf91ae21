"""A finished atlas, `NAME.atlas`: opened at once, its arrays and pictures read when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import StoreError, nearest
from atlas.records import PROCESSOR, CellStatistics, Icons, Layout, Level
from atlas.storage.atlas_header import (
    MARKS,
    AtlasHeader,
    LayerHeader,
    LevelHeader,
    layer_folder,
    level_folder,
    read_header,
)
from atlas.storage.columns import ImageColumns, SampleColumns
from atlas.storage.sheets import TILE_SIDE, WHITE, Sheets, decode_exactly, read_bytes, slot_of, tile_name
from atlas.storage.tables import read_arrays

LEVEL_ARRAYS = ("column", "row", "start", "members", "images", "kept")
STATISTICS_ARRAYS = tuple(CellStatistics.__dataclass_fields__)
SCORE_ARRAYS = ("centre", "robust", "windowed", "strength")
QUALITY = "quality.npz"
QUALITY_ARRAYS = ("anchors", "recall", "class_spread", "class_spread_map", "class_nearest")
TRUST_ARRAYS = ("nearest", "believable")


@dataclass(frozen=True)
class IconScores:
    """Scores of a level's icons, float32 (cells,) each, NaN for a cell without icon; see records.Icons."""

    centre: NDArray[np.float32]
    robust: NDArray[np.float32]
    windowed: NDArray[np.float32]
    strength: NDArray[np.float32]


@dataclass(frozen=True)
class IconTrust:
    """How far a level's icons can be believed, (cells,) each.

    nearest: int32, the level's cell whose mean the icon is nearest to, its own index where it shows its own cell or
    is the level's only icon, -1 without icon and where the icon's activation is not finite. believable: False for an
    icon that is nearer to another cell than to its own, or whose robust cosine is under the pipeline's
    `icons.believe`, and for a cell without icon.
    """

    nearest: NDArray[np.int32]
    believable: NDArray[np.bool_]

    @classmethod
    def of(cls, level: Level, icons: Icons | None, bound: float) -> IconTrust:
        """Place icons, one per kept cell in order, among all cells; bound is the least robust cosine."""
        cells = np.flatnonzero(level.kept)
        nearest, believable = np.full(len(level), -1, np.int32), np.zeros(len(level), np.bool_)
        if icons is not None:  # icons count the kept cells alone
            own = np.arange(len(cells), dtype=np.int32) if icons.nearest is None else icons.nearest
            nearest[cells] = np.where(own < 0, -1, cells[own])
            believable[cells] = icons.believable(bound)
        return cls(nearest, believable)


class AtlasLevel:
    """One level of a layer: `header` at once, arrays and icons when asked for."""

    def __init__(self, atlas: Path, layer: AtlasLayer, header: LevelHeader) -> None:
        self.header, self.number, self.side = header, header.level, header.side
        self.folder = atlas / level_folder(layer.index, header.level)
        self._layer = layer
        self._tile = lru_cache(maxsize=8)(self._decode)

    def __len__(self) -> int:
        """Number of non-empty cells."""
        return self.header.cells

    @cached_property
    def level(self) -> Level:
        """The grid's cells and their samples."""
        return Level(self.number, **self.arrays(*LEVEL_ARRAYS))

    @cached_property
    def statistics(self) -> CellStatistics:
        """What each cell holds; patches are sample rows (`patches` gives indices into the patch list)."""
        arrays = self.arrays(*(name for name in STATISTICS_ARRAYS if name != "patches"))
        rows = np.append(self._layer.patch_rows, -1)
        return CellStatistics(**arrays, patches=rows[self.patches])

    @cached_property
    def patches(self) -> NDArray[np.int32]:
        """Indices into the layer's patch list, (cells, 16), best first, padded with -1."""
        patches = self.arrays("patches")["patches"]
        if patches.size and not (patches.min() >= -1 and patches.max() < self._layer.header.patches):
            raise StoreError(f"{self.folder / 'cells.npz'} is damaged: it names patches that do not exist")
        return patches

    @cached_property
    def scores(self) -> IconScores:
        """The icons' scores."""
        return IconScores(**self.arrays(*SCORE_ARRAYS))

    @cached_property
    def trust(self) -> IconTrust:
        """How far each icon can be believed; the best real patch's cosine is `statistics.patch_cosine[:, 0]`."""
        return IconTrust(**self.arrays(*TRUST_ARRAYS))

    @cached_property
    def layout_trust(self) -> NDArray[np.float32]:
        """How many of their true neighbours a cell's samples keep on the map: float32 (cells,), NaN where unknown."""
        return self._layer.layout_trust_of(self.number, len(self))

    @cached_property
    def has_icon(self) -> NDArray[np.bool_]:
        """True for the cells that have an icon, (cells,)."""
        return ~np.isnan(self.scores.strength)

    def arrays(self, *names: str) -> dict[str, NDArray[Any]]:
        """Read some arrays of `cells.npz` alone: a field of Level or CellStatistics, or a score."""
        arrays = read_arrays(self.folder / "cells.npz", names)
        for name, array in arrays.items():
            rows = len(array) - 1 if name == "start" else len(array)
            if name != "members" and rows != len(self):
                raise StoreError(f"{self.folder / 'cells.npz'} is damaged: '{name}' has {rows} cells, not {len(self)}")
        return arrays

    def find(self, column: int, row: int) -> int | None:
        """Index of the cell at a column (from the left) and row (from the bottom), None when it is empty."""
        key = self.level.row.astype(np.int64) * self.side + self.level.column
        index = int(np.searchsorted(key, row * self.side + column))
        inside = 0 <= column < self.side and 0 <= row < self.side
        return index if inside and index < len(key) and key[index] == row * self.side + column else None

    def icon(self, cell: int) -> NDArray[np.uint8]:
        """A cell's icon, uint8 (size, size, 3). Raises StoreError out of range or without icon."""
        if not 0 <= cell < len(self):
            raise StoreError(f"level {self.number} has cells 0 to {len(self) - 1}, not {cell}")
        if not self.has_icon[cell]:
            raise StoreError(f"cell {cell} of level {self.number} has no icon: too few images, or not rendered yet")
        column, row = int(self.level.column[cell]), int(self.level.row[cell])
        size = self._layer.icon_size
        top, left = slot_of(column, row, size)
        return self._tile(column // TILE_SIDE, row // TILE_SIDE)[top : top + size, left : left + size].copy()

    @cached_property
    def tiles(self) -> frozenset[tuple[int, int]]:
        """The (tx, ty) that have any icon; tx counts from the left, ty from the bottom."""
        column, row = self.level.column[self.has_icon], self.level.row[self.has_icon]
        return frozenset(zip((column // TILE_SIDE).tolist(), (row // TILE_SIDE).tolist(), strict=True))

    def tile(self, tx: int, ty: int) -> NDArray[np.uint8]:
        """8 x 8 cells' icons, uint8 (8 size, 8 size, 3), highest row on top; white where there is none."""
        self._check_tile(tx, ty)
        if (tx, ty) not in self.tiles:
            return np.full((TILE_SIDE * self._layer.icon_size,) * 2 + (3,), WHITE, np.uint8)
        return self._tile(tx, ty).copy()

    def tile_png(self, tx: int, ty: int) -> bytes | None:
        """The stored PNG of a tile, None where no cell has an icon. Raises StoreError out of range."""
        self._check_tile(tx, ty)
        return read_bytes(self.folder / "icons" / tile_name(tx, ty)) if (tx, ty) in self.tiles else None

    def _check_tile(self, tx: int, ty: int) -> None:
        tiles = self.side // TILE_SIDE
        if not (0 <= tx < tiles and 0 <= ty < tiles):
            raise StoreError(f"level {self.number} has tiles 0 to {tiles - 1} each way, not ({tx}, {ty})")

    def _decode(self, tx: int, ty: int) -> NDArray[np.uint8]:
        side = TILE_SIDE * self._layer.icon_size
        return decode_exactly(self.folder / "icons" / tile_name(tx, ty), "PNG", (side, side))


class AtlasLayer:
    """One layer of an atlas: its samples on the map, its levels, its patches."""

    def __init__(self, atlas: Path, header: LayerHeader) -> None:
        self.header, self.name, self.index = header, header.name, header.index
        self.pool, self.channels, self.layout_settings = header.pool, header.channels, header.layout
        self.icon_size, self.patch_size = header.icon_size, header.patch_size
        self.quality: Mapping[str, float | None] = header.quality
        self.folder = atlas / layer_folder(header.index)
        self.samples = SampleColumns(self.folder / "samples.parquet", header.samples)
        self.levels = tuple(AtlasLevel(atlas, self, level) for level in header.levels)
        self._patches = Sheets(self.folder / "patches", header.patches, header.patch_size, "patch")

    @cached_property
    def layout(self) -> Layout:
        """Positions and states as one record."""
        engine = str(self.layout_settings.get("engine", PROCESSOR))
        return Layout(self.samples.positions, self.samples.state, engine)

    @cached_property
    def patch_rows(self) -> NDArray[np.int64]:
        """The sample row of each patch in the patch list, (patches,)."""
        if not self.header.patches:
            return np.empty(0, np.int64)
        rows = read_arrays(self.folder / "patches.npz", ["row"])["row"]
        if len(rows) != self.header.patches:
            raise StoreError(f"{self.folder / 'patches.npz'} is damaged: {len(rows)} rows, not {self.header.patches}")
        return rows

    @cached_property
    def sample_recall(self) -> NDArray[np.float32]:
        """Share of each sample's 15 nearest that the map keeps: float32 (samples,), NaN where it was not looked at."""
        found = np.full(len(self.samples), np.nan, np.float32)
        if self.quality:
            arrays = read_arrays(self.folder / QUALITY, ("anchors", "recall"))
            anchors = arrays["anchors"]
            if anchors.size and not (anchors.min() >= 0 and anchors.max() < len(found)):
                raise StoreError(f"{self.folder / QUALITY} is damaged: it names samples that do not exist")
            found[anchors] = arrays["recall"]
        return found

    def class_quality(self) -> dict[str, NDArray[Any]]:
        """Spread and nearest classes, as in records.LayerQuality; {} where nothing was measured."""
        names = QUALITY_ARRAYS[2:]
        return read_arrays(self.folder / QUALITY, names) if self.quality else {}

    def layout_trust_of(self, level: int, cells: int) -> NDArray[np.float32]:
        """The trust of a level's cells, float32 (cells,); NaN where nothing was measured."""
        if not self.quality:
            return np.full(cells, np.nan, np.float32)
        trust = read_arrays(self.folder / QUALITY, [f"trust_{level}"])[f"trust_{level}"]
        if trust.shape != (cells,):
            raise StoreError(f"{self.folder / QUALITY} is damaged: level {level} has {len(trust)} cells, not {cells}")
        return trust

    def patch(self, index: int) -> NDArray[np.uint8]:
        """A real patch by its index in the patch list, uint8 (size, size, 3). Raises StoreError out of range."""
        return self._patches[index]

    def patch_sheet(self, number: int) -> bytes:
        """The JPEG of one whole sheet of 16 x 16 patches."""
        return self._patches.sheet_bytes(number)


class Atlas:
    """An opened atlas; `path` and the fields of its header are attributes.

    Opening reads `atlas.json` and checks that every recorded file is there; all else is read on first use
    and kept. Nothing stays open, so `with` only makes the use plain to see. Raises StoreError.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.header: AtlasHeader = read_header(self.path)
        _check_present(self.path, self.header.files)
        self.name, self.fingerprint = self.header.name, self.header.fingerprint
        self.classes, self.outputs, self.aligned = self.header.classes, self.header.outputs, self.header.aligned
        self.accuracy, self.skipped, self.notes = self.header.accuracy, self.header.skipped, self.header.notes
        self.provenance: Mapping[str, Any] = self.header.provenance
        self.complete = self.header.complete
        self.marks_path = self.path / MARKS
        self.images = ImageColumns(self.path / "images.parquet", self.header.images)
        self.layers = tuple(AtlasLayer(self.path, layer) for layer in self.header.layers)
        self._thumbnails = Sheets(self.path / "thumbnails", self.header.images, self.header.thumbnail_size, "thumbnail")

    def __enter__(self) -> Atlas:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def layer(self, name: str) -> AtlasLayer:
        """The layer of this name. Raises StoreError with the nearest name."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        known = [layer.name for layer in self.layers]
        raise StoreError(
            f"{self.path} has no layer '{name}'{nearest(name, known)} (it has {', '.join(known) or 'none'})"
        )

    def thumbnail(self, image: int) -> NDArray[np.uint8]:
        """An image's thumbnail, uint8 (96, 96, 3), letterboxed on mid-grey. Raises StoreError out of range."""
        return self._thumbnails[image]

    def thumbnail_sheet(self, number: int) -> bytes:
        """The JPEG of one whole sheet of 16 x 16 thumbnails: image i is on sheet i // 256, slot i % 256."""
        return self._thumbnails.sheet_bytes(number)


def open_atlas(path: str | Path) -> Atlas:
    """Open a finished or growing atlas for reading. Raises StoreError when it is not one, newer, or incomplete."""
    return Atlas(path)


def _check_present(folder: Path, files: Mapping[str, str]) -> None:
    """Raise StoreError that names the first recorded file that is missing."""
    # One walk: a stat per file takes ten times as long for the thousands of tiles of a large atlas.
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    for name in files:
        if name not in there:
            missing = sum(other not in there for other in files)
            more = f" and {missing - 1} more" if missing > 1 else ""
            raise StoreError(f"{folder} is incomplete: {name}{more} is missing; build it again to mend it")
