"""One layout for several networks' accounts of the same samples: their neighbour graphs averaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atlas.cores import core_count
from atlas.errors import LayoutError
from atlas.layouts.comparing import turn_onto
from atlas.layouts.neighbors import Neighbors
from atlas.layouts.place import fill_unit_square, mark_outliers, place_by_tsne
from atlas.layouts.reduce import Survey, reduce_rows, survey_rows
from atlas.layouts.rows import Rows
from atlas.records import STATES, Layout, Progress, silent


def fuse_neighbors(graphs: Sequence[Neighbors]) -> Neighbors:
    """Average neighbour graphs of the same rows: a list of all lists, (rows, k1 + k2 + ...).

    t-SNE's affinities are uniform over a row's list, and one that stands in it twice counts twice: over the joined
    lists they are the mean of the single graphs'. Distances are not comparable between networks, and are left NaN.
    """
    indices = np.concatenate([graph.indices for graph in graphs], axis=1)
    return Neighbors(indices, np.full(indices.shape, np.nan, np.float32))


def fused_layout(
    rows: Sequence[Rows],
    graphs: Sequence[Neighbors],
    *,
    start: NDArray[np.floating] | None = None,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress = silent,
) -> Layout:
    """Lay samples out once for all networks, by t-SNE over the average of their neighbour graphs.

    rows: each network's activations (samples, channels), the same samples in the same order, all finite; graphs: each
    network's nearest neighbours among them. Samples that are copies of one another in every network share a place.
    start (samples, 2): places to start from and to be turned onto, those of one network's own layout say; without it,
    the first principal components of all networks side by side, each scaled to the same spread. All samples are
    fitted. Raises LayoutError below 3 distinct samples.
    """
    surveys = [survey_rows(one, progress) for one in rows]
    first = _copies([survey.first for survey in surveys])
    distinct = int((first == np.arange(len(first))).sum())
    if distinct < 3:
        raise LayoutError(f"the networks tell {distinct} samples apart: a layout needs at least 3, take more images")
    begin = _principal(rows, surveys, first, seed, progress) if start is None else _whole(start)
    plane = place_by_tsne(
        begin.astype(np.float32),
        fuse_neighbors(graphs),
        seed=seed,
        threads=core_count() if threads is None else threads,
        progress=progress,
    )
    plane = plane[first]
    if not np.isfinite(plane).all():
        raise LayoutError("t-SNE did not converge on the networks' neighbours: try another seed")
    if start is not None:
        plane = turn_onto(plane, start)
    outlier = mark_outliers(plane)
    state = np.where(first == np.arange(len(first)), STATES.index("fitted"), STATES.index("duplicate"))
    state = np.where(outlier, STATES.index("outlier"), state).astype(np.uint8)
    return Layout(fill_unit_square(plane, outlier).astype(np.float32), state)


def _copies(firsts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The first sample that is the same in every network, for each sample: int64 (samples,)."""
    _, index, inverse = np.unique(np.stack(firsts, axis=1), axis=0, return_index=True, return_inverse=True)
    found: NDArray[np.int64] = index[inverse.reshape(-1)]
    return found


def _principal(
    rows: Sequence[Rows], surveys: Sequence[Survey], first: NDArray[np.int64], seed: int, progress: Progress
) -> NDArray[np.float64]:
    """First two principal components of all networks' own, each network scaled to the same spread: (samples, 2)."""
    place = np.cumsum(first == np.arange(len(first))) - 1
    parts = []
    for one, survey in zip(rows, surveys, strict=True):
        points = reduce_rows(one, Survey(first, survey.alive), seed=seed, progress=progress)
        spread = float(np.sqrt((points**2).sum(axis=1).mean()))
        parts.append(points / (spread if spread > 0 else 1.0))
    joined = np.concatenate(parts, axis=1).astype(np.float64)
    joined -= joined.mean(axis=0)
    _, axes = np.linalg.eigh(joined.T @ joined)
    plane = np.zeros((len(joined), 2))
    chosen = axes[:, ::-1][:, :2]
    plane[:, : chosen.shape[1]] = joined @ chosen
    return plane[place[first]]


def _whole(start: NDArray[np.floating]) -> NDArray[np.float64]:
    """Places to start from, those without one in the middle."""
    known = np.isfinite(start).all(axis=1)
    middle = start[known].mean(axis=0) if known.any() else np.zeros(2)
    return np.where(known[:, None], start, middle).astype(np.float64)
