"""Many small pictures in few files: 16 x 16 sheets of photographs, 8 x 8 tiles of icons."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.errors import StoreError
from atlas.records import Level, Progress, silent
from atlas.storage.files import written_beside

SHEET_SIDE = 16
SHEET = SHEET_SIDE * SHEET_SIDE
TILE_SIDE = 8
GREY = 128
WHITE = 255

Picture = Image.Image | NDArray[np.uint8]
ReadPicture = Callable[[int], Picture | None]


def sheet_name(number: int) -> str:
    """File name of the sheet with this number, from 0."""
    return f"{number:05d}.jpg"


def tile_name(tx: int, ty: int) -> str:
    """File name of an icon tile: tx counts from the left, ty from the bottom."""
    return f"{tx}_{ty}.png"


def letterbox(picture: Picture, size: int) -> Image.Image:
    """Fit a picture, any size or mode, whole into a square of `size` px, centred on mid-grey."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(np.ascontiguousarray(picture))
    if image.mode != "RGB":
        image = image.convert("RGB")
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    if (width, height) == (size, size):
        return image
    square = Image.new("RGB", (size, size), (GREY, GREY, GREY))
    square.paste(image, ((size - width) // 2, (size - height) // 2))
    return square


def write_sheets(
    folder: Path,
    count: int,
    size: int,
    read: ReadPicture,
    *,
    workers: int = 1,
    stage: str = "pictures",
    progress: Progress = silent,
) -> list[Path]:
    """Write pictures 0 to count - 1, letterboxed to `size` px, and return the sheets' paths in order.

    Sheets that already exist are whole, since each is renamed into place, and are left: an interrupted run
    goes on. `read` may return None for a picture that cannot be had; its slot stays grey. With workers above
    1 it is called from several threads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / sheet_name(number) for number in range(-(-count // SHEET))]

    def square(index: int) -> Image.Image | None:
        picture = read(index)
        return None if picture is None else letterbox(picture, size)

    with ThreadPoolExecutor(max(1, workers)) as pool:
        for number, path in enumerate(paths):
            first, last = number * SHEET, min(count, (number + 1) * SHEET)
            if not path.exists():
                pictures = pool.map(square, range(first, last)) if workers > 1 else map(square, range(first, last))
                sheet = Image.new("RGB", (SHEET_SIDE * size, SHEET_SIDE * size), (GREY, GREY, GREY))
                for slot, picture in enumerate(pictures):
                    if picture is not None:
                        sheet.paste(picture, (slot % SHEET_SIDE * size, slot // SHEET_SIDE * size))
                with written_beside(path) as beside:
                    sheet.save(beside, format="JPEG", quality=88)
            progress(stage, last, count)
    return paths


class Sheets:
    """Pictures of sheets by their index; the most recently used sheets stay decoded."""

    def __init__(self, folder: Path, count: int, size: int, what: str) -> None:
        self.folder, self.count, self.size, self.what = folder, count, size, what
        # Four decoded sheets of 96 px are 28 MB.
        self._sheet = lru_cache(maxsize=4)(self._decode)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Picture as uint8 (size, size, 3). Raises StoreError out of range."""
        if not 0 <= index < self.count:
            raise StoreError(f"there is no {self.what} {index}: {_range(self.what, self.count)}")
        number, slot = divmod(int(index), SHEET)
        top, left = slot // SHEET_SIDE * self.size, slot % SHEET_SIDE * self.size
        return self._sheet(number)[top : top + self.size, left : left + self.size].copy()

    def sheet_bytes(self, number: int) -> bytes:
        """The JPEG of one whole sheet. Raises StoreError out of range or when it is missing."""
        sheets = -(-self.count // SHEET)
        if not 0 <= number < sheets:
            raise StoreError(f"there is no sheet {number} of {self.what}s: {_range('sheet', sheets)}")
        return read_bytes(self.folder / sheet_name(number))

    def _decode(self, number: int) -> NDArray[np.uint8]:
        side = SHEET_SIDE * self.size
        return decode_exactly(self.folder / sheet_name(number), "JPEG", (side, side))


def reading_order(levels: Iterable[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]) -> NDArray[np.int64]:
    """Distinct patches, int64 (patches,), in the order of the cells that show them: a cell's lie in one sheet or few.

    levels: column, row (cells,) and patches (cells, most) of each level, coarsest first; a patch below 0 is none. Cells
    run tile by tile, and a patch stands where it is first shown, so that a cell of level z has what it shares with
    coarser cells in at most z other places: a sheet of 256 takes as long to decode as sixty of its pictures to encode.
    """
    runs = [np.empty(0, np.int64)]
    for column, row, patches in levels:
        by_tile = np.lexsort((column, row, column // TILE_SIDE, row // TILE_SIDE))
        runs.append(patches[by_tile].reshape(-1).astype(np.int64))
    wanted = np.concatenate(runs)
    wanted = wanted[wanted >= 0]
    _, first = np.unique(wanted, return_index=True)
    return wanted[np.sort(first)]


def write_icon_tiles(folder: Path, level: Level, images: NDArray[np.uint8]) -> None:
    """Write the icons of a level's kept cells, (kept, size, size, 3), as tiles of 8 x 8 cells on white."""
    size = images.shape[1]
    folder.mkdir(parents=True, exist_ok=True)
    tiles: dict[tuple[int, int], list[int]] = {}
    columns, rows = level.column[level.kept].tolist(), level.row[level.kept].tolist()
    for position, (column, row) in enumerate(zip(columns, rows, strict=True)):
        tiles.setdefault((column // TILE_SIDE, row // TILE_SIDE), []).append(position)
    for (tx, ty), positions in sorted(tiles.items()):
        canvas = np.full((TILE_SIDE * size, TILE_SIDE * size, 3), WHITE, np.uint8)
        for position in positions:
            top, left = slot_of(columns[position], rows[position], size)
            canvas[top : top + size, left : left + size] = images[position]
        with written_beside(folder / tile_name(tx, ty)) as beside:
            Image.fromarray(canvas).save(beside, format="PNG")


def slot_of(column: int, row: int, size: int) -> tuple[int, int]:
    """Top and left pixel of a cell's icon within its tile: cells' rows count upwards, pictures' downwards."""
    return (TILE_SIDE - 1 - row % TILE_SIDE) * size, column % TILE_SIDE * size


def decode_exactly(path: Path, kind: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode a picture of a known format and (width, height) to uint8 (height, width, 3), or raise StoreError."""
    try:
        with Image.open(BytesIO(read_bytes(path)), formats=(kind,)) as image:
            if image.size != size:
                raise StoreError(f"{path} is damaged: it is {image.size[0]} x {image.size[1]} px, not {size[0]}")
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise StoreError(f"{path} is damaged ({error}): 'atlas verify' lists all damage") from None


def read_bytes(path: Path) -> bytes:
    """Read a file of an atlas. Raises StoreError when it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}): 'atlas verify' lists all damage") from None


def _range(what: str, count: int) -> str:
    return f"the {what}s are 0 to {count - 1}" if count else f"there are no {what}s"
