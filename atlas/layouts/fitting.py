"""A layout of too many rows: fitted on some of them, the rest placed against these."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.layouts.descending import Edges, Phase, anchoring_edges, descend_tsne, descend_umap
from atlas.layouts.neighbors import find_among
from atlas.records import Progress, silent

PLACING = Phase(60, 1, 0.8)
"""Iterations for placed rows: they begin beside their nearest fitted one."""
ANCHORING = {"tsne": 10, "umap": 5}
"""Nearest fitted rows that draw a placed one; for UMAP, of 3,000 placed among 3,000, 10 keep 0.60 of the fitted ones'
recall, 5 keep 0.64."""
BESIDE = {"tsne": 0.1, "umap": 0.01}
"""How far from its nearest fitted one a row begins, in the method's own unit."""


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
    method: str,
    *,
    seed: int,
    threads: int,
    progress: Progress = silent,
) -> NDArray[np.float64]:
    """Place the other points against fitted ones, which stay: -> (others, 2), in the unit of `plane` (fitted, 2).

    Each is drawn by its nearest fitted points and pushed by all points, fitted and placed, with the forces of the fit,
    "tsne" or "umap". plane must be the method's own, before any scaling.
    """
    known, others = points[fitted], points[~fitted]
    progress("neighbours of the rest", 0, 1)
    near = find_among(known, others, min(ANCHORING[method], len(known)), seed=seed)
    progress("neighbours of the rest", 1, 1)
    held, rng = plane.astype(np.float32), np.random.default_rng(seed)
    # Beside the nearest, off by less than the gap to it, for points that start at one place would stay together.
    places = held[near[:, 0]] + rng.normal(scale=BESIDE[method], size=(len(near), 2)).astype(np.float32)
    run: dict[str, Any] = {"threads": threads, "held": held, "stage": "placing the rest", "progress": progress}
    if method == "tsne":
        places = descend_tsne(places, anchoring_edges(near), (PLACING,), **run)
    else:
        edges = _weighed(known, others, near, threads)
        places = descend_umap(places, edges, PLACING.iterations, seed=seed, **run)
    return places.astype(np.float64)


def _weighed(known: NDArray[np.float32], others: NDArray[np.float32], near: NDArray[np.int64], threads: int) -> Edges:
    """UMAP's edges to fitted points, as umap-learn's `transform` weighs them."""
    from umap.umap_ import compute_membership_strengths, smooth_knn_dist

    from atlas.layouts.forces import thread_count

    k = near.shape[1]
    apart = np.stack([np.linalg.norm(others - known[near[:, rank]], axis=1) for rank in range(k)], axis=1)
    with thread_count(threads):
        sigmas, rhos = smooth_knn_dist(apart, float(k), local_connectivity=0.0)
        # bipartite: a point and a fitted one of the same number are two.
        often = compute_membership_strengths(near.astype(np.int32), apart, sigmas, rhos, bipartite=True)[2]
    return anchoring_edges(near, often)
