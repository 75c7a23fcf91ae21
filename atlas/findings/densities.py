"""Where one dataset's images are denser on a map than another's: cells tested, the image as the unit, then joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.findings.local import Groups, adjusted
from atlas.records import Level

FEWEST_IMAGES = 5
"""Images of both datasets together below which a cell is not tested."""


@dataclass(frozen=True)
class CellDensity:
    """One level's cells, (cells,) each: distinct images of either dataset, and how sure the difference is.

    one, other: int64. ratio: float64, log2 of the other's share of its images over the first's, half an image added to
    each count. p: float32, Fisher's exact test of images in the cell against images elsewhere, after Benjamini-
    Hochberg over all cells of all levels; NaN where there are too few images.
    """

    level: Level
    one: NDArray[np.int64]
    other: NDArray[np.int64]
    ratio: NDArray[np.float64]
    p: NDArray[np.float32]


@dataclass(frozen=True)
class Region:
    """Cells that touch one another and all hold more of one dataset: `cells` of the level at `depth` in the list.

    one, other: distinct images in them. p: the smallest of the cells'. score: the difference of shares in standard
    errors, for the order of a list: the cells were chosen for it, so it is no test.
    """

    depth: int
    cells: NDArray[np.int64]
    appeared: bool
    one: int
    other: int
    p: float
    score: float


def compare_densities(
    levels: Sequence[Level], image_of: NDArray[np.int64], other: NDArray[np.bool_]
) -> tuple[CellDensity, ...]:
    """Test every cell of every level. image_of (samples,); other: bool (images,), those of the other dataset."""
    from scipy.stats import hypergeom

    total_other = int(other.sum())
    total_one = len(other) - total_other
    counts, raw = [], []
    for level in levels:
        groups = Groups(np.repeat(np.arange(len(level)), level.samples), level.members, len(level))
        cell, image = groups.images(image_of)
        theirs = np.bincount(cell, other[image], len(level)).astype(np.int64)
        ours = np.bincount(cell, minlength=len(level)) - theirs
        counts.append((ours, theirs))
        # Given how many images a cell holds, how many are the other's is hypergeometric where nothing differs.
        held = hypergeom(len(other), total_other, ours + theirs)
        p = np.minimum(1.0, 2 * np.minimum(held.cdf(theirs), held.sf(theirs - 1)))
        p[ours + theirs < FEWEST_IMAGES] = np.nan
        raw.append(p)
    joined = adjusted(np.concatenate(raw)) if raw else np.empty(0, np.float32)
    parts = np.split(joined, np.cumsum([len(level) for level in levels])[:-1])
    return tuple(
        CellDensity(
            level,
            ours,
            theirs,
            np.log2((theirs + 0.5) / (total_other + 1)) - np.log2((ours + 0.5) / (total_one + 1)),
            p,
        )
        for level, (ours, theirs), p in zip(levels, counts, parts, strict=True)
    )


def find_regions(
    densities: Sequence[CellDensity], image_of: NDArray[np.int64], other: NDArray[np.bool_], bound: float = 0.05
) -> list[Region]:
    """Join cells that differ beyond chance, on the level where they hold most images; the largest difference first."""
    held = [int((cells.one + cells.other)[cells.p <= bound].sum()) for cells in densities]
    if not held or not max(held):
        return []
    depth = max(range(len(held)), key=lambda z: (held[z], z))
    cells = densities[depth]
    regions = []
    for appeared in (True, False):
        chosen = (cells.p <= bound) & ((cells.ratio > 0) == appeared)
        regions += [
            _region(depth, members, appeared, cells, image_of, other)
            for members in _touching(cells.level, np.flatnonzero(chosen))
        ]
    return sorted(regions, key=lambda region: -region.score)


def region_images(level: Level, cells: NDArray[np.int64], image_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """Distinct images in some cells, those with most samples there first."""
    rows = np.concatenate([level.members[level.start[cell] : level.start[cell + 1]] for cell in cells])
    images, counts = np.unique(image_of[rows], return_counts=True)
    return images[np.argsort(-counts, kind="stable")]


def _region(
    depth: int,
    members: NDArray[np.int64],
    appeared: bool,
    cells: CellDensity,
    image_of: NDArray[np.int64],
    other: NDArray[np.bool_],
) -> Region:
    images = region_images(cells.level, members, image_of)
    theirs = int(other[images].sum())
    ours = len(images) - theirs
    totals = len(other) - other.sum(), other.sum()
    share = len(images) / len(other)
    error = np.sqrt(max(share * (1 - share), 1e-12) * (1 / totals[0] + 1 / totals[1]))
    score = abs(theirs / totals[1] - ours / totals[0]) / error
    return Region(depth, members, appeared, ours, theirs, float(cells.p[members].min()), float(score))


def _touching(level: Level, chosen: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Groups of the chosen cells that touch, by a side or a corner."""
    from scipy.ndimage import label

    grid = np.zeros((level.side, level.side), np.int64)
    grid[level.row[chosen], level.column[chosen]] = 1
    named, count = label(grid, structure=np.ones((3, 3)))
    of = named[level.row[chosen], level.column[chosen]]
    return [chosen[of == number] for number in range(1, count + 1)]
