"""How surprising a change is: against definitions, slow oracles and simulated nulls."""

import numpy as np
import pytest

from atlas.findings.significance import (
    against_pool,
    against_retraining,
    against_sampling,
    image_weights,
    shrunk,
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


def test_the_bootstrap_knows_the_error_of_a_mean():
    rng = np.random.default_rng(0)
    values = rng.normal(size=500)
    weights = image_weights(500, seed=1)
    assert weights.sum(1) == pytest.approx(500)
    surprise = against_sampling(np.array([values.mean()]), (weights @ values / 500)[:, None])
    error = values.std() / np.sqrt(500)
    assert values.mean() / surprise.t[0] == pytest.approx(error, rel=0.12)


def test_what_never_varies_is_no_surprise():
    surprise = against_sampling(np.zeros(1), np.zeros((10, 1)))
    assert surprise.p[0] == pytest.approx(0.5)
