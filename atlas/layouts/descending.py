"""Places moved by the forces of t-SNE or of UMAP: all together, or new ones among others that stay where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.layouts.neighbors import Neighbors
from atlas.records import Progress, silent

LONGEST = 5.0
"""No point moves further than this in one iteration of t-SNE, in units of the kernel's width."""
UPDATES = 25
"""Iterations between two reports of progress."""
MIN_DIST = 0.01
"""UMAP's closest packing."""

Places = NDArray[np.float32]


@dataclass(frozen=True)
class Phase:
    """Some iterations of t-SNE: how many, how much stronger attraction is, and the momentum."""

    iterations: int
    exaggeration: float
    momentum: float


@dataclass(frozen=True)
class Edges:
    """What draws each point: point i is drawn to index[start[i]:start[i + 1]], with so much weight each.

    start int64 (points + 1,), index int32 (edges,), weight float32 (edges,): for t-SNE the weights of a point sum to
    about 1; for UMAP they say how often an edge is taken, 1 for each epoch.
    """

    start: NDArray[np.int64]
    index: NDArray[np.int32]
    weight: NDArray[np.float32]


def mutual_edges(neighbors: Neighbors) -> Edges:
    """How strongly points attract their neighbours, and are attracted by those whose neighbours they are."""
    from scipy.sparse import csr_matrix

    rows, k = neighbors.indices.shape
    ends = np.arange(0, rows * k + 1, k)
    one_way = csr_matrix((np.ones(rows * k, np.float32), neighbors.indices.ravel(), ends), (rows, rows))
    both = (one_way + one_way.T).tocsr()
    both.data *= np.float32(1 / (2 * k))
    return Edges(both.indptr.astype(np.int64), both.indices.astype(np.int32, copy=False), both.data)


def anchoring_edges(near: NDArray[np.integer[Any]], weight: NDArray[np.float32] | None = None) -> Edges:
    """Edges to anchors, (points, k) of them; all alike unless weights, as many, are given."""
    rows, k = near.shape
    flat = np.full(rows * k, 1 / k, np.float32) if weight is None else weight.astype(np.float32).ravel()
    return Edges(np.arange(0, rows * k + 1, k), near.astype(np.int32).ravel(), flat)


def descend_tsne(
    places: Places,
    edges: Edges,
    phases: Sequence[Phase],
    *,
    threads: int,
    held: Places | None = None,
    line: bool = False,
    stage: str = "t-SNE",
    progress: Progress = silent,
) -> Places:
    """Move points by t-SNE's gradient, in the kernel's unit. float32 (points, 2) -> (points, 2).

    All points push each other, and edges are between them; with `held` (others, 2) these stay, edges lead to them, and
    they push too. With `line` all y end at 0. The gradient is taken times the number of points, so that neither rates
    nor weights depend on it. van der Maaten and Hinton 2008; Kobak and Berens 2019 for the rate.
    """
    from atlas.layouts.forces import Field, step, thread_count

    field = Field(threads)
    update, gains = np.zeros_like(places), np.ones_like(places)
    total, done = sum(phase.iterations for phase in phases), 0
    with thread_count(threads):
        for phase in phases:
            for _ in range(phase.iterations):
                if line:
                    # Pressed flat over half of the way, so that clusters can still pass one another.
                    places[:, 1] *= np.float32(max(0.0, 1 - (2 * done / total) ** 2))
                if done % UPDATES == 0:
                    progress(stage, done, total)
                phi, slope = field.at(places if held is None else np.concatenate([held, places]), places)
                # phi counts each point itself.
                balance = np.float32(0.5 / max(phi / len(places) - 1, 1e-30))
                places = step(
                    places, places if held is None else held, edges.start, edges.index, edges.weight, slope, update,
                    gains, np.float32(phase.exaggeration), balance, np.float32(phase.momentum),
                    np.float32(1 / phase.exaggeration), np.float32(LONGEST), threads,
                )  # fmt: skip
                done += 1
    progress(stage, total, total)
    if line:
        places[:, 1] = 0
    return places


def descend_umap(
    places: Places,
    edges: Edges,
    epochs: int,
    *,
    seed: int,
    threads: int,
    held: Places | None = None,
    stage: str = "UMAP",
    progress: Progress = silent,
) -> Places:
    """Move points by UMAP's sampled forces, as `descend_tsne` does by t-SNE's. McInnes et al. 2018."""
    from atlas.layouts.forces import thread_count
    from atlas.layouts.umap_forces import descend

    table, first = _umap_table(), 0 if held is None else len(held)
    with thread_count(threads):
        for epoch in range(epochs):
            if epoch % UPDATES == 0:
                progress(stage, epoch, epochs)
            # Each edge pulls twice, as both of its ends do in umap-learn.
            places = descend(
                places if held is None else np.concatenate([held, places]), first, edges.start, edges.index,
                edges.weight, table, np.float32(2), np.float32(1 - epoch / epochs), epoch, seed, threads,
            )  # fmt: skip
    progress(stage, epochs, epochs)
    return places


@cache
def _umap_table() -> NDArray[np.float32]:
    """UMAP's forces at MIN_DIST, tabulated."""
    from umap.umap_ import find_ab_params

    from atlas.layouts.umap_forces import tabulate_forces

    return tabulate_forces(*find_ab_params(1.0, MIN_DIST))
