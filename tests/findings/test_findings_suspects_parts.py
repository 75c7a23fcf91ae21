"""The parts of finding suspects, each against a definition or a plain oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import norm

from atlas.findings.suspect_candidates import find_candidates
from atlas.findings.suspect_evidence import (
    beside_group_likelihood,
    fit_mixtures,
    goes_with,
    one_group_likelihood,
    share_of,
    stands_apart,
)
from atlas.findings.suspect_families import against_natural, densest_half
from atlas.findings.suspect_figures import concentration, difference_of_means, difference_of_shares, pushed_towards
from atlas.findings.suspect_splits import evened, split
from atlas.findings.suspect_views import Samples, dense_grid, see, whiten


def dense(images: int = 60, side: int = 8, channels: int = 6, seed: int = 0) -> Samples:
    """Noise on a dense grid; a picture's rows in any order."""
    rng = np.random.default_rng(seed)
    middles = (np.arange(side) + 0.5) / side
    where = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2)
    maps = rng.normal(size=(images, side * side, channels)).astype(np.float32)
    turn = rng.permutation(images * side * side)
    return Samples(
        rows=maps.reshape(-1, channels)[turn],
        image=np.repeat(np.arange(images), side * side)[turn],
        where=np.tile(where, (images, 1))[turn].astype(np.float32),
        pooled=maps.mean(axis=1),
        peak=maps.max(axis=1),
        label=np.arange(images) % 3,
        prediction=np.arange(images) % 3,
        confidence=np.full(images, 0.9, np.float32),
        effects=None,
        classes=("a", "b", "c"),
    )


def test_a_block_of_a_dense_map_is_the_mean_of_its_places() -> None:
    samples = dense()
    views = {view.name: view for view in see(samples, 0, np.ones(60, bool))}
    inside = (samples.where[:, 0] > 0.75) & (samples.where[:, 1] < 0.25)  # right, above
    for image in (0, 17):
        rows = samples.rows[inside & (samples.image == image)]
        assert len(rows) == 4
        np.testing.assert_allclose(views["block 0,3"].raw[image], rows.mean(axis=0), atol=1e-5)
    rim = ((samples.where < 1 / 8) | (samples.where > 7 / 8)).any(axis=1)
    np.testing.assert_allclose(views["rim"].raw[3], samples.rows[rim & (samples.image == 3)].mean(axis=0), atol=1e-5)
    assert len(views) == 2 + 1 + 16 + 1


def test_scattered_places_are_no_dense_map() -> None:
    samples = dense()
    moved = samples.where.copy()
    moved[5] += 0.01
    assert dense_grid(samples) is not None
    assert dense_grid(Samples(**{**vars(samples), "where": moved})) is None


def test_whitened_vectors_have_unit_variance_within_classes() -> None:
    rng = np.random.default_rng(0)
    group = np.arange(3000) % 5
    raw = (rng.normal(size=(5, 8)) * 4)[group] + rng.normal(size=(3000, 8)) @ (np.eye(8) + 0.4)
    vectors = whiten(raw.astype(np.float32), group, np.ones(3000, bool))
    for one in range(5):
        assert np.abs(vectors[group == one].mean(axis=0)).max() < 1e-3
    np.testing.assert_allclose(np.cov(vectors.T), np.eye(8), atol=0.05)


def test_a_wide_layer_is_whitened_as_a_narrow_one() -> None:
    """700 channels that are a rotation of 12 and faint noise: the same group is as far from the rest."""
    rng = np.random.default_rng(10)
    narrow = rng.normal(size=(1500, 12)) * np.linspace(1, 3, 12)
    narrow[:100, 2] += 8
    wide = narrow @ np.linalg.qr(rng.normal(size=(700, 12)))[0].T + 0.01 * rng.normal(size=(1500, 700))
    group, everything = np.zeros(1500, np.int64), np.ones(1500, bool)
    gaps = []
    for raw in (narrow, wide):
        vectors = whiten(raw.astype(np.float32), group, everything)
        axis = vectors[:100].mean(axis=0) - vectors[100:].mean(axis=0)
        along = vectors[:, :] @ axis / np.linalg.norm(axis)
        gaps.append((along[:100].mean() - along[100:].mean()) / along[100:].std())
    assert gaps[1] == pytest.approx(gaps[0], rel=0.1)


