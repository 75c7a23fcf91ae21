"""Points to the plane by t-SNE, UMAP or PCA, and the plane to the unit square."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.layouts.neighbors import Neighbors
from atlas.records import Progress, silent

FFT_ROWS = 3_000
"""From here on interpolation on a grid (FFT) is quicker than Barnes-Hut."""
PARALLEL_ROWS = 10_000
"""Below, an iteration takes 10 ms or less, and starting a second thread for it costs more than it brings."""
EARLY, LATE, LATE_BELOW_MANY = 125, 375, 250
"""Iterations with and without exaggeration: 250 + 500 take half as long again for the same recall, 0.599 (digits).
Under MANY_ROWS, 250 without are enough: 8,000 activations of the embedded set reach a recall of 0.357 in 7.5 s, and
0.358 in 13.5 s with 375. At 100,000 they would cost a fifth of the recall."""
MANY_ROWS = 20_000
FAR = 3.0
"""An outlier lies beyond so many times the distance within which 90 % of the points lie: 6.4 standard deviations of
a Gaussian, 2.8 radii of an evenly filled disc."""


def place_by_pca(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Take the first two principal components as x and y. (rows, components) -> (rows, 2)."""
    plane = np.zeros((len(points), 2))
    plane[:, : points.shape[1]] = points[:, :2]
    return plane


def place_by_tsne(
    points: NDArray[np.float32],
    neighbors: Neighbors,
    *,
    seed: int,
    threads: int,
    progress: Progress = silent,
) -> NDArray[np.float64]:
    """Embed by t-SNE with a uniform kernel over the nearest neighbours, from the principal components on.

    (rows, components) -> (rows, 2). Uniform affinities need 15 neighbours where a perplexity of 30 needs 90, and keep
    as many of the true ones. van der Maaten and Hinton 2008; Linderman et al. 2019 (FFT); Kobak and Berens 2019
    (start and rates).
    """
    import openTSNE

    rows = len(points)
    threads = threads if rows >= PARALLEL_ROWS else 1
    known = openTSNE.nearest_neighbors.PrecomputedNeighbors(neighbors.indices, neighbors.distances)
    affinities = openTSNE.affinity.Uniform(knn_index=known, symmetrize="mean", n_jobs=threads)
    start = _start(points, 1e-4, seed)
    embedding = openTSNE.TSNEEmbedding(
        start,
        affinities,
        negative_gradient_method="fft" if rows >= FFT_ROWS else "bh",
        n_jobs=threads,
        random_state=seed,
    )
    late = LATE if rows >= MANY_ROWS else LATE_BELOW_MANY
    for iterations, before, exaggeration, momentum in ((EARLY, 0, 12, 0.5), (late, EARLY, 1, 0.8)):
        embedding = embedding.optimize(
            iterations,
            exaggeration=exaggeration,
            momentum=momentum,
            learning_rate="auto",
            callbacks=_report(progress, before, EARLY + late),
            callbacks_every_iters=25,
        )
    return np.asarray(embedding, np.float64)


def _start(points: NDArray[np.float32], spread: float, seed: int) -> NDArray[np.float64]:
    """The first two principal components, with x scaled to a standard deviation of `spread`."""
    start = place_by_pca(points)
    start *= spread / max(float(start[:, 0].std()), np.finfo(float).tiny)
    # Points that start on one line or at one place would feel the same forces and stay there.
    return start + np.random.default_rng(seed).normal(scale=0.01 * spread, size=start.shape)


def _report(progress: Progress, before: int, total: int) -> Callable[..., bool]:
    def told(iteration: int, *_: Any) -> bool:
        progress("t-SNE", before + iteration, total)
        return False  # go on

    return told


def place_by_umap(
    points: NDArray[np.float32],
    neighbors: Neighbors,
    *,
    seed: int | None,
    threads: int,
    progress: Progress = silent,
) -> NDArray[np.float64]:
    """Embed by UMAP from the principal components on, over neighbours already found. (rows, components) -> (rows, 2).

    With a seed it runs on one core and repeats itself; with None on all. McInnes et al. 2018.
    """
    import umap

    rows, k = neighbors.indices.shape
    # UMAP counts a point among its own neighbours.
    indices = np.concatenate([np.arange(rows)[:, None], neighbors.indices], axis=1)
    distances = np.concatenate([np.zeros((rows, 1), np.float32), neighbors.distances], axis=1)
    start = _start(points, 1.0, seed or 0)
    progress("UMAP", 0, 1)
    with warnings.catch_warnings():
        # It warns that it cannot transform new points without a search index, and that a seed means one core.
        warnings.simplefilter("ignore")
        plane = umap.UMAP(
            n_neighbors=k + 1,
            min_dist=0.01,
            metric="euclidean",
            init=start.astype(np.float32),
            precomputed_knn=(indices, distances),
            force_approximation_algorithm=True,  # else it ignores the neighbours below 4,096 points
            random_state=seed,
            n_jobs=threads,
        ).fit_transform(points)
    progress("UMAP", 1, 1)
    return np.asarray(plane, np.float64)


def mark_outliers(plane: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which points lie far from the bulk, (rows,): a few of them would squeeze all others into a corner."""
    distance = np.linalg.norm(plane - np.median(plane, axis=0), axis=1)
    reach = float(np.quantile(distance, 0.9))
    return distance > FAR * reach if reach > 0 else np.zeros(len(plane), bool)


def fill_unit_square(plane: NDArray[np.float64], outlier: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Move and scale, both axes alike, so that the inliers fill [0, 1] along the longer axis, centred on the other.

    (rows, 2) -> float32 (rows, 2); x stays x, to the right, and y stays y, up. Outliers move along and may end
    outside; nothing is clipped to the border.
    """
    lowest, highest = plane[~outlier].min(axis=0), plane[~outlier].max(axis=0)
    extent = highest - lowest
    side = float(extent.max())
    if not side > 0:
        raise ValueError("all inliers lie at one place")
    placed = ((plane - lowest) / side + (1 - extent / side) / 2).astype(np.float32)
    placed[~outlier] = placed[~outlier].clip(0, 1)  # against the last bit of rounding
    return placed
