"""Points to the plane by t-SNE, UMAP, PaCMAP or PCA, and the plane to the unit square."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import LayoutError
from atlas.layouts.descending import Edges, Phase, descend_tsne, descend_umap, mutual_edges
from atlas.layouts.neighbors import Neighbors
from atlas.records import Progress, silent

MANY = 100_000
"""Above so many points t-SNE takes longer: a map spreads by so much an iteration, however wide it must become."""
ATTRACTING = 0.8
"""The share of the neighbours found, the nearest, that t-SNE draws a point to: among the last the wrong ones are.
100,000 rows keep 0.291 of their 15 nearest with 12 of 15, 0.279 with all, for a sixth less time."""
PARALLEL_ROWS = 5_000
"""Below, starting a second thread for an iteration costs as much as it brings."""
FEW, EPOCHS_OF_FEW, EPOCHS = 10_000, 500, 120
"""Up to so many points either method takes longer. UMAP's epochs there, umap-learn's own, and above: 100,000 keep 0.075
of their neighbours after 120, 0.081 after umap-learn's 200, which take 5 s of processor time more; its own descent
keeps 0.064."""
UMAP_SPREAD = 2.5
"""The standard deviation of x at UMAP's start, which umap-learn makes 10 wide."""
CLOSE, PARTINGS = 1e-4, 8
"""Points nearer than this, in the unit square, are parted, in so many rounds. Of a million evenly strewn at random 3 %
would be; the grid of t-SNE's forces does not resolve such distances."""
FAR = 3.0
"""An outlier lies beyond so many times the distance within which 90 % of the points lie: 6.4 standard deviations of
a Gaussian, 2.8 radii of an evenly filled disc."""


