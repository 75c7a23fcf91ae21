"""How surprising a change is: against what retraining does, or against sampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST_FOR_A_TREND = 6
"""Candidates from which their variances may follow a line."""

QUARTER = 0.6745
"""A quarter of a normal distribution lies between its middle and so many standard deviations below."""

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


def against_retraining(
    recipe: NDArray[np.float64], seen: NDArray[np.float64], least: float, along: NDArray[np.float64] | None = None
) -> Surprise:
    """Test one network's figures against those of two or more networks of one recipe, one-sided: larger.

    recipe (networks, candidates), seen (candidates,): the same figure of every candidate, on a scale on which its noise
    is about even. A candidate's variance among so few networks is itself uncertain, so it is drawn towards that of
    all candidates: the moderated t of Smyth 2004 (Statistical Applications in Genetics 3(1):3), a new network against
    the mean of n, with n - 1 + d0 degrees of freedom. least: a variance that no candidate is taken to be below. along:
    float64 (candidates,), above 0, what variances may rise or fall with (see `trended`); sizes stay comparable.
    """
    from scipy.stats import t as student

    networks = len(recipe)
    freedom = networks - 1
    spread = np.maximum(recipe.var(axis=0, ddof=1), least)
    common, prior_freedom = shrunk(spread, freedom)
    prior: NDArray[np.float64] | float = common
    if along is not None:
        prior, prior_freedom = trended(spread, freedom, along)
    prior_freedom = min(prior_freedom, MOST_FREEDOM)
    variance = (prior_freedom * prior + freedom * spread) / (prior_freedom + freedom)
    total = prior_freedom + freedom
    beyond = seen - recipe.mean(axis=0)
    t = beyond / np.sqrt(np.maximum(variance, least) * (1 + 1 / networks))
    typical = np.sqrt(max(common, least) * (1 + 1 / networks))
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


def trended(
    variances: NDArray[np.float64], freedom: int, along: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Fit prior variances that are a power of `along` (candidates,), and their common degrees of freedom.

    -> float64 (candidates,), and a number. As `shrunk`, about a line through the logarithms: the trend of limma (Law et
    al. 2014, Genome Biology 15:R29). With one prior for all, figures that hardly vary make the others look steadier
    than they are: of ten classes that lie apart but for a few pairs, 7.5 % of the p-values of these were then under
    0.05, and 2.0 % under 0.01, in place of 3.2 and 0.6. Fewer than FEWEST_FOR_A_TREND candidates have one prior.
    """
    from scipy.special import digamma, polygamma

    if len(variances) < FEWEST_FOR_A_TREND:
        common, prior_freedom = shrunk(variances, freedom)
        return np.full(len(variances), common), prior_freedom
    logs = np.log(variances) - digamma(freedom / 2) + np.log(freedom / 2)
    told = np.stack([np.ones(len(along)), np.log(along)], axis=1)
    fitted = told @ np.linalg.lstsq(told, logs)[0]
    extra = ((logs - fitted) ** 2).sum() / (len(logs) - 2) - polygamma(1, freedom / 2)
    if extra <= 0:
        return np.exp(fitted), float("inf")
    prior = 2 * _inverse_trigamma(float(extra))
    return np.exp(fitted + digamma(prior / 2) - np.log(prior / 2)), prior


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


def against_sampling(
    seen: NDArray[np.float64], variance: NDArray[np.float64], freedom: NDArray[np.float64], least: float
) -> Surprise:
    """Test figures against zero, one-sided: larger, by what they vary when images are drawn anew; (candidates,) each.

    Student's t with each variance's own degrees of freedom. least: a variance that none is taken to be below.
    """
    from scipy.stats import t as student

    t = seen / np.sqrt(np.maximum(variance, least))
    return Surprise(t, t, student.sf(t, freedom))


def against_others(
    seen: NDArray[np.float64], variance: NDArray[np.float64], freedom: NDArray[np.float64], least: float, own: int
) -> Surprise:
    """Test the first `own` of figures (candidates,) for being larger than is usual among all of them.

    What is usual is their median and, in standard errors, how far the quarter of them below it reaches, where that is
    farther than chance does: an empirical null (Efron 2004, Journal of the American Statistical Association 99:96), for
    groups of which each differs by a little of its own. The upper half is no measure of it: there is what changed.
    """
    beyond = seen - np.median(seen)
    errors = np.sqrt(np.maximum(variance, least))
    wide = max(1.0, -float(np.quantile(beyond / errors, 0.25)) / QUARTER)
    return against_sampling(beyond[:own], (wide * errors[:own]) ** 2, freedom[:own], least)
