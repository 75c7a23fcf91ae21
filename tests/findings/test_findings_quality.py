"""Figures of quality against slow definitions and scikit-learn's trustworthiness."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr
from sklearn.manifold import trustworthiness

from atlas.findings import Quality, cell_trust, measure_quality, measure_stability
from atlas.findings import ranks as ranks_room
from atlas.findings.quality import PER_CELL, fill_cells
from atlas.findings.ranks import Space, rank_others
from atlas.layouts import bin_into_cells, compute_layout, rows
from atlas.records import Layout

Floats = NDArray[np.floating]


def cloud(total: int = 240, channels: int = 20, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(total, channels)).astype(np.float32) + np.float32(0.3)


def flat_layout(total: int, seed: int = 1, state: int = 0) -> Layout:
    places = np.random.default_rng(seed).uniform(0, 1, (total, 2)).astype(np.float32)
    return Layout(places, np.full(total, state, np.uint8))


def half_kept(x: Floats) -> Layout:
    """A map that keeps two channels and so some neighbours."""
    low = x[:, :2] - x[:, :2].min(axis=0)
    return Layout((low / low.max()).astype(np.float32), np.zeros(len(x), np.uint8))


def nearest_by_loop(distance: Floats, image: NDArray[np.int64], k: int) -> list[list[int]]:
    found = []
    for i in range(len(distance)):
        others = [j for j in range(len(distance)) if image[j] != image[i]]
        found.append(sorted(others, key=lambda j: distance[i, j])[:k])
    return found


def recall_by_loop(x: Floats, y: Floats, image: NDArray[np.int64], k: int, metric: str) -> list[float]:
    raw = nearest_by_loop(cdist(x.astype(float), x.astype(float), metric), image, k)
    flat = nearest_by_loop(cdist(y.astype(float), y.astype(float)), image, k)
    return [len(set(a) & set(b)) / k for a, b in zip(raw, flat, strict=True)]


@pytest.fixture(params=["one block", "many blocks"])
def any_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "many blocks":
        monkeypatch.setattr(rows, "BLOCK_BYTES", 8 * 20 * 37)
        monkeypatch.setattr(ranks_room, "PAIRS", 240 * 13)
    return


@pytest.mark.usefixtures("any_blocks")
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("per_image", [1, 3])
def test_recall_is_that_of_a_slow_loop(metric: str, per_image: int) -> None:
    x = cloud()
    layout, image = half_kept(x), np.arange(240) // per_image
    found = measure_quality(x, layout, image, metric=metric)  # type: ignore[arg-type]
    expected = recall_by_loop(x, layout.positions, image, 15, metric)
    np.testing.assert_array_equal(found.anchors, np.arange(240))
    np.testing.assert_allclose(found.recall, expected, atol=1e-6)
    assert found.recall_15 == pytest.approx(np.mean(expected), abs=1e-6)
    assert found.recall_50 == pytest.approx(np.mean(recall_by_loop(x, layout.positions, image, 50, metric)), abs=1e-6)


@pytest.mark.usefixtures("any_blocks")
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_trustworthiness_and_continuity_are_scikit_learns(metric: str) -> None:
    x = cloud()
    layout = half_kept(x)
    found = measure_quality(x, layout, np.arange(240), metric=metric)  # type: ignore[arg-type]
    exact = x.astype(np.float64)
    theirs = trustworthiness(exact, layout.positions.astype(np.float64), n_neighbors=15, metric=metric)
    assert found.trustworthiness == pytest.approx(theirs, abs=1e-4)
    if metric == "cosine":
        exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    backwards = trustworthiness(layout.positions.astype(np.float64), exact, n_neighbors=15)
    assert found.continuity == pytest.approx(backwards, abs=1e-4)


def test_trust_is_ranked_among_other_images_alone() -> None:
    # Each image's samples are copies but for a trace: within images all is found, between them nothing.
    rng = np.random.default_rng(0)
    image = np.repeat(np.arange(60), 5)
    x = (rng.normal(size=(60, 8))[image] + 1e-3 * rng.normal(size=(300, 8))).astype(np.float32)
    places = (rng.uniform(0.1, 0.9, (60, 2))[image] + 1e-4 * rng.normal(size=(300, 2))).astype(np.float32)
    found = measure_quality(x, Layout(places, np.zeros(300, np.uint8)), image)
    assert found.recall_15 is not None
    assert found.recall_15 < 0.15  # 15 of 295 by chance, in heaps of five
    assert found.trustworthiness == pytest.approx(0.5, abs=0.05)
    blind = measure_quality(x, Layout(places, np.zeros(300, np.uint8)), np.arange(300))
    assert blind.recall_15 is not None
    assert blind.recall_15 > 4 / 15  # what it would say if they counted


def test_a_perfect_map_is_perfect_and_a_random_one_is_chance() -> None:
    layout = flat_layout(600)
    perfect = measure_quality(layout.positions.astype(np.float32), layout, np.arange(600), metric="euclidean")
    assert (perfect.recall_15, perfect.trustworthiness, perfect.continuity) == (1, 1, 1)
    chance = measure_quality(cloud(600), layout, np.arange(600))
    assert chance.recall_15 == pytest.approx(15 / 599, abs=0.01)
    assert chance.trustworthiness == pytest.approx(0.5, abs=0.03)


def test_sampled_anchors_agree_with_all() -> None:
    x = cloud(1500)
    layout = half_kept(x)
    every, some = (measure_quality(x, layout, np.arange(1500), anchors=n) for n in (1500, 400))
    assert len(some.anchors) == 400
    for name, value in every.figures().items():
        other = some.figures()[name]
        assert (value is None) == (other is None)
        if value is not None and other is not None:
            assert other == pytest.approx(value, abs=0.03)


def test_copies_and_rows_without_a_place_do_not_count() -> None:
    x = cloud(200)
    layout = half_kept(x)
    places = np.concatenate([layout.positions, layout.positions[:50], np.full((3, 2), np.nan, np.float32)])
    state = np.concatenate([layout.state, np.full(50, 3), np.full(3, 2)]).astype(np.uint8)
    broken = np.concatenate([x, x[:50], np.full((3, 20), np.nan, np.float32)])
    plain = measure_quality(x, layout, np.arange(200)).figures()
    padded = measure_quality(broken, Layout(places, state), np.arange(253)).figures()
    for name, value in plain.items():
        assert padded[name] == (value if value is None else pytest.approx(value, abs=1e-5))


def test_recall_of_the_components_is_that_of_a_decomposition() -> None:
    x = cloud(300, 150) * np.linspace(3, 0.1, 150, dtype=np.float32)
    found = measure_quality(x, flat_layout(300), np.arange(300), metric="euclidean")
    centred = x.astype(np.float64) - x.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    expected = recall_by_loop(x, (u * s)[:, :100], np.arange(300), 15, "euclidean")
    assert found.pca_recall_15 == pytest.approx(np.mean(expected), abs=1e-3)


def test_centroids_are_correlated_as_by_definition_and_nearest_classes_named() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 6, 400)
    centre = np.array([[0, 0], [1, 0], [3, 0], [0, 5], [9, 9], [12, 0]])
    places = (centre[label] + 0.1 * rng.normal(size=(400, 2))).astype(np.float32) / 14 + np.float32(0.05)
    x = (centre[label] @ rng.normal(size=(2, 12)) + 0.05 * rng.normal(size=(400, 12))).astype(np.float32)
    unlabelled = np.where(np.arange(400) % 7 == 0, -1, label)
    layout = Layout(places, np.zeros(400, np.uint8))
    found = measure_quality(x, layout, np.arange(400), unlabelled, classes=8, metric="euclidean")
    mean = [np.stack([v[unlabelled == c].astype(float).mean(axis=0) for c in range(6)]) for v in (x, places)]
    upper = np.triu_indices(6, 1)
    assert found.centroids == pytest.approx(spearmanr(*(cdist(m, m)[upper] for m in mean)).statistic)
    assert found.classes.nearest[0].tolist() == np.argsort(cdist(mean[0], mean[0])[0])[1:4].tolist()
    assert (found.classes.nearest[6:] == -1).all()
    own = x[unlabelled == 2].astype(float)
    spread = np.sqrt(own.var(axis=0).sum() / x.astype(float).var(axis=0).sum())
    assert found.classes.spread[2] == pytest.approx(spread, rel=1e-4)
    assert np.isnan(found.classes.spread[7])


def test_too_few_samples_are_told_by_none() -> None:
    few = measure_quality(cloud(20), flat_layout(20), np.arange(20))
    assert set(few.figures().values()) == {None}
    one_image = measure_quality(cloud(200), flat_layout(200), np.zeros(200, np.int64))
    assert set(one_image.figures().values()) == {None}
    assert measure_stability(flat_layout(20), flat_layout(20), np.arange(20)) is None
    medium = measure_quality(cloud(60), flat_layout(60), np.arange(60))
    assert medium.recall_15 is not None
    assert medium.recall_50 is None


def test_stability_counts_the_neighbours_that_stay() -> None:
    one = flat_layout(500)
    turned = Layout(one.positions[:, ::-1].copy() * np.float32(0.5), one.state)
    assert measure_stability(one, turned, np.arange(500)) == 1
    other = measure_stability(one, flat_layout(500, seed=5), np.arange(500))
    assert other == pytest.approx(15 / 499, abs=0.01)


def test_ranks_are_those_of_a_sort() -> None:
    x, image = cloud(150), np.arange(150) // 2
    asked = np.random.default_rng(3).integers(0, 150, (150, 4))
    asked[image[asked] == image[:, None]] = 0
    asked[:2] = 100
    found = rank_others(Space(x, np.ones(150, bool)), image, np.arange(150), 5, asked)
    distance = cdist(x.astype(float), x.astype(float))
    for i in range(150):
        others = np.flatnonzero(image != image[i])
        for column, j in enumerate(asked[i]):
            assert abs(found.nearer[i, column] - (distance[i, others] < distance[i, j] - 1e-9).sum()) <= 1


def test_a_cell_is_trusted_as_its_anchors_and_else_as_its_parent() -> None:
    layout, image = flat_layout(900), np.arange(900)
    levels = [bin_into_cells(layout, image, level=z, min_images=1) for z in range(3)]
    rng = np.random.default_rng(0)
    anchors = rng.choice(900, 500, replace=False)
    recall = rng.uniform(size=500).astype(np.float32)
    trust = cell_trust(levels, anchors, recall)
    of = dict(zip(anchors.tolist(), recall.tolist(), strict=True))
    expected: dict[tuple[int, int, int], float] = {}
    for z, level in enumerate(levels):
        for i in range(len(level)):
            column, row = int(level.column[i]), int(level.row[i])
            inside = [of[m] for m in level.members[level.start[i] : level.start[i + 1]].tolist() if m in of]
            own = float(np.mean(inside)) if inside else float("nan")
            parent = expected.get((z - 1, column // 2, row // 2), own)
            expected[z, column, row] = own if len(inside) >= PER_CELL or z == 0 else parent
            assert trust[z][i] == pytest.approx(expected[z, column, row], abs=1e-6, nan_ok=True)
    assert cell_trust([], anchors, recall) == []


def test_sparse_cells_are_given_more_anchors() -> None:
    layout, image = flat_layout(3000), np.arange(3000)
    levels = [bin_into_cells(layout, image, level=z, min_images=1) for z in range(2)]
    drawn = np.arange(0, 3000, 60)
    keep = np.ones(3000, bool)
    more = fill_cells(levels, drawn, 10_000, keep, 0)
    assert len(np.unique(np.concatenate([drawn, more]))) == len(drawn) + len(more)
    chosen = np.zeros(3000, bool)
    chosen[drawn] = chosen[more] = True
    for level in levels:
        cell = np.repeat(np.arange(len(level)), level.samples)
        count = np.bincount(cell[chosen[level.members]], minlength=len(level))
        assert (count >= np.minimum(PER_CELL, level.samples)).all()
    assert len(fill_cells(levels, drawn, 7, keep, 0)) == 7


def test_the_figures_of_a_real_layout_are_plausible() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = digits.data.astype(np.float32)
    layout = compute_layout(x, deterministic=True)
    levels = [bin_into_cells(layout, np.arange(len(x)), level=z, min_images=5) for z in range(2)]
    found: Quality = measure_quality(x, layout, np.arange(len(x)), digits.target, classes=10, levels=levels)
    told = found.figures()
    assert told["recall_15"] == pytest.approx(0.6, abs=0.05)
    assert told["trustworthiness"] is not None
    assert told["trustworthiness"] > 0.98
    assert told["pca_recall_15"] == pytest.approx(1, abs=0.01)
    assert told["placed_recall_15"] is None