def place_by_pca(points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Take the first two principal components as x and y. (rows, components) -> (rows, 2)."""
    plane = np.zeros((len(points), 2))
    plane[:, : points.shape[1]] = points[:, :2]
    return plane


def phases_of(rows: int) -> tuple[Phase, ...]:
    """The phases of a t-SNE of so many points.

    Attraction is let go in steps and the momentum raised last: from 12 at once to 1 at 0.97, points shoot past one
    another along the axes, which shows as a cross on the map. On the way it is weaker than it should be in the end, for
    the map has to spread: 100,000 rows keep 0.284 of their neighbours, and 0.261 with full attraction all along.
    200 iterations keep as many neighbours as 300; few points, which cost little, have these: in the graph of two
    networks that disagree they come further apart.
    """
    longer = 1.5 if rows <= FEW else 1.0
    spreading = max(longer, (rows / MANY) ** 0.5)
    return (
        Phase(round(40 * longer), 12, 0.8),
        Phase(round(20 * longer), 4, 0.8),
        Phase(round(20 * longer), 0.7, 0.8),
        Phase(round(80 * spreading), 0.7, 0.95),
        Phase(round(40 * longer), 1, 0.95),
    )


def place_by_tsne(
    points: NDArray[np.float32],
    neighbors: Neighbors,
    *,
    seed: int,
    threads: int,
    start: NDArray[np.floating[Any]] | None = None,
    line: bool = False,
    progress: Progress = silent,
) -> NDArray[np.float64]:
    """Embed by t-SNE with a uniform kernel over the nearest neighbours.

    (rows, components) -> (rows, 2), from the principal components on or from `start` (rows, 2), in any unit. With
    `line` all y stay 0: t-SNE in one dimension. Uniform affinities need 15 neighbours where a perplexity of 30 needs
    90, and keep as many of the true ones. van der Maaten and Hinton 2008; Kobak and Berens 2019 (start and rates).
    """
    threads = threads if len(points) >= PARALLEL_ROWS else 1
    places = _start(points if start is None else start, 1e-4, seed).astype(np.float32)
    edges = mutual_edges(neighbors)
    return descend_tsne(places, edges, phases_of(len(points)), threads=threads, line=line, progress=progress).astype(
        np.float64
    )


def _start(points: NDArray[np.floating[Any]], spread: float, seed: int) -> NDArray[np.float64]:
    """The first two columns about their mean, the wider scaled to a standard deviation of `spread`."""
    start = place_by_pca(points)
    start -= start.mean(axis=0)
    widest = float(start.std(axis=0).max())
    # Of places that are all the same, rounding is left, which must not be scaled up.
    start *= spread / widest if widest > 1e-12 * float(np.abs(points[:, :2]).max()) else 0.0
    # Points that start on one line or at one place would feel the same forces and stay there.
    return start + np.random.default_rng(seed).normal(scale=0.01 * spread, size=start.shape)


def place_by_umap(
    points: NDArray[np.float32],
    neighbors: Neighbors,
    *,
    seed: int,
    threads: int,
    start: NDArray[np.floating[Any]] | None = None,
    progress: Progress = silent,
) -> NDArray[np.float64]:
    """Embed by UMAP over neighbours already found, from the principal components on or from `start` (rows, 2).

    (rows, components) -> (rows, 2). The graph is umap-learn's, its descent this project's own, which gives the same
    places whatever the number of threads. McInnes et al. 2018.
    """
    threads = threads if len(points) >= PARALLEL_ROWS else 1
    epochs = EPOCHS_OF_FEW if len(points) <= FEW else EPOCHS
    edges = _fuzzy_edges(points, neighbors, epochs, threads)
    places = begin_umap(points if start is None else start, seed)
    return descend_umap(places, edges, epochs, seed=seed, threads=threads, progress=progress).astype(np.float64)


def begin_umap(points: NDArray[np.floating[Any]], seed: int) -> NDArray[np.float32]:
    """Where UMAP begins, in its unit: the first two columns. (rows, columns) -> (rows, 2)."""
    return _start(points, UMAP_SPREAD, seed).astype(np.float32)


def _fuzzy_edges(points: NDArray[np.float32], neighbors: Neighbors, epochs: int, threads: int) -> Edges:
    """UMAP's graph: how often each edge is taken, 1 for each epoch; those never taken left out."""
    from umap.umap_ import fuzzy_simplicial_set

    from atlas.layouts.forces import thread_count

    rows, k = neighbors.indices.shape
    # UMAP counts a point among its own neighbours.
    indices = np.concatenate([np.arange(rows)[:, None], neighbors.indices], axis=1)
    distances = np.concatenate([np.zeros((rows, 1), np.float32), neighbors.distances], axis=1)
    known = {"knn_indices": indices, "knn_dists": distances}
    with thread_count(threads):
        graph = fuzzy_simplicial_set(points, k + 1, None, "euclidean", **known)[0].tocsr()
    graph.data = (graph.data / graph.data.max()).astype(np.float32)
    graph.data[graph.data < 1 / epochs] = 0
    graph.eliminate_zeros()
    return Edges(graph.indptr.astype(np.int64), graph.indices.astype(np.int32, copy=False), graph.data)


def place_by_pacmap(
    points: NDArray[np.float32],
    neighbors: Neighbors,
    *,
    seed: int,
    threads: int,
    start: NDArray[np.floating[Any]] | None = None,
    progress: Progress = silent,
) -> NDArray[np.float64]:
    """Embed by PaCMAP over neighbours already found. (rows, components) -> (rows, 2). Wang et al. 2021.

    Raises LayoutError without the package, and for too few rows to draw its further pairs from.
    """
    from atlas.layouts.forces import thread_count

    try:
        import pacmap  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise LayoutError("pacmap is not installed: pip install 'activation-atlas[pacmap]', or take tsne") from None
    rows, k = neighbors.indices.shape
    if rows <= 4 * k:
        raise LayoutError(
            f"PaCMAP of {rows} distinct rows cannot draw pairs beside {k} neighbours: "
            f"set neighbors to at most {max(1, (rows - 1) // 4)}, or take tsne"
        )
    pairs = np.stack([np.repeat(np.arange(rows), k), neighbors.indices.ravel()], axis=1).astype(np.int32)
    progress("PaCMAP", 0, 1)
    with thread_count(threads):
        reducer = pacmap.PaCMAP(n_neighbors=k, pair_neighbors=pairs, random_state=seed)
        plane = reducer.fit_transform(points, init="pca" if start is None else place_by_pca(start.astype(np.float32)))
    progress("PaCMAP", 1, 1)
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


def part_close(places: NDArray[np.float32], *, seed: int, threads: int) -> NDArray[np.float32]:
    """Move points that lie within CLOSE of another off it, so that one can point at each. float32 (points, 2).

    A point goes half of what lacks, straight away from its nearest, a few rounds long; of 100,000 on a t-SNE 2 % are
    moved, none by more than 1.3 x CLOSE. In the unit square; where more points are than have room, some stay close.
    """
    from scipy.spatial import cKDTree

    moved, rng = places.astype(np.float64), np.random.default_rng(seed)
    looked_at = np.arange(len(moved))
    for _ in range(PARTINGS):
        gap, near = cKDTree(moved).query(moved[looked_at], 2, workers=threads)
        own = (near[:, 0] == looked_at).astype(int)  # a point need not come first among others at its place
        each = np.arange(len(looked_at))
        close = gap[each, own] < CLOSE
        if not close.any():
            break
        one, other, apart = looked_at[close], near[each, own][close], gap[each, own][close]
        turn = rng.uniform(0, 2 * np.pi, len(one))
        away = np.where(
            (apart > 1e-3 * CLOSE)[:, None],
            (moved[one] - moved[other]) / np.maximum(apart, 1e-300)[:, None],
            np.stack([np.cos(turn), np.sin(turn)], axis=1),
        )
        moved[one] += 0.5 * (1.25 * CLOSE - apart)[:, None] * away
        looked_at = np.union1d(one, other)
    return moved.astype(np.float32).clip(0, 1)
