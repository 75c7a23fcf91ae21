"""UMAP's descent: its forces against their formulas, one epoch against a plain loop, its maps against umap-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from atlas.layouts.neighbors import Neighbors, find_neighbors
from atlas.layouts.place import place_by_pca, place_by_umap
from atlas.layouts.umap_forces import _force, descend, tabulate_forces

A, B = 1.9, 0.8


def test_tabulated_forces_are_the_gradients_of_umaps_curve() -> None:
    table = tabulate_forces(A, B)
    for distance in np.geomspace(3e-4, 3e3, 200):
        squared = distance**2

        def fall(d: float) -> float:
            return 1 / (1 + A * d ** (2 * B))

        def lost(d: float) -> float:
            return -np.log1p(1 / (A * d ** (2 * B)))  # log(1 - fall(d)), without its rounding

        # Pull: the slope of log(fall) over d; push: that of log(1 - fall), softened by the 0.001.
        step = 1e-4 * distance
        pull = -(np.log(fall(distance + step)) - np.log(fall(distance - step))) / (2 * step) / distance
        push = (lost(distance + step) - lost(distance - step)) / (2 * step) / distance
        assert _force(table, np.float32(squared), 0) == pytest.approx(pull, rel=5e-3)
        assert _force(table, np.float32(squared), 1) == pytest.approx(push * squared / (0.001 + squared), rel=5e-3)


def test_an_edge_pulls_its_ends_together_as_often_as_its_weight_says() -> None:
    # With one point to draw from, the negatives' push is known: five times the other point's.
    table = tabulate_forces(A, B)
    held = np.array([[3.0, 1.0], [0.0, 0.0]], np.float32)
    start, index = np.array([0, 1], np.int32), np.array([0], np.int32)
    taken = 0
    for epoch in range(40):
        moved = descend(
            held, 1, start, index, np.array([0.25], np.float32), table, np.float32(1), np.float32(0.1), epoch, 0, 1
        )
        taken += bool(np.any(moved != 0))
        if np.any(moved != 0):
            pull = 2 * A * B * 10 ** (B - 1) / (1 + A * 10**B) * held[0]
            push = 2 * B / (10.001 * (1 + A * 10**B)) * held[0]
            pushes = (pull - moved[0] / 0.1) / push
            assert pushes[0] == pytest.approx(pushes[1], abs=0.05)
            assert pushes[0] == pytest.approx(round(pushes[0]), abs=0.05)
            assert 0 <= round(pushes[0]) <= 5
    assert taken == 10


def test_points_that_push_are_drawn_evenly() -> None:
    # One point far to each side of the middle; only the edge to itself counts, which pulls nowhere.
    count = 400
    places = np.zeros((count + 1, 2), np.float32)
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    places[:count] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    start, index, often = np.array([0, 1], np.int32), np.array([count], np.int32), np.ones(1, np.float32)
    table = tabulate_forces(A, B)
    push = 2 * B / (1.001 * (1 + A))
    moves = np.concatenate(
        [descend(places, count, start, index, often, table, np.float32(1), np.float32(1), e, 0, 1) for e in range(4000)]
    )
    # Five random unit vectors: their sum has mean 0 and variance 5/2 along each axis.
    assert np.abs(moves.mean(axis=0)).max() < 4 * push * np.sqrt(2.5 / 4000)
    assert moves.var(axis=0) == pytest.approx(2.5 * push**2, rel=0.1)


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[np.float32], Neighbors]:
    x = load_digits().data
    x = x - x.mean(axis=0)
    points = (x @ np.linalg.svd(x, full_matrices=False)[2][:50].T).astype(np.float32)
    return points, find_neighbors(points, 15)


def recall(plane: NDArray[np.floating], true: Neighbors) -> float:
    found = find_neighbors(plane.astype(np.float32), 15).indices
    return float(np.mean([len(set(a) & set(b)) / 15 for a, b in zip(true.indices, found, strict=True)]))


@pytest.mark.slow
def test_maps_keep_as_many_neighbours_as_umap_learns(digits: tuple[NDArray[np.float32], Neighbors]) -> None:
    import umap

    points, near = digits
    own = np.arange(len(points))[:, None]
    known = (np.concatenate([own, near.indices], 1), np.pad(near.distances, ((0, 0), (1, 0))))
    theirs = umap.UMAP(
        n_neighbors=16, min_dist=0.01, precomputed_knn=known, force_approximation_algorithm=True, random_state=0
    ).fit_transform(points)
    here = place_by_umap(points, near, seed=0, threads=1)
    assert recall(here, near) > recall(theirs, near) - 0.03
    assert recall(here, near) > recall(place_by_pca(points), near) + 0.2


def test_the_number_of_threads_changes_nothing(
    digits: tuple[NDArray[np.float32], Neighbors], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas.layouts.place.PARALLEL_ROWS", 100)
    monkeypatch.setattr("atlas.layouts.place.EPOCHS_OF_FEW", 20)
    points, near = digits
    one = place_by_umap(points, near, seed=3, threads=1)
    np.testing.assert_array_equal(one, place_by_umap(points, near, seed=3, threads=2))
    assert np.abs(one - place_by_umap(points, near, seed=4, threads=2)).max() > 1e-3
