"""A layout fitted on a sample: who is in the sample, and where the others come to lie."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from atlas.layouts import compute_layout
from atlas.layouts.fitting import choose_fitted
from atlas.layouts.neighbors import find_neighbors


def mixture(total: int, clusters: int = 12) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    of = rng.integers(0, clusters, total)
    return (rng.normal(size=(clusters, 32))[of] + 0.4 * rng.normal(size=(total, 32))).astype(np.float32), of


def test_rare_classes_come_whole_and_wrong_predictions_first() -> None:
    rng = np.random.default_rng(1)
    rows = np.sort(rng.choice(20_000, 10_000, replace=False))
    labels = rng.integers(0, 5, 20_000)
    labels[rows[:40]] = 7
    wrong = rng.uniform(size=20_000) < 0.02
    chosen = choose_fitted(rows, 2_000, labels, wrong, 0)
    assert len(np.unique(chosen)) == 2_000
    assert np.isin(chosen, rows).all()
    assert np.isin(rows[:40], chosen).all()
    assert np.isin(rows[wrong[rows]], chosen).all()
    np.testing.assert_array_equal(chosen, choose_fitted(rows, 2_000, labels, wrong, 0))
    assert len(choose_fitted(rows, 500, labels, np.ones(20_000, bool), 0)) == 500
    np.testing.assert_array_equal(choose_fitted(rows, 10_000, labels, wrong, 0), rows)
    plain = choose_fitted(rows, 1_000, None, None, 0)
    assert len(plain) == 1_000


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_placed_rows_lie_with_their_like_and_not_on_one_another(method: str) -> None:
    x, of = mixture(6_000)
    layout = compute_layout(x, method=method, fit=3_000, deterministic=True)
    assert layout.counts()["fitted"] == 3_000
    placed = layout.state == 1
    assert placed.sum() == 3_000
    near = find_neighbors(layout.positions, 15)
    assert (of[near.indices[placed]] == of[placed][:, None]).mean() > 0.95
    assert (near.distances[placed, 0] < 1e-4).mean() < 0.01
    true = find_neighbors(x / np.linalg.norm(x, axis=1, keepdims=True), 15).indices
    recall = np.array([len(set(a) & set(b)) / 15 for a, b in zip(true, near.indices, strict=True)])
    assert recall[placed].mean() > 0.6 * recall[~placed].mean()
    again = compute_layout(x, method=method, fit=3_000, deterministic=True)
    np.testing.assert_array_equal(layout.positions, again.positions)