def test_an_axis_is_judged_on_images_that_it_was_not_found_on() -> None:
    """Any part of 100 points of noise in 30 dimensions lies far from the rest along its own axis, new ones less."""
    rows = np.random.default_rng(1).normal(size=(100, 30)).astype(np.float32)
    splits = split(rows, 0)
    assert len(splits.belong)
    for belong, axes, held in zip(splits.belong > 0.5, splits.axes, splits.held, strict=True):
        own = rows @ axes / np.linalg.norm(axes)
        assert own[belong].mean() - own[~belong].mean() > 1.5
        assert held[belong].mean() - held[~belong].mean() < 0.95 * (own[belong].mean() - own[~belong].mean())


def test_a_planted_group_is_split_off() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(300, 20)).astype(np.float32)
    rows[:30, 3] += 6
    best = min((((one > 0.5) != (np.arange(300) < 30)).sum() for one in split(rows, 0).belong), default=300)
    assert best <= 3


def test_one_group_explains_as_much_as_a_normal_and_more_of_what_is_skewed() -> None:
    rng = np.random.default_rng(3)
    for values in (rng.normal(2, 3, 500), rng.gamma(2, size=500), rng.standard_t(3, size=500)):
        plain = norm.logpdf(values, values.mean(), values.std()).sum()
        assert one_group_likelihood(values) > plain - 0.5
    assert one_group_likelihood(values) > plain + 20


def test_the_best_of_one_group_is_what_a_slow_search_finds() -> None:
    rng = np.random.default_rng(18)
    for values in (rng.normal(2, 3, 200), rng.gamma(1, size=200), rng.standard_t(3, size=200), rng.lognormal(size=200)):

        def loss(at: NDArray[np.float64], values: NDArray[np.float64] = values) -> float:
            scaled = (values - at[0]) / np.exp(at[1])
            bent = np.sinh(np.clip(np.exp(at[3]) * np.arcsinh(scaled) - at[2], -15, 15))
            slope = np.exp(at[3] - at[1]) * np.sqrt((1 + bent**2) / (1 + scaled**2))
            return -float((norm.logpdf(bent) + np.log(slope)).sum())

        starts = ([np.median(values), np.log(values.std()), skew, 0.0] for skew in (0.0, 0.8))
        slow = max(-minimize(loss, start, method="Nelder-Mead", options={"maxiter": 4000}).fun for start in starts)
        assert one_group_likelihood(values) == pytest.approx(slow, abs=0.3)


def test_two_groups_stand_apart_and_one_skewed_group_does_not() -> None:
    rng = np.random.default_rng(4)
    one = np.stack([rng.gamma(4, size=300) for _ in range(20)] + [rng.standard_t(4, size=300) for _ in range(20)])
    two = np.stack([np.r_[rng.normal(size=270), rng.normal(5, 1, size=30)] for _ in range(20)])
    everything = np.full(20, np.inf)
    apart_one = stands_apart(one, np.full(40, np.inf))[0]
    apart_two, gap = stands_apart(two, everything)
    assert np.sort(apart_one)[-4] < 5
    assert np.sort(apart_two[apart_two > 0])[0] > 5
    assert np.median(gap[apart_two > 0]) == pytest.approx(5, abs=0.7)


