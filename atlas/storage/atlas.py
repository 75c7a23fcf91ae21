"""A finished atlas, `NAME.atlas`: opened at once, its arrays and pictures read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from atlas.errors import StoreError, nearest
from atlas.records import CellStatistics, Icons, Layout, Level
from atlas.storage.atlas_header import (
    MARKS,
    AtlasHeader,
    LayerHeader,
    LevelHeader,
    layer_folder,
    level_folder,
    read_header,
)
from atlas.storage.sheets import TILE_SIDE, WHITE, Sheets, decode_exactly, read_bytes, slot_of, tile_name
from atlas.storage.tables import read_arrays, read_column, read_numbers

LEVEL_ARRAYS = ("column", "row", "start", "members", "images", "kept")
STATISTICS_ARRAYS = tuple(CellStatistics.__dataclass_fields__)
SCORE_ARRAYS = ("centre", "robust", "windowed", "strength")
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

    nearest: int32, the level's cell whose mean the icon is nearest to, its own index where it shows its own cell, -1
    without icon. believable: False for an icon that is nearer to another cell than to its own, or whose robust cosine
    is under the pipeline's `icons.believe`, and for a cell without icon.
    """

    nearest: NDArray[np.int32]
    believable: NDArray[np.bool_]

    @classmethod
    def of(cls, level: Level, icons: Icons | None, bound: float) -> IconTrust:
        """Place icons, one per kept cell in order, among all cells; bound is the least robust cosine."""
        cells = np.flatnonzero(level.kept)
        nearest, believable = np.full(len(level), -1, np.int32), np.zeros(len(level), np.bool_)
        if icons is not None:  # icons count the kept cells alone
            nearest[cells] = cells if icons.nearest is None else cells[icons.nearest]
            believable[cells] = icons.believable(bound)
        return cls(nearest, believable)


class Ids(Sequence[str]):
    """The images' stable ids: a list of str that stays packed (a million ids are read in milliseconds)."""

    def __init__(self, array: pa.Array) -> None:
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._array[index].to_pylist() if isinstance(index, slice) else self._array[index].as_py()

    def __iter__(self) -> Iterator[str]:
        return iter(self._array.to_pylist())

    def index_of(self, image_id: str) -> int:
        """Index of an id. Raises StoreError with the nearest id."""
        found = pyarrow.compute.index(self._array, image_id).as_py()
        if found < 0:
            raise StoreError(f"no image '{image_id}' in the atlas{nearest(image_id, self[:10000])}")
        return int(found)


class ImageColumns:
    """The atlas's images, one array per property, read on first use: ids (list-like of str), label and
    prediction int32 (-1: none), confidence float32 (NaN: none), width and height int32."""

    def __init__(self, path: Path, count: int) -> None:
        self._path, self._count = path, count

    def __len__(self) -> int:
        return self._count

    @cached_property
    def ids(self) -> Ids:
        """Stable ids, in the order of the dataset."""
        return Ids(read_column(self._path, "id", self._count))

    @cached_property
    def label(self) -> NDArray[np.int32]:
        """Index into the atlas's classes, -1 without label."""
        return self._read("label")

    @cached_property
    def prediction(self) -> NDArray[np.int32]:
        """Index into the atlas's outputs, -1 without prediction."""
        return self._read("prediction")

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """Softmax of the predicted output, NaN without prediction."""
        return self._read("confidence")

    @cached_property
    def width(self) -> NDArray[np.int32]:
        """Width of the original picture in pixels, after EXIF rotation."""
        return self._read("width")

    @cached_property
    def height(self) -> NDArray[np.int32]:
        """Height of the original picture in pixels, after EXIF rotation."""
        return self._read("height")

    def _read(self, name: str) -> NDArray[Any]:
        return read_numbers(self._path, name, self._count)


class SampleColumns:
    """A layer's samples, one array per property, read on first use."""

    def __init__(self, path: Path, count: int) -> None:
        self._path, self._count = path, count

    def __len__(self) -> int:
        return self._count

    @cached_property
    def image(self) -> NDArray[np.int32]:
        """Index of each sample's image, (samples,)."""
        return self._read("image")

    @cached_property
    def positions(self) -> NDArray[np.float32]:
        """Place on the map, (samples, 2), x to the right, y up; NaN for rows left out."""
        return self._stack("x", "y")

    @cached_property
    def state(self) -> NDArray[np.uint8]:
        """Index into records.STATES, (samples,)."""
        return self._read("state")

    @cached_property
    def uv(self) -> NDArray[np.float32]:
        """Relative position in the picture, (samples, 2), u to the right, v down."""
        return self._stack("u", "v")

    @cached_property
    def box(self) -> NDArray[np.float32]:
        """What the sample sees, (samples, 4): left, top, right, bottom as shares of the picture."""
        return self._stack("left", "top", "right", "bottom")

    def _read(self, name: str) -> NDArray[Any]:
        return read_numbers(self._path, name, self._count)

    def _stack(self, *names: str) -> NDArray[np.float32]:
        return np.stack([self._read(name) for name in names], axis=1)


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
        self.folder = atlas / layer_folder(header.index)
        self.samples = SampleColumns(self.folder / "samples.parquet", header.samples)
        self.levels = tuple(AtlasLevel(atlas, self, level) for level in header.levels)
        self._patches = Sheets(self.folder / "patches", header.patches, header.patch_size, "patch")

    @cached_property
    def layout(self) -> Layout:
        """Positions and states as one record."""
        return Layout(self.samples.positions, self.samples.state)

    @cached_property
    def patch_rows(self) -> NDArray[np.int64]:
        """The sample row of each patch in the patch list, (patches,)."""
        if not self.header.patches:
            return np.empty(0, np.int64)
        rows = read_arrays(self.folder / "patches.npz", ["row"])["row"]
        if len(rows) != self.header.patches:
            raise StoreError(f"{self.folder / 'patches.npz'} is damaged: {len(rows)} rows, not {self.header.patches}")
        return rows

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
