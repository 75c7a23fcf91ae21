"""How far a layout can be trusted: what it keeps of the neighbourhoods among the raw activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.findings.classes import ClassTable, compare_classes
from atlas.findings.ranks import Space, rank_others
from atlas.layouts.reduce import Metric, Survey, reduce_rows
from atlas.layouts.rows import Rows, resident
from atlas.records import STATES, Layout, Level, Progress, silent

NEAR, WIDE = 15, 50
"""Neighbourhoods that are compared."""
ANCHORS = 2_000
"""Samples drawn for the figures of a whole layer: of as many images, a recall of 0.2 is then known to within 0.01."""
PER_CELL = 5
"""Below so many anchors a cell's trust is its parent's."""
PAIRS = 200_000_000
"""Comparisons of an anchor with a sample that the trust of cells may cost: 5 s for 512 channels on two cores."""


@dataclass(frozen=True)
class Quality:
    """What a layer's layout keeps; a figure is None where there are too few samples, images or classes for it.

    recall_15, recall_50: mean share of a sample's nearest among the raw activations that are among its nearest on the
    map. trustworthiness, continuity: at 15, ranked against all samples, 1 without false (without lost) neighbours;
    Venna and Kaski 2006. centroids: Spearman's correlation of the distances between classes' centroids, map against
    raw. pca_recall_15: as recall_15, for the principal components that a layout starts from. fitted_recall_15 and
    placed_recall_15: recall_15 of the samples that were fitted, and of those placed afterwards.

    anchors int64 (anchors,) are the samples that were looked at and recall float32 (anchors,) each one's recall at
    15; the first `drawn` are drawn evenly, the figures are over these, and the others fill up sparse cells. No
    neighbourhood counts samples of the anchor's own image, and copies of an earlier row are left out.
    """

    recall_15: float | None
    recall_50: float | None
    trustworthiness: float | None
    continuity: float | None
    centroids: float | None
    pca_recall_15: float | None
    fitted_recall_15: float | None
    placed_recall_15: float | None
    anchors: NDArray[np.int64]
    recall: NDArray[np.float32]
    drawn: int
    classes: ClassTable

    def figures(self) -> dict[str, float | None]:
        """The figures of the whole layer by name."""
        return {name: value for name, value in vars(self).items() if value is None or isinstance(value, float)}


def measure_quality(
    rows: Rows,
    layout: Layout,
    image_of: NDArray[np.integer],
    labels: NDArray[np.integer] | None = None,
    *,
    classes: int = 0,
    metric: Metric = "cosine",
    levels: Sequence[Level] = (),
    anchors: int = ANCHORS,
    pairs: int = PAIRS,
    seed: int = 0,
    progress: Progress = silent,
) -> Quality:
    """Compare a layout with the rows (rows, channels) that it was made from; they are streamed a few times.

    image_of (rows,) indexes the images and their labels (-1: none; below `classes`). With levels, more anchors are
    taken where a cell has fewer than PER_CELL, as far as `pairs` comparisons go.
    """
    image_of, keep = np.asarray(image_of), _counted(layout)
    kept = resident(rows)
    raw, flat = Space(kept, keep, metric), Space(layout.positions, keep)
    drawn = draw_anchors(keep, anchors, seed)
    more = fill_cells(levels, drawn, pairs // max(1, int(keep.sum())), keep, seed)
    fewest = _fewest_others(keep, image_of)
    chosen = np.concatenate([drawn, more])
    table = compare_classes(raw, flat, image_of, labels, classes)
    none = np.full(len(chosen), np.nan, np.float32)
    if fewest <= 2 * NEAR:
        return Quality(None, None, None, None, table.centroids, None, None, None, chosen, none, len(drawn), table)
    k = WIDE if fewest > 2 * WIDE else NEAR
    on_map = rank_others(flat, image_of, chosen, k).indices
    truth = rank_others(raw, image_of, drawn, k, on_map[: len(drawn), :NEAR], progress=progress)
    rest = truth.indices[:0, :NEAR]
    if len(more):
        rest = rank_others(raw, image_of, more, NEAR, stage="trust of cells", progress=progress).indices
    lost = rank_others(flat, image_of, drawn, 1, truth.indices[:, :NEAR]).nearer
    recall = shared(np.concatenate([truth.indices[:, :NEAR], rest]), on_map[:, :NEAR])
    size = keep.sum() - np.bincount(image_of[keep])[image_of[drawn]] + 1
    share = recall[: len(drawn)]
    placed = layout.state[drawn] == STATES.index("placed")
    return Quality(
        recall_15=float(share.mean()),
        recall_50=float(shared(truth.indices, on_map[: len(drawn)]).mean()) if k == WIDE else None,
        trustworthiness=_kept_ranks(truth.nearer, size),
        continuity=_kept_ranks(lost, size),
        centroids=table.centroids,
        pca_recall_15=_pca_recall(kept, keep, image_of, drawn, truth.indices[:, :NEAR], metric, seed),
        fitted_recall_15=float(share[~placed].mean()) if not placed.all() else None,
        placed_recall_15=float(share[placed].mean()) if placed.any() else None,
        anchors=chosen,
        recall=recall,
        drawn=len(drawn),
        classes=table,
    )


def measure_stability(
    one: Layout, other: Layout, image_of: NDArray[np.integer], *, anchors: int = ANCHORS, seed: int = 0
) -> float | None:
    """Say which share of a sample's 15 nearest on one map are among its 15 nearest on the other, on average.

    None where some sample has fewer than 31 samples of other images. The two layouts are of the same rows, made with
    another seed.
    """
    image_of, keep = np.asarray(image_of), _counted(one) & _counted(other)
    if _fewest_others(keep, image_of) <= 2 * NEAR:
        return None
    drawn = draw_anchors(keep, anchors, seed)
    near = [rank_others(Space(v.positions, keep), image_of, drawn, NEAR).indices for v in (one, other)]
    return float(shared(*near).mean())


def cell_trust(
    levels: Sequence[Level], anchors: NDArray[np.int64], recall: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Mean recall of each cell's anchors, float32 (cells,) for each level, coarsest first; NaN where nothing is known.

    A cell with fewer than PER_CELL anchors has its parent's value; one of the coarsest level what anchors it has.
    """
    found: list[NDArray[np.float32]] = []
    for number, level in enumerate(levels):
        cell = _cell_of(level, len(level.members) and int(max(level.members.max(), anchors.max(initial=0))) + 1)
        inside = cell[anchors] >= 0 if len(cell) else np.zeros(len(anchors), bool)
        known = inside & np.isfinite(recall)
        count = np.bincount(cell[anchors[known]], minlength=len(level)) if known.any() else np.zeros(len(level), int)
        total = np.bincount(cell[anchors[known]], recall[known], len(level)) if known.any() else np.zeros(len(level))
        trust = np.divide(total, count, out=np.full(len(level), np.nan), where=count > 0)
        if number:
            few = count < PER_CELL
            trust[few] = found[-1][_parents(level, levels[number - 1])][few]
        found.append(trust.astype(np.float32))
    return found


