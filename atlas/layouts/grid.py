"""Samples on the unit square to cells of a grid; how many grids a layout carries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.records import STATES, Layout, Level

MAX_LEVELS = 7
COVERED = 0.85
"""A level is worth showing while at least this share of the samples lies in cells with enough images: with five
images at least, and cells filled at random, that is six to seven images a cell. Sparser, the map has holes."""
FILLED = 0.7
"""The share of the unit square that a t-SNE or UMAP map covers, roughly a disc."""


def gridded(layout: Layout) -> NDArray[np.bool_]:
    """Say which rows belong on the grid: those with a position, (rows,); outliers are left out."""
    inside = ((layout.positions >= 0) & (layout.positions <= 1)).all(axis=1)  # False for NaN
    return inside & (layout.state != STATES.index("outlier"))


def bin_into_cells(layout: Layout, image_of: NDArray[np.integer[Any]], *, level: int, min_images: int) -> Level:
    """Bin samples into a level's half-open cells, [left, right) x [bottom, top), the last row and column closed.

    image_of (rows,) names each sample's image; a cell is kept when it holds at least min_images distinct ones.
    Outliers and rows without position are in no cell. A parent's samples are those of its four children.
    """
    side = 8 * 2**level
    rows = np.flatnonzero(gridded(layout))
    # A power of two times a float32 is exact, so a child lies in its parent whatever the rounding.
    cell = np.minimum((layout.positions[rows] * np.float32(side)).astype(np.int64), side - 1)
    key = cell[:, 1] * side + cell[:, 0]
    order = np.argsort(key, kind="stable")
    keys, start, count = np.unique(key[order], return_index=True, return_counts=True)
    members = rows[order]
    images = _distinct(np.repeat(np.arange(len(keys)), count), np.asarray(image_of)[members], len(keys))
    return Level(
        level=level,
        column=(keys % side).astype(np.int32),
        row=(keys // side).astype(np.int32),
        start=np.append(start, len(members)).astype(np.int64),
        members=members.astype(np.int64),
        images=images,
        kept=images >= min_images,
    )


def choose_levels(images: int, *, min_images: int = 5) -> int:
    """Foretell how many levels a layout of so many images carries, from 1 to 7: 2,000 have 2, a million 6.

    A level is added while an evenly filled map would still have 1.3 min_images images in each cell that it covers;
    `measure_levels` says it of a real layout.
    """
    levels = 1
    while levels < MAX_LEVELS and images >= 1.3 * min_images * FILLED * (8 * 2**levels) ** 2:
        levels += 1
    return levels


def measure_levels(layout: Layout, image_of: NDArray[np.integer[Any]], *, min_images: int = 5) -> int:
    """Say how many levels a layout carries, from 1 to 7.

    The deepest is the last at which at least 85 % of the samples on the grid lie in cells of min_images distinct
    images: the rule follows the map's own density, and several positions of one image count once. It is at most one
    more than `choose_levels` foretells, since tight clusters would fill ever smaller cells.
    """
    deepest = min(MAX_LEVELS, choose_levels(len(np.unique(np.asarray(image_of))), min_images=min_images) + 1)
    for level in range(1, deepest):
        binned = bin_into_cells(layout, image_of, level=level, min_images=min_images)
        if binned.samples[binned.kept].sum() < COVERED * len(binned.members):
            return level
    return deepest


def _distinct(cell: NDArray[np.int64], image: NDArray[np.integer[Any]], cells: int) -> NDArray[np.int32]:
    """Distinct images in each cell, (cells,)."""
    if not len(cell):
        return np.zeros(cells, np.int32)
    pairs = np.unique(cell * (int(image.max()) + 1) + image)
    return np.bincount(pairs // (int(image.max()) + 1), minlength=cells).astype(np.int32)
