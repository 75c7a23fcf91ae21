"""Similarity of two networks' rows against plain Gram matrices, scipy's Procrustes, loops and a real bootstrap."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes

from atlas.findings import all_pairs
from atlas.findings import neighborhoods as neighborhoods_room
from atlas.findings import similarity as similarity_room
from atlas.findings.all_pairs import compare_all
from atlas.findings.neighborhoods import crowding, jaccard, mean_overlap, nearest_others
from atlas.findings.similarity import foretold, measure_alignment, within

Floats = NDArray[np.floating]


def two(rows: int = 150, wide: int = 20, high: int = 12, shared: float = 1.0, seed: int = 0) -> tuple[Floats, Floats]:
    """Two accounts of the same hidden rows, with their own noise and far from 0."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 6)) * np.array([4, 3, 2, 1, 1, 1])
    one = shared * hidden @ rng.normal(size=(6, wide)) + 2 * rng.normal(size=(rows, wide)) + 5
    other = shared * hidden @ rng.normal(size=(6, high)) + 2 * rng.normal(size=(rows, high)) - 3
    return one, other


def hsic_by_gram(k: Floats, l: Floats) -> float:  # noqa: E741
    """Song et al. 2012, equation 5, as it stands there."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    ones = np.ones(n)
    total = np.trace(k @ l) + (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
    return float((total - 2 / (n - 2) * (ones @ k @ l @ ones)) / (n * (n - 3)))


def cka_by_gram(x: Floats, y: Floats) -> float:
    k, l = x @ x.T, y @ y.T  # noqa: E741
    return hsic_by_gram(k, l) / np.sqrt(hsic_by_gram(k, k) * hsic_by_gram(l, l))


def procrustes_by_scipy(x: Floats, y: Floats) -> float:
    """Half the squared distance of the rows, as a whole of length 1, after the best rotation (padded to one width)."""
    width = max(x.shape[1], y.shape[1])
    padded = [np.pad(m - m.mean(axis=0), ((0, 0), (0, width - m.shape[1]))) for m in (x, y)]
    a, b = (m / np.linalg.norm(m) for m in padded)
    rotation, _ = orthogonal_procrustes(b, a)
    return float(np.linalg.norm(a - b @ rotation) ** 2 / 2)


@pytest.fixture(params=["one block", "many blocks"])
def any_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "many blocks":
        monkeypatch.setattr(similarity_room, "BLOCK_BYTES", 8 * 20 * 17)
    return


@pytest.mark.usefixtures("any_blocks")
@pytest.mark.parametrize(("wide", "high"), [(20, 12), (12, 20), (15, 15)])
@pytest.mark.parametrize("shared", [1.0, 0.0])
def test_cka_and_procrustes_are_the_plain_forms(wide: int, high: int, shared: float) -> None:
    x, y = two(wide=wide, high=high, shared=shared)
    found = measure_alignment(x, y, np.arange(len(x)))
    assert found.cka.value == pytest.approx(cka_by_gram(x, y), abs=1e-9)
    assert found.procrustes.value == pytest.approx(procrustes_by_scipy(x, y), abs=1e-9)
    assert found.one.radius == pytest.approx(_rms(x))


def _rms(x: Floats) -> float:
    return float(np.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=1).mean()))


def test_rows_of_a_store_in_float16_give_the_gram_form_to_a_millionth() -> None:
    x, y = (rows.astype(np.float16) for rows in two(400, 64, 48))
    found = measure_alignment(x, y, np.arange(400))
    assert found.cka.value == pytest.approx(cka_by_gram(x.astype(float), y.astype(float)), abs=1e-6)


def test_a_rotation_and_a_scale_change_nothing() -> None:
    x, _ = two()
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 20)))[0]
    found = measure_alignment(x, 3 * x @ rotation + 7, np.arange(len(x)))
    assert (found.cka.value, found.procrustes.value) == (pytest.approx(1), pytest.approx(0, abs=1e-12))
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-9)


def test_unrelated_rows_wider_than_many_are_not_called_alike() -> None:
    """Biased CKA says 0.8 here."""
    rng = np.random.default_rng(0)
    values = [
        measure_alignment(rng.normal(size=(60, 200)), rng.normal(size=(60, 200)), np.arange(60)).cka for _ in range(8)
    ]
    assert abs(np.mean([v.value for v in values])) < 0.05
    assert sum(v.low <= 0 <= v.high for v in values) >= 6


@pytest.mark.parametrize("per_image", [1, 5])
def test_intervals_are_those_of_a_bootstrap_over_images(per_image: int) -> None:
    rng = np.random.default_rng(3)
    x, y = two(120, 10, 8)
    # Rows of one image are near copies: as many more of them tell nothing more.
    x, y = (np.repeat(m, per_image, axis=0) + 0.01 * rng.normal(size=(120 * per_image, m.shape[1])) for m in (x, y))
    image = np.repeat(np.arange(120), per_image)
    found = measure_alignment(x, y, image)
    drawn = []
    for _ in range(150):
        images = rng.integers(120, size=120)
        rows = (images[:, None] * per_image + np.arange(per_image)).ravel()
        # Copies of an image drawn twice are no pair: they would count as what the estimate leaves out.
        drawn.append(_cka_of_images(x[rows], y[rows], np.repeat(images, per_image)))
    expected = np.std(drawn)
    half = (found.cka.high - found.cka.low) / 2 / 1.96
    assert half == pytest.approx(expected, rel=0.35)


def _cka_of_images(x: Floats, y: Floats, image: NDArray[np.int64]) -> float:
    """CKA by centred Gram matrices in which rows of one image, drawn once or more, make no pairs."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    apart = image[:, None] != image
    k, l = (x @ x.T) * apart, (y @ y.T) * apart  # noqa: E741
    return float((k * l).sum() / np.sqrt((k * k).sum() * (l * l).sum()))


