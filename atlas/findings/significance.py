"""How surprising a change is: against what retraining does, or against sampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REPEATS = 200
"""Bootstrap samples of images: a standard error is then known to within 5 %."""


MOST_FREEDOM = 6.0
"""Degrees of freedom that the prior of the variances is trusted with: among 60 candidates of 3 networks its own fit is
often infinite by chance, and then 2.4 times as many p-values are under 0.001 as should be."""


@dataclass(frozen=True)
class Surprise:
    """How far figures are above what was expected, float64 (candidates,) each.

    size: in standard errors that are typical of all candidates; a candidate's own is too uncertain to rank by. t: in
    its own, drawn towards those. p: one-sided.
    """

    size: NDArray[np.float64]
    t: NDArray[np.float64]
    p: NDArray[np.float64]


def against_retraining(recipe: NDArray[np.float64], seen: NDArray[np.float64], least: float) -> Surprise:
    """Test one network's figures against those of two or more networks of one recipe, one-sided: larger.

    recipe (networks, candidates), seen (candidates,): the same figure of every candidate, on a scale on which its noise
    is about even. A candidate's variance among so few networks is itself uncertain, so it is drawn towards that of
    all candidates: the moderated t of Smyth 2004 (Statistical Applications in Genetics 3(1):3), a new network against
    the mean of n, with n - 1 + d0 degrees of freedom. least: a variance that no candidate is taken to be below.
    """
    from scipy.stats import t as student

    networks = len(recipe)
    freedom = networks - 1
    spread = np.maximum(recipe.var(axis=0, ddof=1), least)
    prior, prior_freedom = shrunk(spread, freedom)
    prior_freedom = min(prior_freedom, MOST_FREEDOM)
    variance = (prior_freedom * prior + freedom * spread) / (prior_freedom + freedom)
    total = prior_freedom + freedom
    beyond = seen - recipe.mean(axis=0)
    t = beyond / np.sqrt(np.maximum(variance, least) * (1 + 1 / networks))
    typical = np.sqrt(max(prior, least) * (1 + 1 / networks))
    return Surprise(beyond / typical, t, student.sf(t, total))


def shrunk(variances: NDArray[np.float64], freedom: int) -> tuple[float, float]:
    """Fit the prior variance and its degrees of freedom (infinite: all alike) to variances (candidates,).

    Smyth 2004, section 6.2: the moments of the logarithm of a scaled F distribution.
    """
    from scipy.special import digamma, polygamma

    logs = np.log(variances) - digamma(freedom / 2) + np.log(freedom / 2)
    extra = logs.var(ddof=1) - polygamma(1, freedom / 2) if len(logs) > 1 else 0.0
    if extra <= 0:
        return float(np.exp(logs.mean())), float("inf")
    prior = 2 * _inverse_trigamma(float(extra))
    return float(np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2))), prior


def _inverse_trigamma(value: float) -> float:
    """Solve trigamma(x) = value by Newton's method; Smyth 2004, appendix."""
    from scipy.special import polygamma

    x = 0.5 + 1 / value
    for _ in range(50):
        slope = polygamma(1, x)
        step = slope * (1 - slope / value) / polygamma(2, x)
        x += step
        if -step / x < 1e-8:
            break
    return float(x)


def against_pool(pool: NDArray[np.float64], seen: NDArray[np.float64], freedom: float, least: float) -> Surprise:
    """Test figures (candidates,) against a pool (values,) of the same figure among networks of one recipe: larger.

    Student's t around the pool's median; its scale is the larger of the pool's standard deviation and the one that its
    95 % quantile implies, so that a long upper tail counts. least: a variance that the scale is not below.
    """
    from scipy.stats import t as student

    centre = float(np.median(pool))
    upper = (float(np.quantile(pool, 0.95)) - centre) / 1.645
    scale = max(float(pool.std(ddof=1)) if len(pool) > 1 else 0.0, upper, float(np.sqrt(least)))
    t = (seen - centre) / (scale * np.sqrt(1 + 1 / max(1, len(pool))))
    return Surprise(t, t, student.sf(t, freedom))


def against_sampling(seen: NDArray[np.float64], drawn: NDArray[np.float64]) -> Surprise:
    """Test figures (candidates,) against zero, one-sided: larger, by the spread of their bootstrap (draws, candidates).

    The normal approximation of the bootstrap (Efron and Tibshirani 1993, section 13.3), because counting draws beyond
    zero cannot give a p below 1 / draws, which the adjustment for many tests needs.
    """
    from scipy.stats import norm

    error = drawn.std(axis=0, ddof=1)
    t = np.divide(seen, error, out=np.zeros_like(seen), where=error > 0)
    return Surprise(t, t, norm.sf(t))


def image_weights(images: int, seed: int, repeats: int = REPEATS) -> NDArray[np.float64]:
    """Draw images with replacement: how often each is drawn, float64 (repeats, images)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, np.full(images, 1 / images), size=repeats).astype(np.float64)
