"""What the cells of a level hold, from a stream of the layer's rows: means, medoids, effects, real patches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.layouts.rows import BLOCK_BYTES, Rows, blocks
from atlas.records import PATCHES_PER_CELL, CellStatistics, Level, Progress, silent

if TYPE_CHECKING:
    from atlas.storage.parts import Effects

ALL_EFFECTS = 100
TOP_EFFECTS = 20
ACCUMULATOR_BYTES = 512 * 2**20
"""Sums of cells are taken in groups of cells that fit into this; each group is one more pass over the rows."""


def describe_cells(
    level: Level,
    rows: Rows,
    image_of: NDArray[np.integer[Any]],
    labels: NDArray[np.integer[Any]] | None = None,
    predictions: NDArray[np.integer[Any]] | None = None,
    confidence: NDArray[np.floating[Any]] | None = None,
    effects: Effects | None = None,
    classes: int = 0,
    *,
    outputs: int | None = None,
    progress: Progress = silent,
) -> CellStatistics:
    """Describe each cell of a level; see records.CellStatistics for shapes.

    rows (rows, channels) are streamed twice. image_of (rows,) indexes the per-image labels (-1: none; below
    `classes`), predictions (-1: none) and confidence (NaN: none). The image is the unit: one with several samples in
    a cell counts once there. Accuracy compares predictions with labels, so give predictions only where both number
    the same classes. Effects are averaged over the cell's samples that have any; a class that a sample does not list,
    because only its strongest were kept, counts as 0. All classes are kept up to 100 outputs, else the 20 largest.
    """
    image_of = np.asarray(image_of)
    cell_of = np.full(len(image_of), -1, np.int64)
    cell_of[level.members] = np.repeat(np.arange(len(level)), level.samples)
    mean = _means(level, rows, cell_of, progress)
    cosine = _cosines(mean, rows, cell_of, progress)
    patches, patch_cosine = _nearest_of_each_image(level, image_of, cosine)
    spread = 1 - _mean_per_cell(cell_of[level.members], cosine[level.members], len(level))
    cell, image = _cells_and_images(level, image_of)
    effect_class, effect_value, effect_samples = mean_effects(cell_of, len(level), effects, outputs)
    return CellStatistics(
        mean=mean,
        medoid=patches[:, 0],
        spread=spread,
        label_counts=_label_counts(cell, image, labels, len(level), classes),
        accuracy=_accuracy(cell, image, labels, predictions, len(level)),
        confidence=_confidence(cell, image, confidence, len(level)),
        effect_class=effect_class,
        effect_value=effect_value,
        effect_samples=effect_samples,
        patches=patches,
        patch_cosine=patch_cosine,
    )


def _means(level: Level, rows: Rows, cell_of: NDArray[np.int64], progress: Progress) -> NDArray[np.float32]:
    """Mean activation of each cell, summed in float64, (cells, channels)."""
    total, channels = rows.shape
    mean = np.empty((len(level), channels), np.float32)
    for group in _groups(len(level), channels):
        sums = np.zeros((group.stop - group.start, channels))
        for part, block in blocks(rows):
            wanted = (cell_of[part] >= group.start) & (cell_of[part] < group.stop)
            if wanted.any():
                cells = cell_of[part][wanted] - group.start
                order = np.argsort(cells, kind="stable")
                present, first = np.unique(cells[order], return_index=True)
                sums[present] += np.add.reduceat(block[wanted][order], first, axis=0, dtype=np.float64)
            progress("cell means", part.stop, total)
        mean[group] = sums / level.samples[group, None]
    return mean


def _cosines(
    mean: NDArray[np.float32], rows: Rows, cell_of: NDArray[np.int64], progress: Progress
) -> NDArray[np.float32]:
    """Cosine of each row to the mean of its cell, (rows,); 0 for a row of zeros, NaN outside the grid."""
    cosine = np.full(len(cell_of), np.nan, np.float32)
    length = np.linalg.norm(mean, axis=1)
    for part, block in blocks(rows):
        wanted = np.flatnonzero(cell_of[part] >= 0)
        cells = cell_of[part][wanted]
        vectors = block[wanted]
        dot = np.einsum("rc,rc->r", vectors, mean[cells], dtype=np.float64)
        norm = np.linalg.norm(vectors, axis=1).astype(np.float64) * length[cells]
        cosine[part.start + wanted] = np.divide(dot, norm, out=np.zeros_like(dot), where=norm > 0)
        progress("cell patches", part.stop, len(cell_of))
    return cosine


def _nearest_of_each_image(
    level: Level, image_of: NDArray[np.integer[Any]], cosine: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows nearest to each cell's mean, each of another image, best first; the first is the medoid."""
    patches = np.full((len(level), PATCHES_PER_CELL), -1, np.int64)
    values = np.full((len(level), PATCHES_PER_CELL), np.nan, np.float32)
    if not len(level.members):
        return patches, values
    cell = np.repeat(np.arange(len(level)), level.samples)
    order = np.lexsort((level.members, -cosine[level.members], cell))
    cell, row = cell[order], level.members[order]
    image = image_of[row].astype(np.int64)
    _, best = np.unique(cell * (image.max() + 1) + image, return_index=True)
    best.sort()
    cell, row = cell[best], row[best]
    rank = np.arange(len(cell)) - np.searchsorted(cell, cell)
    shown = rank < PATCHES_PER_CELL
    patches[cell[shown], rank[shown]] = row[shown]
    values[cell[shown], rank[shown]] = cosine[row[shown]]
    return patches, values


