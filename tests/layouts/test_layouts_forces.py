"""Compiled forces and searches against plain numpy over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from atlas.layouts import forces, place
from atlas.layouts.descending import mutual_edges
from atlas.layouts.forces import Field, step
from atlas.layouts.neighbors import find_among, find_neighbors, nearest_part
from atlas.layouts.refining import refine


def scattered(points: int, seed: int = 0) -> NDArray[np.float32]:
    """Wider than high, off the origin."""
    return (np.random.default_rng(seed).normal(size=(points, 2)) * (30, 9) + (100, -40)).astype(np.float32)


def phi_by_pairs(sources: NDArray[np.float32], targets: NDArray[np.float32]) -> tuple[float, NDArray[np.float64]]:
    apart = targets[:, None].astype(np.float64) - sources[None]
    near = 1 / (1 + (apart**2).sum(axis=2))
    return float(near.sum()), (-2 * near[..., None] ** 2 * apart).sum(axis=1)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("spacing", "error"), [(0.7, 0.1), (0.35, 0.012)])
def test_the_grid_agrees_with_all_pairs(threads: int, spacing: float, error: float) -> None:
    y = scattered(4000)
    total, slope = Field(threads, spacing).at(y, y)
    expected, exact = phi_by_pairs(y, y)
    assert total == pytest.approx(expected, rel=error / 4)
    assert np.linalg.norm(slope - exact) < error * np.linalg.norm(exact)


def test_one_field_serves_growing_points_and_other_targets() -> None:
    field = Field(1, 0.35)
    for size in (0.8, 0.85, 1.0, 0.001):
        y = scattered(4000) * np.float32(size)
        targets = y[::7] + np.float32(0.3)
        total, slope = field.at(y, targets)
        expected, exact = phi_by_pairs(y, targets)
        assert total == pytest.approx(expected, rel=0.01)
        assert np.linalg.norm(slope - exact) < 0.03 * np.linalg.norm(exact)


def test_few_points_are_taken_pair_by_pair() -> None:
    y = scattered(forces.EXACT_POINTS)
    total, slope = Field(2).at(y, y)
    expected, exact = phi_by_pairs(y, y)
    assert total == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(slope, exact, atol=1e-3)


def test_islands_far_apart_take_no_endless_memory() -> None:
    y = scattered(4000)
    y[::2] += np.float32(1e5)
    field = Field(1)
    field.at(y, y)
    assert max(field._shape) < 4000


def test_a_step_is_the_gradient_with_momentum_and_gains() -> None:
    rng = np.random.default_rng(0)
    y, other = scattered(50), scattered(60, seed=1)
    start = np.arange(0, 151, 3).astype(np.int32)
    index, weight = rng.integers(0, 60, 150).astype(np.int32), rng.uniform(size=150).astype(np.float32)
    push = rng.normal(size=(50, 2)).astype(np.float32)
    update, gains = rng.normal(size=(50, 2)).astype(np.float32), np.full((50, 2), 0.5, np.float32)
    before = update.copy()
    ends = other[index].reshape(50, 3, 2)
    apart = y[:, None] - ends
    pull = (weight.reshape(50, 3, 1) / (1 + (apart**2).sum(axis=2, keepdims=True)) * apart).sum(axis=1)
    slope = 4 * pull + 0.3 * push
    gain = np.where(before * slope > 0, 0.4, 0.7)
    expected = np.clip(0.8 * before - 0.1 * gain * slope, -0.9, 0.9)
    f = np.float32
    moved = step(y, other, start, index, weight, push, update, gains, f(4), f(0.3), f(0.8), f(0.1), f(0.9), 2)
    np.testing.assert_allclose(update, expected, atol=1e-5)
    np.testing.assert_allclose(moved, y + expected, atol=1e-4)
    np.testing.assert_allclose(gains, gain, atol=1e-6)


def test_attraction_is_mutual_and_sums_to_one() -> None:
    found = find_neighbors(scattered(100), 5)
    made = mutual_edges(found)
    edges = np.zeros((100, 100))
    for i in range(100):
        part = slice(made.start[i], made.start[i + 1])
        edges[i, made.index[part]] = made.weight[part]
    edges /= 100
    expected = np.zeros((100, 100))
    for i, row in enumerate(found.indices):
        for j in row:
            expected[i, j] += 1 / 1000
            expected[j, i] += 1 / 1000
    np.testing.assert_allclose(edges, expected, rtol=1e-5)
    assert edges.sum() == pytest.approx(1)


def test_on_a_line_all_y_stay_zero_and_clusters_apart() -> None:
    rng = np.random.default_rng(0)
    of = np.repeat(np.arange(4), 60)
    x = (rng.normal(size=(4, 10))[of] * 3 + 0.3 * rng.normal(size=(240, 10))).astype(np.float32)
    plane = place.place_by_tsne(x, find_neighbors(x, 15), seed=0, threads=1, line=True)
    assert not plane[:, 1].any()
    order = of[np.argsort(plane[:, 0])]
    assert (np.diff(order) != 0).sum() <= 5  # shuffled they would change 180 times


def test_neighbours_of_neighbours_never_make_it_worse() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 4)).astype(np.float32)
    distance = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    found = np.stack([rng.choice(500, 8, replace=False) for _ in range(500)])
    squared = np.take_along_axis(distance, found, 1)
    order = np.argsort(squared, axis=1)
    found, squared = np.take_along_axis(found, order, 1), np.take_along_axis(squared, order, 1)
    better, nearer = refine(x, found, squared, 2)
    np.testing.assert_allclose(nearer, np.take_along_axis(distance, better, 1), rtol=1e-4)
    for i in range(500):
        looked_at = np.unique(np.concatenate([found[i], found[found[i]].ravel()]))
        looked_at = looked_at[(looked_at != i) | np.isin(looked_at, found[i])]
        expected = looked_at[np.argsort(distance[i, looked_at])[:8]]
        assert set(better[i]) == set(expected)


def test_others_find_their_nearest_points(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(900, 6)).astype(np.float32)
    points, others = x[:700], x[700:]
    expected = np.argsort(((others[:, None] - points[None]) ** 2).sum(axis=2), axis=1)[:, :5]
    np.testing.assert_array_equal(find_among(points, others, 5), expected)
    monkeypatch.setattr("atlas.layouts.neighbors.EXACT_ROWS", 100)
    quick = find_among(points, others, 5)
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(quick, expected, strict=True)]) > 0.6


@pytest.mark.parametrize(("exact_rows", "held"), [(10_000, 0), (100, 0), (100, 10**6)])
def test_neighbours_by_whole_vectors_are_the_nearest_of_those_found(
    exact_rows: int, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3000, 24)).astype(np.float32)
    points = vectors[:, :10].copy()  # a reduction that loses half
    monkeypatch.setattr("atlas.layouts.neighbors.EXACT_ROWS", exact_rows)
    monkeypatch.setattr("atlas.layouts.neighbors.WHOLE", held)  # bytes: all vectors are 288,000
    monkeypatch.setattr("atlas.layouts.neighbors.TOGETHER", 700)  # in several pieces, the last one smaller
    true = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    np.fill_diagonal(true, np.inf)
    asked = []

    def read(numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        asked.append(numbers)
        return vectors[numbers]

    found = find_neighbors(points, 8, threads=2, vectors=read)
    assert found.indices.shape == (3000, 8)
    assert (found.indices != np.arange(3000)[:, None]).all()
    assert max(len(numbers) for numbers in asked) < 3000
    np.testing.assert_allclose(found.distances**2, np.take_along_axis(true, found.indices, 1), rtol=1e-4)
    assert (np.diff(found.distances, axis=1) >= 0).all()
    if exact_rows > 3000:
        near = ((points[:, None] - points[None]) ** 2).sum(axis=2)
        np.fill_diagonal(near, np.inf)
        for i in range(0, 3000, 100):
            candidates = np.argsort(near[i])[:16]
            assert set(found.indices[i]) == set(candidates[np.argsort(true[i, candidates])[:8]])
    plain = find_neighbors(points, 8, threads=2)
    truth = np.argsort(true, axis=1)[:, :8]
    kept, before = (
        np.mean([len(set(a) & set(b)) / 8 for a, b in zip(n.indices, truth, strict=True)]) for n in (found, plain)
    )
    assert kept > 1.2 * before


def test_the_nearest_part_of_neighbours() -> None:
    found = find_neighbors(np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32), 15)
    near = nearest_part(found, 0.8)
    np.testing.assert_array_equal(near.indices, found.indices[:, :12])
    np.testing.assert_array_equal(near.distances, found.distances[:, :12])
    assert nearest_part(nearest_part(found, 0.2), 0.2).indices.shape == (60, 2)


def test_lists_find_the_same_whatever_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(4000, 6)).astype(np.float32)
    exact = find_neighbors(x, 10)
    monkeypatch.setattr("atlas.layouts.neighbors.EXACT_ROWS", 100)
    one, two = (find_neighbors(x, 10, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.indices, two.indices)
    found = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(one.indices, exact.indices, strict=True)])
    assert found > 0.97


def test_tsne_ends_with_whole_attraction_and_takes_longer_for_more_points() -> None:
    few, many = place.phases_of(5_000), place.phases_of(1_000_000)
    assert sum(phase.iterations for phase in few) == 300
    assert sum(phase.iterations for phase in place.phases_of(50_000)) == 200
    assert sum(phase.iterations for phase in many) > 350
    assert few[-1].momentum == many[-1].momentum
    assert few[-1].exaggeration == 1
    factors = [phase.exaggeration for phase in few]
    assert factors[0] > factors[1] > 1 > factors[2]