def test_constant_or_few_rows_have_no_figure() -> None:
    x, y = two()
    dead = measure_alignment(x, np.ones_like(y), np.arange(len(x)))
    few = measure_alignment(x[:3], y[:3], np.arange(3))
    assert np.isnan([dead.cka.value, dead.procrustes.value, few.cka.value]).all()


def test_a_further_network_of_one_recipe_seldom_lies_outside_what_was_foretold() -> None:
    """Pairs share networks, so they are no independent draws: the interval has to allow for that."""
    rng = np.random.default_rng(0)
    for references in (2, 4):
        outside = 0
        for _ in range(400):
            own = 0.1 * rng.normal(size=references + 2)
            pair = own[:, None] + own[None, :] + 0.05 * rng.normal(size=(len(own), len(own)))
            known = [(i, j) for i in range(references + 1) for j in range(i)]
            one = foretold([float(np.tanh(0.9 + pair[i, j])) for i, j in known], references)
            outside += not one.low <= np.tanh(0.9 + pair[-1, 0]) <= one.high
        assert outside <= 48


def test_an_interval_stays_in_range() -> None:
    found = within(0.999, np.random.default_rng(0).normal(size=50) * 1e-4)
    assert -1 < found.low < 0.999 < found.high < 1


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("per_image", [1, 3])
def test_neighbours_are_those_of_a_loop(metric: str, per_image: int) -> None:
    x, _ = two(90)
    image = np.arange(90) // per_image
    found = nearest_others(x, image, 7, metric=metric)  # type: ignore[arg-type]
    points = x / np.linalg.norm(x, axis=1, keepdims=True) if metric == "cosine" else x
    for i in range(90):
        others = [j for j in range(90) if image[j] != image[i]]
        expected = sorted(others, key=lambda j: np.linalg.norm(points[i] - points[j]))[:7]
        assert found.indices[i].tolist() == expected
        np.testing.assert_allclose(
            found.distances[i], np.linalg.norm(points[expected] - points[i], axis=1), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("tile", [1, 7, 40, 90, 1000])
@pytest.mark.parametrize("per_image", [1, 4])
def test_pairs_of_tiles_give_each_sample_its_nearest(
    monkeypatch: pytest.MonkeyPatch, tile: int, per_image: int
) -> None:
    """Far from the origin, with copies: at one distance the lower number comes first."""
    rng = np.random.default_rng(tile)
    x = (rng.normal(size=(90, 5)) + 30).astype(np.float32)
    x[50:60] = x[20:30]
    image = np.arange(90) // per_image
    monkeypatch.setattr(all_pairs, "BLOCK", 16)
    found = compare_all(lambda some: x[some], x.shape, image, 6, threads=2, tile=tile)
    apart = np.linalg.norm(x[:, None].astype(np.float64) - x, axis=2)
    apart[image[:, None] == image] = np.inf
    expected = np.argsort(apart, axis=1, kind="stable")[:, :6]
    np.testing.assert_array_equal(found.indices, expected)
    np.testing.assert_allclose(found.distances, np.take_along_axis(apart, expected, 1), atol=2e-3)


def test_many_rows_are_searched_in_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = two(400)
    exact = nearest_others(x, np.arange(400)).indices
    monkeypatch.setattr(neighborhoods_room, "EXACT", 0)
    assert jaccard(exact, nearest_others(x, np.arange(400)).indices).mean() > 0.9


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="10 neighbours among 30 samples, of which 25 are of one image"):
        nearest_others(np.zeros((30, 3)), np.array([0] * 25 + [1] * 5))


def test_jaccard_is_the_share_of_the_union() -> None:
    found = jaccard(np.array([[1, 2, 3], [4, 5, 6], [1, 2, 3]]), np.array([[3, 2, 9], [4, 5, 6], [7, 8, 9]]))
    np.testing.assert_allclose(found, [2 / 4, 1, 0])


def test_the_overlap_s_interval_counts_images_not_samples() -> None:
    rng = np.random.default_rng(0)
    each = rng.uniform(0.2, 0.8, 100).astype(np.float32)
    alone = mean_overlap(each, np.arange(100))
    copied = mean_overlap(np.repeat(each, 20), np.repeat(np.arange(100), 20))
    assert alone.value == pytest.approx(each.mean())
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * each.std(ddof=1) / 10, rel=0.05)
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=1e-3)


def test_crowding_tells_who_drew_together() -> None:
    x = np.random.default_rng(0).normal(size=(200, 5))
    tight = x.copy()
    tight[:50] *= 0.2
    before, after = (crowding(nearest_others(m, np.arange(200), metric="euclidean").distances) for m in (x, tight))
    change = before - after
    assert change[:50].mean() > 1 > 0.2 > change[50:].mean()