def test_a_group_stands_apart_from_what_has_heavy_tails_too() -> None:
    """Most pictures have an empty corner: a sharp peak with a tail, and a mark far from it."""
    rng = np.random.default_rng(14)
    apart, none = [], []
    for _ in range(6):
        rest = np.r_[0.3 * rng.normal(size=120), np.abs(rng.normal(0, 3, 60))]
        apart.append(np.r_[rest, rng.normal(10, 1, 20)])
        none.append(np.r_[rest, np.abs(rng.normal(0, 3, 20))])
    far, near = (stands_apart(np.array(rows), np.full(6, np.inf))[0] for rows in (apart, none))
    assert np.median(far) > 6
    assert np.median(near) < 4


def test_a_rest_that_is_normal_is_as_likely_as_in_the_mixture() -> None:
    rng = np.random.default_rng(15)
    values = np.r_[rng.normal(size=900), rng.normal(6, 1, size=100)]
    mixture = fit_mixtures(values[None])
    found = beside_group_likelihood(values, mixture, 0)
    assert mixture.likelihood[0] <= found < mixture.likelihood[0] + 6  # two parameters more than were asked for


def test_a_group_is_split_off_a_class_that_varies_more_than_others_do() -> None:
    rng = np.random.default_rng(16)
    rows = rng.normal(size=(200, 16)).astype(np.float32)
    rows[:, :3] *= 5
    rows[:26, 7] += 5
    truth = np.arange(200) < 26
    best = max((((one > 0.5) & truth).sum() / ((one > 0.5) | truth).sum() for one in split(rows, 0).belong), default=0)
    assert best > 0.75
    spread = np.subtract(*np.quantile(evened(rows), (0.75, 0.25), axis=0)) / 1.349
    assert spread.max() < 1.0001


def test_a_mixture_finds_its_two_means_and_its_share() -> None:
    rng = np.random.default_rng(5)
    found = fit_mixtures(np.r_[rng.normal(size=800), rng.normal(6, 1, size=200)][None])
    assert found.low[0] == pytest.approx(0, abs=0.15)
    assert found.high[0] == pytest.approx(6, abs=0.3)
    assert found.share[0] == pytest.approx(0.2, abs=0.02)


def test_goes_with_is_the_likelihood_ratio_of_a_binomial() -> None:
    images, inside, outside = 200, np.array([0.3, 0.1, 0.1]), np.array([0.02, 0.1, 0.4])
    hits = inside * images
    expected = hits[0] * np.log(0.3 / 0.02) + (images - hits[0]) * np.log(0.7 / 0.98)
    np.testing.assert_allclose(goes_with(inside, outside, images), [expected, 0, 0], atol=1e-9)


def test_the_share_elsewhere_is_found_without_its_images_being_known() -> None:
    rng = np.random.default_rng(6)
    values = np.r_[rng.normal(size=3800), rng.normal(3, 1, size=200)]
    odds = norm.logpdf(values, 3) - norm.logpdf(values) + np.log(0.3 / 0.7)
    assert share_of(odds[None], np.array([0.3]))[0] == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("tail", ["exponential", "lognormal"])
def test_p_values_of_natural_groups_are_about_uniform(tail: str) -> None:
    rng = np.random.default_rng(7)
    small = []
    for _ in range(20):
        draw = 1 + rng.exponential(size=300) if tail == "exponential" else rng.lognormal(0, 0.7, size=300)
        small.append(against_natural(draw, rng.integers(12, 100, 300).astype(float), rng.integers(0, 10, 300)).p)
    p = np.concatenate(small)
    for level in (0.5, 0.2, 0.05):
        assert (p <= level).mean() == pytest.approx(level, rel=0.3)
    assert (p <= 1e-3).mean() < 4e-3


def test_the_largest_of_few_natural_groups_is_no_surprise() -> None:
    p = against_natural(np.array([1.6, 1.3, 1.2, 1.0]), np.full(4, 20.0), np.array([0, 3, 1, 5])).p
    assert p.min() > 0.05


