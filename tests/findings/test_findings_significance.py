"""How surprising a change is: against definitions, slow oracles and simulated nulls."""

import numpy as np
import pytest

from atlas.findings.significance import (
    against_others,
    against_pool,
    against_retraining,
    against_sampling,
    shrunk,
    trended,
)


def test_the_prior_of_variances_is_found():
    rng = np.random.default_rng(0)
    freedom, prior, prior_freedom = 3, 2.0, 8.0
    true = prior * prior_freedom / rng.chisquare(prior_freedom, 20_000)
    found, found_freedom = shrunk(true * rng.chisquare(freedom, 20_000) / freedom, freedom)
    assert found == pytest.approx(prior, rel=0.05)
    assert found_freedom == pytest.approx(prior_freedom, rel=0.15)


def test_variances_that_are_all_alike_have_no_prior_spread():
    rng = np.random.default_rng(0)
    assert shrunk(np.full(50, 3.0) * rng.uniform(0.9, 1.1, 50), 2)[1] == np.inf


def test_variances_that_rise_with_something_are_found_on_their_line():
    rng = np.random.default_rng(0)
    freedom, prior_freedom = 3, 8.0
    along = rng.uniform(0.01, 0.5, 20_000)
    line = 2 * along**1.5
    true = line * prior_freedom / rng.chisquare(prior_freedom, 20_000)
    found, found_freedom = trended(true * rng.chisquare(freedom, 20_000) / freedom, freedom, along)
    assert found == pytest.approx(line, rel=0.1)
    assert found_freedom == pytest.approx(prior_freedom, rel=0.2)
    few, few_freedom = trended(true[:4], freedom, along[:4])
    assert few == pytest.approx([shrunk(true[:4], freedom)[0]] * 4)
    assert few_freedom == shrunk(true[:4], freedom)[1]


def test_candidates_that_hardly_vary_do_not_make_the_others_look_steady():
    """Nine of 40 vary as their share does; asked of these, p-values are of their size only along the share."""
    rng = np.random.default_rng(0)
    small: dict[bool, list[float]] = {False: [], True: []}
    share = np.where(np.arange(40) < 9, 0.3, 0.01)
    for _ in range(400):
        figures = rng.normal(size=(4, 40)) * 0.2 * share
        for follows, p in small.items():
            surprise = against_retraining(figures[:-1], figures[-1], 1e-9, share if follows else None)
            p.extend(surprise.p[:9])
    told = {follows: (np.array(p) < 0.01).mean() for follows, p in small.items()}
    assert told[False] > 0.015
    assert 0.002 < told[True] < 0.01


@pytest.mark.parametrize("networks", [2, 3, 6])
def test_a_network_of_the_same_recipe_is_no_more_surprising_than_its_p_says(networks):
    """Candidates of uneven noise: no more small p-values than their size says, in the tail too, and not many fewer."""
    rng = np.random.default_rng(networks)
    p = []
    for _ in range(300):
        noise = np.sqrt(0.1 * 6 / rng.chisquare(6, 60))
        figures = rng.normal(size=(networks + 1, 60)) * noise + rng.normal(size=60)
        p.append(against_retraining(figures[:-1], figures[-1], 1e-9).p)
    p = np.concatenate(p)
    for level in (0.05, 0.01, 0.001):
        assert 0.2 * level < (p < level).mean() < 1.1 * level + 4 * np.sqrt(level / len(p))


def test_a_candidate_that_moved_is_found_among_uneven_ones():
    rng = np.random.default_rng(3)
    figures = rng.normal(size=(4, 40)) * np.linspace(0.5, 2, 40)
    figures[-1, 7] += 15
    surprise = against_retraining(figures[:-1], figures[-1], 1e-9)
    assert surprise.p.argmin() == 7
    assert surprise.p[7] < 1e-4


def test_a_pool_with_a_long_tail_is_not_taken_for_a_normal_one():
    rng = np.random.default_rng(0)
    pool = np.append(rng.normal(size=180), rng.exponential(4, 20))
    assert against_pool(pool, np.array([4.0]), 6, 1e-9).p[0] > 0.01
    assert against_pool(pool[:180], np.array([8.0]), 6, 1e-9).p[0] < 0.001


def test_a_figure_is_held_against_its_standard_error():
    freedom = np.array([1e9, 1e9, 2.0])
    surprise = against_sampling(np.array([0.0, 0.2, 0.2]), np.array([0.0, 0.01, 0.001]), freedom, 0.01)
    assert surprise.t == pytest.approx([0, 2, 2])
    assert surprise.p == pytest.approx([0.5, 0.02275, 0.0918], rel=1e-2)


@pytest.mark.parametrize("own", [0.0, 2.0])
def test_what_is_usual_among_figures_is_no_surprise(own):
    """Each figure has a change of its own beside its error, all about 3: only one that stands out of these does."""
    rng = np.random.default_rng(0)
    p, found = [], []
    for _ in range(200):
        seen = 3 + rng.normal(size=80) + own * rng.normal(size=80)
        seen[0] += 30
        surprise = against_others(seen, np.ones(80), np.full(80, 1e9), 1e-9, own=40)
        assert len(surprise.p) == 40
        found.append(surprise.p[0])
        p.extend(surprise.p[1:])
    assert max(found) < 1e-6
    assert 0.03 < (np.array(p) < 0.05).mean() < 0.065
