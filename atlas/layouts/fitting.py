"""A layout of too many rows: fitted on some of them, the rest placed against these."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.layouts.neighbors import find_among
from atlas.layouts.place import LONGEST, UPDATES, Phase
from atlas.records import Progress, silent

PLACING = Phase(60, 1, 0.8)
"""Iterations for placed rows: they begin beside their nearest fitted one."""
ANCHORING = 10
"""Nearest fitted rows that draw a placed one."""
UMAP_ANCHORING = 5
"""The same for UMAP: of 3,000 placed among 3,000, 10 keep 0.60 of the fitted ones' recall, 5 keep 0.64."""

COVERED = 1.5e-4
"""As a share of the map's side. The grid of forces does not resolve such distances, so points with the same nearest
fitted ones come to lie on one another."""


def choose_fitted(
    rows: NDArray[np.int64],
    most: int,
    labels: NDArray[np.integer[Any]] | None,
    wrong: NDArray[np.bool_] | None,
    seed: int,
) -> NDArray[np.int64]:
    """Choose which of some rows a layout is fitted on, ascending; all when there are at most `most`.

    A quarter of `most` is shared out evenly among the classes, so that a rare one comes whole; a quarter goes to rows
    of wrongly predicted images, as far as they go; the rest is drawn evenly. labels (all rows,) with -1 for none and
    wrong (all rows,) are indexed by `rows`.
    """
    if len(rows) <= most:
        return rows
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(rows)
    chosen = np.zeros(len(shuffled), bool)
    if labels is not None:
        label = np.asarray(labels)[shuffled]
        order = np.argsort(label, kind="stable")
        rank = np.empty(len(label), np.int64)
        rank[order] = np.arange(len(label)) - np.searchsorted(label[order], label[order])
        chosen |= (label >= 0) & (rank < most // (4 * max(1, len(np.unique(label[label >= 0])))))
    if wrong is not None:
        free = np.flatnonzero(np.asarray(wrong)[shuffled] & ~chosen)
        chosen[free[: most // 4]] = True
    chosen[np.flatnonzero(~chosen)[: most - int(chosen.sum())]] = True
    return np.sort(shuffled[chosen])


def place_among(
    points: NDArray[np.float32],
    fitted: NDArray[np.bool_],
    plane: NDArray[np.float64],
    *,
    seed: int,
    threads: int,
    progress: Progress = silent,
) -> NDArray[np.float64]:
    """Place the other points against fitted ones, which stay: -> (others, 2), in the unit of `plane` (fitted, 2).

    Each is drawn by its nearest fitted points and pushed by all points, fitted and placed, with the forces of the fit.
    Without the push of the other placed ones 3 % of them end within 1e-4 of another. plane must be t-SNE's own,
    before any scaling.
    """
    from atlas.layouts.forces import Field, step, thread_count

    known, others = points[fitted], points[~fitted]
    progress("neighbours of the rest", 0, 1)
    near = find_among(known, others, min(ANCHORING, len(known)), seed=seed)
    progress("neighbours of the rest", 1, 1)
    rows, k = near.shape
    held = plane.astype(np.float32)
    rng = np.random.default_rng(seed)
    # Beside the nearest, off by less than the gap to it, for points that start at one place would stay together.
    places = held[near[:, 0]] + rng.normal(scale=0.1, size=(rows, 2)).astype(np.float32)
    start = np.arange(0, rows * k + 1, k)
    weight = np.full(rows * k, 1 / k, np.float32)
    field = Field(threads)
    update, gains = np.zeros_like(places), np.ones_like(places)
    with thread_count(threads):
        for done in range(PLACING.iterations):
            if done % UPDATES == 0:
                progress("placing the rest", done, PLACING.iterations)
            phi, slope = field.at(np.concatenate([held, places]), places)
            balance = np.float32(0.5 / max(phi / rows - 1, 1e-30))
            places = step(
                places, held, start, near.ravel(), weight, slope, update, gains, np.float32(PLACING.exaggeration),
                balance, np.float32(PLACING.momentum), np.float32(1), np.float32(LONGEST), threads,
            )  # fmt: skip
    progress("placing the rest", PLACING.iterations, PLACING.iterations)
    return _uncover(places.astype(np.float64), held.astype(np.float64), rng)


def place_among_by_umap(
    points: NDArray[np.float32],
    fitted: NDArray[np.bool_],
    plane: NDArray[np.float64],
    *,
    seed: int,
    threads: int,
    progress: Progress = silent,
) -> NDArray[np.float64]:
    """Place the other points against fitted ones, which stay, by UMAP's descent: as `place_among`, with its forces.

    How strongly each fitted neighbour pulls is umap-learn's `transform`'s; twice, as both ends of an edge do in the
    fit, or placed points would be pushed out from among their like. plane must be UMAP's own, unscaled.
    """
    from umap.umap_ import compute_membership_strengths, smooth_knn_dist

    from atlas.layouts.forces import thread_count
    from atlas.layouts.place import umap_table
    from atlas.layouts.umap_forces import descend

    known, others = points[fitted], points[~fitted]
    progress("neighbours of the rest", 0, 1)
    near = find_among(known, others, min(UMAP_ANCHORING, len(known)), seed=seed)
    progress("neighbours of the rest", 1, 1)
    rows, k = near.shape
    apart = np.stack([np.linalg.norm(others - known[near[:, rank]], axis=1) for rank in range(k)], axis=1)
    rng = np.random.default_rng(seed)
    held = plane.astype(np.float32)
    places = held[near[:, 0]] + rng.normal(scale=0.01, size=(rows, 2)).astype(np.float32)
    start = np.arange(0, rows * k + 1, k)
    with thread_count(threads):
        sigmas, rhos = smooth_knn_dist(apart, float(k), local_connectivity=0.0)
        # bipartite: a point and a fitted one of the same number are two.
        often = compute_membership_strengths(near.astype(np.int32), apart, sigmas, rhos, bipartite=True)[2]
        for epoch in range(PLACING.iterations):
            if epoch % UPDATES == 0:
                progress("placing the rest", epoch, PLACING.iterations)
            places = descend(
                np.concatenate([held, places]), len(held), start, near.ravel(), often.astype(np.float32), umap_table(),
                np.float32(2), np.float32(1 - epoch / PLACING.iterations), epoch, seed, threads,
            )  # fmt: skip
    progress("placing the rest", PLACING.iterations, PLACING.iterations)
    return _uncover(places.astype(np.float64), held.astype(np.float64), rng)


def _uncover(places: NDArray[np.float64], held: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Move placed points that lie within COVERED of another by about twice that, so that one can point at each."""
    from scipy.spatial import cKDTree

    least = COVERED * float(np.ptp(held, axis=0).max())
    for _ in range(3):
        gap = cKDTree(np.concatenate([held, places])).query(places, 2)[0][:, 1]
        covered = np.flatnonzero(gap < least)
        if not len(covered):
            break
        places[covered] += rng.normal(scale=2 * least, size=(len(covered), 2))
    return places