def test_a_few_cues_among_the_natural_groups_do_not_hide_one_another() -> None:
    rng = np.random.default_rng(8)
    nats, of = 1 + rng.exponential(size=300), rng.integers(0, 10, 300)
    nats[:3], of[:3] = 60, (0, 1, 2)
    assert against_natural(nats, np.full(300, 30.0), of).p[:3].max() < 1e-4


def test_what_is_clear_by_itself_is_no_null_for_the_others() -> None:
    """One cue raises the tail that another is held against: five of 110 families make it 60 nats long."""
    rng = np.random.default_rng(19)
    nats, of, sizes = 1 + rng.exponential(size=110), rng.integers(0, 10, 110), np.full(110, 30.0)
    alone = nats.copy()
    nats[:5], of[:5], alone[0] = 60, np.arange(5), 60
    together = against_natural(nats, sizes, of)
    assert together.score[:5].min() > 0.8 * against_natural(alone, sizes, of).score[0]


def test_the_interval_of_a_difference_of_shares_is_newcombes() -> None:
    """The worked example of Newcombe 1998, 56/70 against 48/80: 0.0524 to 0.3339."""
    gap, low, high = difference_of_shares(np.arange(70) < 56, np.arange(80) < 48)
    assert (gap, low, high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-4)


def test_the_interval_of_a_difference_of_means_covers_it() -> None:
    rng = np.random.default_rng(9)
    held = 0
    for _ in range(400):
        _, low, high = difference_of_means(rng.normal(1, 2, 40), rng.normal(0, 1, 90))
        held += low <= 1 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_concentration_is_one_at_one_place_and_zero_everywhere() -> None:
    samples = dense()
    assert concentration(samples, np.arange(len(samples.rows))) == pytest.approx(0, abs=1e-6)
    corner = np.flatnonzero((samples.where < 0.25).all(axis=1))
    assert concentration(samples, corner) == pytest.approx(1)


def test_a_cluster_pushes_towards_what_its_images_are_taken_for() -> None:
    samples = dense(90)
    prediction = samples.prediction.copy()
    members = np.zeros(90, bool)
    members[:12] = True
    prediction[:12] = 2
    told = Samples(**{**vars(samples), "prediction": prediction})
    assert pushed_towards(told, members, 0) == 2
    assert pushed_towards(samples, members, 0) == 0


def test_the_densest_half_is_where_most_are() -> None:
    """Against the plain search over all halves; a third far away does not move it."""
    rng = np.random.default_rng(12)
    rows = np.stack([np.r_[rng.normal(size=100), rng.normal(8, 1, 50)], rng.normal(3, 1, 150)])
    for row, found in zip(rows, densest_half(rows), strict=True):
        ordered = np.sort(row)
        best = min(range(76), key=lambda i: ordered[i + 74] - ordered[i])
        assert found == pytest.approx(ordered[best : best + 75].mean(), abs=1e-5)
    assert densest_half(rows) == pytest.approx([0, 3], abs=0.5)


def test_plain_figures_of_pictures_are_one_more_view() -> None:
    """What no layer shows, a tint that the first one evens out, is found by the pictures' own colours."""
    samples = dense(images=900, side=4)
    rng = np.random.default_rng(17)
    plain = rng.normal(size=(900, 8)).astype(np.float32)
    carriers = np.flatnonzero(samples.label == 1)[:40]
    plain[carriers, 3] += 7
    everything = np.ones(900, bool)
    names = [view.name for view in see(samples, 0, everything)]
    seen = {view.name: view for view in see(replace(samples, plain=plain), 0, everything)}
    assert [*names[:2], "plain", *names[2:]] == list(seen)
    np.testing.assert_array_equal(seen["plain"].raw, samples.pooled)
    found = find_candidates(replace(samples, plain=plain))[0]
    assert found.on == "plain"
    assert sorted(found.images.tolist()) == carriers.tolist()
    assert found.direction.shape == (6,)
