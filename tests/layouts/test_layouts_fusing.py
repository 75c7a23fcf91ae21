"""Layouts of several networks at once: averaged graphs by their definition, and structure that each network has."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from atlas.errors import LayoutError
from atlas.layouts.descending import mutual_edges
from atlas.layouts.fusing import fuse_neighbors, fused_layout
from atlas.layouts.neighbors import Neighbors, find_neighbors
from atlas.records import STATES, Layout

Floats = NDArray[np.floating]


def dense(neighbors: Neighbors) -> Floats:
    edges = mutual_edges(neighbors)
    rows = len(neighbors.indices)
    found = np.zeros((rows, rows))
    for i in range(rows):
        for edge in range(edges.start[i], edges.start[i + 1]):
            found[i, edges.index[edge]] += edges.weight[edge]
    return found


def clouds(labels: NDArray[np.int64], channels: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    centre = 8 * rng.normal(size=(labels.max() + 1, channels))
    return (centre[labels] + rng.normal(size=(len(labels), channels))).astype(np.float32)


def graph(rows: Floats, k: int = 10) -> Neighbors:
    return find_neighbors(rows.astype(np.float32), k)


def test_fused_affinities_are_the_mean_of_the_networks() -> None:
    rng = np.random.default_rng(0)
    graphs = [graph(rng.normal(size=(60, 8)), 7) for _ in range(3)]
    np.testing.assert_allclose(dense(fuse_neighbors(graphs)), np.mean([dense(g) for g in graphs], axis=0), rtol=1e-5)


def test_what_either_network_tells_apart_is_apart_on_the_map() -> None:
    """A takes classes 0 and 1 for one, B 2 and 3: on A's map alone 0 and 1 are mixed, on the fused one neither is."""
    of = np.arange(480) % 8
    rows = [clouds(np.where(of == pair[1], pair[0], of), 12, seed) for seed, pair in enumerate([(0, 1), (2, 3)])]
    graphs = [graph(r) for r in rows]

    def alike(layout: Layout, classes: list[int]) -> float:
        some = np.isin(of, classes)
        return float((of[graph(layout.positions).indices] == of[:, None])[some].mean())

    alone, fused = fused_layout(rows[:1], graphs[:1]), fused_layout(rows, graphs)
    assert alike(alone, [0, 1]) < 0.6
    assert min(alike(fused, [0, 1]), alike(fused, [2, 3])) > 0.85


def test_a_start_is_kept_to() -> None:
    rows = [clouds(np.arange(300) % 6, 12, seed) for seed in (1, 2)]
    graphs = [graph(r) for r in rows]
    first = fused_layout(rows, graphs, seed=0).positions
    turned = np.stack([-first[:, 1], first[:, 0]], axis=1)
    turned[:5] = np.nan
    again = fused_layout(rows, graphs, start=turned, seed=1).positions
    classes = np.arange(300) % 6
    before, after = (np.stack([p[5:][classes[5:] == c].mean(axis=0) for c in range(6)]) for p in (turned, again))
    before, after = before - before.mean(axis=0), after - after.mean(axis=0)
    assert (before * after).sum() / np.linalg.norm(before) / np.linalg.norm(after) > 0.9


def test_only_what_is_a_copy_everywhere_shares_a_place() -> None:
    rows = [clouds(np.arange(100) % 4, 12, seed) for seed in (1, 2)]
    for r in rows:
        r[10] = r[3]
    rows[0][11] = rows[0][4]
    layout = fused_layout(rows, [graph(r) for r in rows])
    assert (layout.positions[10] == layout.positions[3]).all()
    assert STATES[layout.state[10]] == "duplicate"
    assert (layout.positions[11] != layout.positions[4]).any()


def test_dead_layers_are_refused() -> None:
    rows = np.zeros((50, 4), np.float32)
    with pytest.raises(LayoutError, match="tell 1 samples apart"):
        fused_layout([rows, rows], [graph(np.random.default_rng(0).normal(size=(50, 4)))] * 2)
