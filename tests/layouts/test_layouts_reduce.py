"""The stream of rows: copies, dead channels, principal components, neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from atlas.layouts import neighbors, reduce, rows
from atlas.layouts.neighbors import find_neighbors
from atlas.layouts.reduce import reduce_rows, survey_rows
from atlas.layouts.rows import Selected, resident


def activations(total: int = 200, channels: int = 12, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(total, channels)) * np.linspace(3, 0.2, channels) + 1).astype(np.float32)


def distances(points: NDArray[np.floating]) -> NDArray[np.float64]:
    points = points.astype(np.float64)
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))


@pytest.fixture(params=["one block", "many blocks"])
def any_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "many blocks":
        monkeypatch.setattr(rows, "BLOCK_BYTES", 8 * 12 * 7)


@pytest.mark.usefixtures("any_blocks")
def test_the_survey_finds_copies_dead_channels_and_what_is_not_finite() -> None:
    x = activations()
    x[:, 4], x[:, 7] = 0, 2.5
    x[50], x[120] = x[3], x[3]
    x[60], x[90] = 0.0, -0.0
    x[10, 2], x[11, 0] = np.nan, np.inf
    found = survey_rows(x)
    expected = np.arange(200)
    expected[[50, 120]], expected[90], expected[[10, 11]] = 3, 60, -1
    np.testing.assert_array_equal(found.first, expected)
    assert np.flatnonzero(~found.alive).tolist() == [4]  # channel 7 lives: the rows of zeros are 0 there
    assert set(found.distinct) == set(range(200)) - {50, 120, 90, 10, 11}


@pytest.mark.usefixtures("any_blocks")
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_components_agree_with_a_singular_value_decomposition(metric: reduce.Metric) -> None:
    x = activations()
    x[30], x[40, 1], x[:, 5] = x[2], np.nan, 7.0
    points = reduce_rows(x, survey_rows(x), metric=metric, components=4)
    plain = np.delete(np.delete(x, [30, 40], axis=0), 5, axis=1).astype(np.float64)
    if metric == "cosine":
        plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    plain -= plain.mean(axis=0)
    u, s, _ = np.linalg.svd(plain, full_matrices=False)
    assert points.shape == (198, 4)
    for axis in range(4):
        expected = u[:, axis] * s[axis]
        sign = np.sign(expected @ points[:, axis])
        np.testing.assert_allclose(points[:, axis] * sign, expected, atol=1e-5)


@pytest.mark.usefixtures("any_blocks")
@pytest.mark.parametrize("streamed", [False, True])
def test_axes_of_a_sample_are_those_of_its_rows_alone(streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduce, "SAMPLED", 50)
    monkeypatch.setattr(reduce, "SAMPLED_PER_CHANNEL", 1)
    x = activations()
    x[30] = x[2]
    before = x.copy()
    source = Selected(x, np.arange(len(x))) if streamed else x
    points = reduce_rows(source, survey_rows(x), components=4)
    np.testing.assert_array_equal(x, before)
    plain = np.delete(x, 30, axis=0).astype(np.float64)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    sample = plain[::3] - plain[::3].mean(axis=0)
    axes = np.linalg.svd(sample, full_matrices=False)[2][:4].T
    expected = (plain - plain.mean(axis=0)) @ axes
    np.testing.assert_allclose(points * np.sign((points * expected).sum(axis=0)), expected, atol=1e-5)


def test_far_means_do_not_drown_the_spread() -> None:
    x = activations(100).astype(np.float64)
    near = reduce_rows(x, survey_rows(x), metric="euclidean", components=3)
    far = reduce_rows(x + 2.0**10, survey_rows(x + 2.0**10), metric="euclidean", components=3)
    np.testing.assert_allclose(distances(far), distances(near), atol=2e-3)


def test_all_components_keep_all_distances() -> None:
    x = activations(60)
    points = reduce_rows(x, survey_rows(x), metric="euclidean")
    np.testing.assert_allclose(distances(points), distances(x), atol=1e-4)


def test_very_wide_rows_keep_their_distances_nearly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduce, "WIDEST", 1024)
    x = activations(60, 3000)
    points = reduce_rows(x, survey_rows(x), metric="euclidean")
    ratio = (distances(points) / np.maximum(distances(x), 1e-9))[~np.eye(60, dtype=bool)]
    assert abs(ratio - 1).max() < 0.2


def test_selected_rows_are_a_matrix_of_their_own() -> None:
    x = activations()
    chosen = Selected(x, np.array([5, 3, 199, 3]))
    assert chosen.shape == (4, 12)
    np.testing.assert_array_equal(resident(chosen)[0:4], x[[5, 3, 199, 3]])


def test_large_rows_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    x = activations()
    chosen = Selected(x, np.arange(100))
    monkeypatch.setattr(rows, "RESIDENT_BYTES", 100)
    assert resident(chosen) is chosen


def test_neighbours_agree_with_all_pairs() -> None:
    x = activations(300)
    found = find_neighbors(x, 6)
    full = distances(x)
    np.fill_diagonal(full, np.inf)
    np.testing.assert_array_equal(found.indices, np.argsort(full, axis=1)[:, :6])
    np.testing.assert_allclose(found.distances, np.sort(full, axis=1)[:, :6], atol=1e-3)


def test_no_point_is_its_own_neighbour_even_among_its_like() -> None:
    x = np.repeat(activations(4), 30, axis=0)
    found = find_neighbors(x, 10)
    assert not (found.indices == np.arange(len(x))[:, None]).any()
    assert (found.indices // 30 == np.arange(len(x))[:, None] // 30).all()


def test_inverted_lists_find_nearly_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(40, 24))[rng.integers(0, 40, 8000)] + rng.normal(size=(8000, 24))).astype(np.float32)
    exact = find_neighbors(x, 15)
    monkeypatch.setattr(neighbors, "EXACT_ROWS", 1000)
    quick = find_neighbors(x, 15)
    assert np.mean([len(set(a) & set(b)) / 15 for a, b in zip(exact.indices, quick.indices, strict=True)]) > 0.9
    again = find_neighbors(x, 15)
    np.testing.assert_array_equal(quick.indices, again.indices)


def test_sparse_lists_are_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "EXACT_ROWS", 10)
    monkeypatch.setattr(neighbors, "PROBES", 1)
    found = find_neighbors(activations(400), 60)
    assert found.indices.min() >= 0
    assert all(len(set(row)) == 60 for row in found.indices.tolist())


def test_whole_vectors_are_read_by_the_points_numbers_and_not_where_rows_are_streamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = activations(60)
    x[:, 3] = 0.5  # a dead channel
    x[7] = x[2]  # a copy
    x[11, 0] = np.nan
    survey = reduce.survey_rows(x)
    read = reduce.vectors_of(x, survey)
    assert read is not None
    numbers = np.array([5, 0, 40])
    expected = np.delete(x[survey.distinct[numbers]], 3, axis=1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert {2, 11, 7} - set(survey.distinct.tolist()) == {7, 11}
    np.testing.assert_allclose(read(numbers), expected, atol=1e-6)
    plain = reduce.vectors_of(x, survey, metric="euclidean")
    assert plain is not None
    assert plain(numbers).dtype == np.float32
    np.testing.assert_array_equal(plain(numbers), np.delete(x[survey.distinct[numbers]], 3, axis=1))
    assert reduce.vectors_of(rows.Selected(x, np.arange(60)), survey) is None
    monkeypatch.setattr(reduce, "WIDEST", 10)
    assert reduce.vectors_of(x, survey) is None
