"""Each sample's nearest among the activations, those of its own image left out, and how far two networks share them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.findings.all_pairs import compare_all
from atlas.findings.ranks import Space
from atlas.findings.similarity import Estimate, within
from atlas.layouts.neighbors import Neighbors, find_neighbors
from atlas.layouts.reduce import Metric
from atlas.layouts.rows import Rows, blocks
from atlas.records import Progress, silent

NEAR = 10
"""Neighbours that are compared."""
EXACT = 6_000_000_000_000
"""Up to so many products of numbers all pairs are compared, 50,000 x 2,048 or 100,000 x 512, in memory that does not
grow with the rows. Beyond, inverted lists find nearly all neighbours, and hold the rows."""


def nearest_others(
    rows: Rows,
    image_of: NDArray[np.integer[Any]],
    k: int = NEAR,
    *,
    metric: Metric = "cosine",
    seed: int = 0,
    threads: int = 1,
    progress: Progress = silent,
) -> Neighbors:
    """Find the k nearest samples of other images for each sample, on the activations themselves.

    rows (rows, channels), image_of (rows,). Raises ValueError where some sample has fewer than k of other images. With
    the cosine metric the distance is Euclidean between rows of length 1. All pairs are compared up to EXACT products.
    """
    image_of = np.asarray(image_of)
    most = int(np.bincount(image_of).max(initial=0))
    total = len(image_of)
    if total - most < k:
        raise ValueError(f"{k} neighbours among {total} samples, of which {most} are of one image")
    if total * total * rows.shape[1] <= EXACT:
        space = Space(rows, np.ones(total, bool), metric)
        _, group = np.unique(image_of, return_inverse=True)
        shape = (total, rows.shape[1])
        return compare_all(lambda some: space.points(rows[some]), shape, group, k, threads=threads, progress=progress)
    points = _points(rows, metric, progress)
    wanted = k + most - 1
    progress("neighbours", 0, 1)
    found = find_neighbors(points, wanted, seed=seed, threads=threads)
    progress("neighbours", 1, 1)
    if most == 1:
        return found
    strange = image_of[found.indices] == image_of[:, None]
    order = np.argsort(strange, axis=1, kind="stable")[:, :k]
    return Neighbors(np.take_along_axis(found.indices, order, 1), np.take_along_axis(found.distances, order, 1))


def jaccard(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float32]:
    """Share of the neighbours in either list that are in both: (rows, k) each -> float32 (rows,)."""
    both = np.sort(np.concatenate([one, other], axis=1), axis=1)
    common = (both[:, 1:] == both[:, :-1]).sum(axis=1)
    return (common / (one.shape[1] + other.shape[1] - common)).astype(np.float32)


def mean_overlap(overlap: NDArray[np.float32], image_of: NDArray[np.integer[Any]]) -> Estimate:
    """The mean over samples with its 95 % interval over images, the unit that is drawn."""
    rows = len(overlap)
    value = float(overlap.mean(dtype=np.float64)) if rows else float("nan")
    above = np.bincount(image_of, overlap - value)[np.unique(image_of)] / max(rows, 1)
    # The share lies between 0 and 1: twice it less 1 is what `within` takes.
    found = within(2 * value - 1, 2 * above)
    return Estimate(value, (found.low + 1) / 2, (found.high + 1) / 2)


def crowding(distances: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log of the distance to each sample's farthest neighbour, less the median's: distances (rows, k) -> (rows,).

    Copies, at no distance, count as the smallest distance that is above 0.
    """
    radius = distances[:, -1].astype(np.float64)
    least = radius[radius > 0].min(initial=np.inf)
    log = np.log(np.maximum(radius, least if np.isfinite(least) else 1.0))
    found: NDArray[np.float32] = (log - np.median(log)).astype(np.float32)
    return found


def _points(rows: Rows, metric: Metric, progress: Progress) -> NDArray[np.float32]:
    space = Space(rows, np.ones(rows.shape[0], bool), metric)
    points = np.empty(rows.shape, np.float32)
    for part, block in blocks(rows):
        points[part] = space.points(block)
        progress("rows for neighbours", part.stop, rows.shape[0])
    return points
