"""A contact sheet: each column a cell, each row an engine, the real patches on top where they may be shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from icon_engines import Drawn
from numpy.typing import NDArray
from PIL import Image

SIDE, COLUMNS = 96, 16


def write_sheet(file: Path, engines: list[tuple[str, Drawn]], patches: NDArray[np.uint8] | None) -> None:
    """Write the first 32 cells that every engine drew, 16 to a block of rows; rows in the order given."""
    shared = sorted(set.intersection(*(set(drawn.cells.tolist()) for _, drawn in engines)))[: 2 * COLUMNS]
    blocks = []
    for start in range(0, len(shared), COLUMNS):
        cells = shared[start : start + COLUMNS]
        rows = [] if patches is None else [patches[cells]]
        rows += [drawn.images[np.searchsorted(drawn.cells, cells)] for _, drawn in engines]
        blocks += [np.concatenate([_fitted(picture) for picture in row], 1) for row in rows]
        blocks.append(np.full((8, blocks[-1].shape[1], 3), 255, np.uint8))
    width = max(block.shape[1] for block in blocks)
    padded = [np.pad(b, ((0, 0), (0, width - b.shape[1]), (0, 0)), constant_values=255) for b in blocks]
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(padded[:-1])).save(file)
    print(f"{file}: rows are {', '.join((['real patches'] if patches is not None else []) + [n for n, _ in engines])}")


def _fitted(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """At one size for all: enlarged without smoothing, reduced with it."""
    if picture.shape[0] == SIDE:
        return picture
    way = Image.Resampling.NEAREST if picture.shape[0] < SIDE else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), way))
