"""Halves, edges between groups, and how mixed groups lie: against slow oracles."""

import numpy as np
import pytest

from atlas.findings.groups import Graph, find_clusters, halves, mixing, tightness, unit_rows


def test_an_images_half_is_its_own_matter():
    ids = [f"test/cat/{i}.jpg" for i in range(2000)]
    tested = halves(ids)
    assert 0.45 < tested.mean() < 0.55
    order = np.random.default_rng(0).permutation(2000)
    assert (halves([ids[i] for i in order]) == tested[order]).all()
    assert (halves(ids[:10]) == tested[:10]).all()


def test_edges_are_counted():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 5)).astype(np.float32)
    group = rng.integers(-1, 4, 60)
    graph = Graph.of(rows, 0, k=7)
    expected = np.zeros((4, 4))
    for i in range(60):
        apart = ((rows - rows[i]) ** 2).sum(1)
        apart[i] = np.inf
        for j in np.argsort(apart)[:7]:
            if group[i] >= 0 and group[j] >= 0:
                expected[group[i], group[j]] += 1 / 7
    np.testing.assert_allclose(graph.edges(group, 4), expected)


def test_mixing_runs_from_apart_to_one():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 300)
    shares = []
    for gap in (20, 2, 0):
        rows = rng.normal(size=(600, 4)).astype(np.float32)
        rows[group == 1, 0] += gap
        graph = Graph.of(rows, 0)
        shares.append(np.sin(mixing(graph.edges(group, 2))[0, 1]) ** 2)
    assert shares[0] < 0.002 < shares[1] < shares[2] == pytest.approx(0.5, abs=0.03)


def test_tightness_is_the_share_among_its_own():
    edges = np.array([[90.0, 10.0], [30.0, 70.0]])
    np.testing.assert_allclose(np.sin(tightness(edges)) ** 2, [0.9, 0.7], atol=0.01)


def test_scaled_rows_forget_scale_and_place():
    rows = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    np.testing.assert_allclose(unit_rows(rows), unit_rows(7 * rows + 3), atol=1e-5)
    assert np.isfinite(unit_rows(np.ones((5, 3), np.float32))).all()


def test_clusters_are_found_without_looking_at_the_tested_half():
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(100, 3)), rng.normal(size=(100, 3)) + 9]).astype(np.float32)
    found_on = np.arange(200) % 2 == 0
    moved = rows.copy()
    moved[~found_on] += rng.normal(size=(100, 3)).astype(np.float32)
    one, other = (find_clusters(each, found_on, 2, seed=0) for each in (rows, moved))
    assert (one[found_on] == other[found_on]).all()
    assert len(set(one[:100])) == len(set(one[100:])) == 1