def _cells_and_images(level: Level, image_of: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every pair of a cell and an image in it, once."""
    cell = np.repeat(np.arange(len(level)), level.samples)
    image = image_of[level.members].astype(np.int64)
    width = int(image.max(initial=0)) + 1
    pairs = np.unique(cell * width + image)
    return pairs // width, pairs % width


def _label_counts(
    cell: NDArray[np.int64],
    image: NDArray[np.int64],
    labels: NDArray[np.integer[Any]] | None,
    cells: int,
    classes: int,
) -> NDArray[np.int32]:
    counts = np.zeros((cells, classes), np.int32)
    if labels is None or not classes:
        return counts
    label = np.asarray(labels)[image].astype(np.int64)
    known = label >= 0
    where, times = np.unique(cell[known] * classes + label[known], return_counts=True)
    counts.flat[where] = times
    return counts


def _accuracy(
    cell: NDArray[np.int64],
    image: NDArray[np.int64],
    labels: NDArray[np.integer[Any]] | None,
    predictions: NDArray[np.integer[Any]] | None,
    cells: int,
) -> NDArray[np.float32]:
    if labels is None or predictions is None:
        return np.full(cells, np.nan, np.float32)
    label, prediction = np.asarray(labels)[image], np.asarray(predictions)[image]
    judged = (label >= 0) & (prediction >= 0)
    return _mean_per_cell(cell[judged], (label == prediction)[judged], cells)


def _confidence(
    cell: NDArray[np.int64],
    image: NDArray[np.int64],
    confidence: NDArray[np.floating[Any]] | None,
    cells: int,
) -> NDArray[np.float32]:
    if confidence is None:
        return np.full(cells, np.nan, np.float32)
    value = np.asarray(confidence)[image]
    known = np.isfinite(value)
    return _mean_per_cell(cell[known], value[known], cells)


def mean_effects(
    group_of: NDArray[np.integer[Any]], count: int, effects: Effects | None, outputs: int | None
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    """Classes and their mean effects, (groups, k), largest first, padded with -1 and NaN; and over how many samples.

    group_of (samples,): which of `count` groups each is in, such as its cell or its label; -1: none.
    """
    if effects is None:
        none = np.empty((count, 0))
        return none.astype(np.int32), none.astype(np.float32), np.zeros(count, np.int32)
    listed = _once(effects.classes)
    width = max(outputs or 0, int(listed.max(initial=-1)) + 1)
    kept = width if width <= ALL_EFFECTS else TOP_EFFECTS
    effect_class = np.empty((count, kept), np.int32)
    effect_value = np.empty((count, kept), np.float32)
    cell = np.asarray(group_of)[effects.sample_rows]
    samples = np.bincount(cell[cell >= 0], minlength=count).astype(np.int32)
    for group in _groups(count, width):
        mean = _effect_sums(group, cell, listed, effects.values, width)
        mean /= np.maximum(samples[group, None], 1)
        order = np.argsort(-mean, axis=1, kind="stable")[:, :kept]
        largest = np.take_along_axis(mean, order, 1)
        unknown = ~np.isfinite(largest)
        effect_class[group] = np.where(unknown, -1, order)
        effect_value[group] = np.where(unknown, np.nan, largest)
    return effect_class, effect_value, samples


def _effect_sums(
    group: slice, cell: NDArray[np.int64], listed: NDArray[np.int32], values: NDArray[np.float32], width: int
) -> NDArray[np.float64]:
    """Sums of effects, (cells of the group, width); minus infinity for a class that no sample of the cell lists."""
    sums = np.zeros((group.stop - group.start, width))
    seen = np.zeros(sums.shape, bool)
    block = max(1, BLOCK_BYTES // (8 * max(1, listed.shape[1])))
    for first in range(0, len(cell), block):
        part = slice(first, first + block)
        inside = (cell[part] >= group.start) & (cell[part] < group.stop)
        valid = inside[:, None] & (listed[part] >= 0)
        key = ((cell[part, None] - group.start) * width + listed[part])[valid]
        np.add.at(sums.reshape(-1), key, values[part][valid].astype(np.float64))
        seen.reshape(-1)[key] = True
    sums[~seen] = -np.inf
    return sums


def _once(listed: NDArray[np.int32]) -> NDArray[np.int32]:
    """A store may list the label's class after the strongest ones although it is among them: drop the repeat."""
    if listed.shape[1] < 2:
        return listed
    repeated = (listed[:, :-1] == listed[:, -1:]).any(axis=1)
    listed = listed.copy()
    listed[repeated, -1] = -1
    return listed


def _mean_per_cell(cell: NDArray[np.int64], value: NDArray[Any], cells: int) -> NDArray[np.float32]:
    """Mean of the values in each cell, NaN where there is none."""
    count = np.bincount(cell, minlength=cells)
    total = np.bincount(cell, weights=value, minlength=cells)
    return np.divide(total, count, out=np.full(cells, np.nan), where=count > 0).astype(np.float32)


def _groups(cells: int, width: int) -> Iterator[slice]:
    """Ranges of cells whose float64 sums of this width fit into the budget."""
    size = max(1, ACCUMULATOR_BYTES // (8 * max(1, width)))
    for first in range(0, cells, size):
        yield slice(first, min(cells, first + size))