def draw_anchors(keep: NDArray[np.bool_], anchors: int, seed: int) -> NDArray[np.int64]:
    """Draw rows evenly among those that count, ascending; all of them when there are no more."""
    rows = np.flatnonzero(keep)
    if len(rows) <= anchors:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, anchors, replace=False))


def fill_cells(
    levels: Sequence[Level], drawn: NDArray[np.int64], most: int, keep: NDArray[np.bool_], seed: int
) -> NDArray[np.int64]:
    """Draw more rows so that cells have PER_CELL anchors, coarse levels first; at most `most` of them."""
    rng = np.random.default_rng(seed)
    taken = np.zeros(len(keep), bool)
    taken[drawn] = True
    more: list[NDArray[np.int64]] = []
    for level in levels:
        cell = np.repeat(np.arange(len(level)), level.samples)
        lacking = PER_CELL - np.bincount(cell[taken[level.members]], minlength=len(level))
        free = keep[level.members] & ~taken[level.members]
        rows, of = level.members[free], cell[free]
        order = np.lexsort((rng.random(len(rows)), of))
        rank = np.arange(len(of)) - np.searchsorted(of, of)
        chosen = rows[order][rank < lacking[of]][: max(0, most - sum(map(len, more)))]
        taken[chosen] = True
        more.append(chosen)
    return np.concatenate(more) if more else np.empty(0, np.int64)


def shared(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float32]:
    """Share of each row of `one` that stands in the same row of `other`, (rows, k) each -> float32 (rows,)."""
    return np.array([np.isin(a, b).mean() for a, b in zip(one, other, strict=True)], np.float32).reshape(len(one))


def _kept_ranks(nearer: NDArray[np.int64], size: NDArray[np.int64]) -> float:
    """1 less the mean of how far neighbours lie beyond the k nearest, scaled so that the worst is 0.

    nearer (anchors, k), the samples that are nearer than each neighbour; size (anchors,), the samples of other images
    and the anchor. Venna and Kaski 2006, equation 1, as scikit-learn's trustworthiness.
    """
    k = nearer.shape[1]
    beyond = np.maximum(nearer + 1 - k, 0).sum(axis=1)
    return float(np.mean(1 - 2 * beyond / (k * (2 * size - 3 * k - 1))))


def _pca_recall(
    rows: Rows,
    keep: NDArray[np.bool_],
    image_of: NDArray[np.integer],
    drawn: NDArray[np.int64],
    truth: NDArray[np.int64],
    metric: Metric,
    seed: int,
) -> float:
    survey = Survey(np.where(keep, np.arange(len(keep)), -1), np.ones(rows.shape[1], bool))
    points = reduce_rows(rows, survey, metric=metric, seed=seed)
    place = np.cumsum(keep) - 1
    near = rank_others(Space(points, np.ones(len(points), bool)), image_of[keep], place[drawn], NEAR).indices
    return float(shared(truth, np.flatnonzero(keep)[near]).mean())


def _counted(layout: Layout) -> NDArray[np.bool_]:
    """The rows that have a place of their own."""
    return np.isfinite(layout.positions).all(axis=1) & (layout.state != STATES.index("duplicate"))


def _fewest_others(keep: NDArray[np.bool_], image_of: NDArray[np.integer]) -> int:
    """How many rows of other images the row has that has fewest."""
    return int(keep.sum() - np.bincount(image_of[keep]).max()) if keep.any() else 0


def _cell_of(level: Level, rows: int) -> NDArray[np.int64]:
    cell = np.full(rows, -1, np.int64)
    cell[level.members] = np.repeat(np.arange(len(level)), level.samples)
    return cell


def _parents(level: Level, above: Level) -> NDArray[np.int64]:
    """Index of each cell's parent one level up, (cells,)."""
    key = above.row.astype(np.int64) * above.side + above.column
    return np.searchsorted(key, (level.row // 2).astype(np.int64) * above.side + level.column // 2)
