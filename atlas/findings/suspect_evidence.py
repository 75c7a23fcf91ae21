"""What tells a cue from a natural part of a class: it stands apart from the class, and goes with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from atlas.findings.suspect_splits import Splits

Values = NDArray[np.float64]

STEPS = 30
SPREAD = (0.5, 1.25)
"""Standard deviation of the group that stands apart, relative to the rest's. A cue adds the same to each picture; the
tail of a natural part is wider: without the upper bound a mixture fits any tail."""
VALLEY = 0.2
"""Of the distance between the two means: a group that is no wider is apart by a valley, whatever its width."""
MOST = 0.6
FITS = 6
"""Splits of a class in a view that are held against one skewed and heavy-tailed distribution: the most promising."""
PROMISING = 4.0
"""Nats that a split must have by its upper bounds to be held against it: the top of a list is at 15 or more."""
REFINED, ROUGH = 2, 4.0
"""Of these the best are fitted beyond a grid of shapes, and only where so many nats may be what the grid lacks."""
CLIMBS, NEAR_ENOUGH, UNDAMPED = 25, 0.05, 1e-6
"""Steps of a climb, and nats that the next one promises below which it ends."""
STRIDES = ((UNDAMPED, 1.0), (UNDAMPED, 0.5), (UNDAMPED, 0.25), (UNDAMPED, 0.06), (1.0, 1.0), (30.0, 1.0), (1000.0, 1.0))
"""How a step is damped and shortened, until it is upwards."""
SOME = 1024
"""Images of other classes that the share elsewhere is estimated on."""
LOG_ROOT = 0.5 * float(np.log(2 * np.pi))


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians fitted to rows of values, (rows,) each: the rest's and the group's mean and spread, its share.

    likelihood: log, summed over the values. single: the same of one Gaussian.
    """

    low: Values
    high: Values
    low_spread: Values
    high_spread: Values
    share: Values
    likelihood: Values
    single: Values


def fit_mixtures(values: NDArray[np.floating]) -> Mixture:
    """Fit two Gaussians to each row of values (rows, images), the second above and at most SPREAD as wide, by EM."""
    rows = np.asarray(values, np.float64)
    count = rows.shape[1]
    low, high, share = np.median(rows, axis=1), np.quantile(rows, 0.95, axis=1), np.full(len(rows), 0.15)
    single = np.maximum(rows.std(axis=1), 1e-6)
    low_spread, high_spread = 0.8 * single, 0.8 * single
    total = np.zeros_like(rows)
    for _ in range(STEPS):
        rest = _log_normal(rows, low, low_spread) + np.log(1 - share)[:, None]
        group = _log_normal(rows, high, high_spread) + np.log(share)[:, None]
        total = np.logaddexp(rest, group)
        belong = np.exp(group - total)
        inside = belong.sum(axis=1) + 1e-6
        outside = count - inside + 2e-6
        share = np.clip(inside / count, 2 / count, MOST)
        high, low = (belong * rows).sum(axis=1) / inside, ((1 - belong) * rows).sum(axis=1) / outside
        low_spread = np.sqrt(((1 - belong) * (rows - low[:, None]) ** 2).sum(axis=1) / outside + 1e-4)
        found = np.sqrt((belong * (rows - high[:, None]) ** 2).sum(axis=1) / inside + 1e-4)
        widest = np.maximum(SPREAD[1] * low_spread, VALLEY * (high - low))
        high_spread = np.clip(found, SPREAD[0] * low_spread, np.maximum(widest, SPREAD[0] * low_spread))
    alone = -count * (np.log(single) + 0.5 + LOG_ROOT)
    return Mixture(low, high, low_spread, high_spread, share, total.sum(axis=1), alone)


def _log_normal(rows: Values, mean: Values, spread: Values) -> Values:
    return -0.5 * ((rows - mean[:, None]) / spread[:, None]) ** 2 - np.log(spread)[:, None] - LOG_ROOT


@dataclass(frozen=True)
class _Shapes:
    """Sinh-arcsinh normals of many shapes, each with its quartiles: (shapes,)."""

    skew: Values
    weight: Values
    quartiles: Values

    @classmethod
    def grid(cls) -> _Shapes:
        skew, weight = (v.ravel() for v in np.meshgrid(np.linspace(-0.6, 1.2, 10), (0.5, 0.65, 0.8, 1.0, 1.25)))
        normal = np.array([-0.6745, 0.0, 0.6745])
        return cls(skew, weight, np.sinh((np.arcsinh(np.sinh(normal))[:, None] + skew) / weight))


_SHAPES = _Shapes.grid()


def _coarse(rows: Values, quartiles: Values) -> tuple[Values, Values, Values]:
    """Sinh-arcsinh normals of many shapes, placed by quartiles (3,), at values (images,).

    -> their log densities (shapes, images), places and scales (shapes,).
    """
    scale = np.maximum(quartiles[2] - quartiles[0], 1e-6) / (_SHAPES.quartiles[2] - _SHAPES.quartiles[0])
    place = quartiles[1] - scale * _SHAPES.quartiles[1]
    scaled = (rows - place[:, None]) / scale[:, None]
    weight = _SHAPES.weight[:, None]
    odd = np.sinh(np.clip(weight * np.arcsinh(scaled) - _SHAPES.skew[:, None], -15, 15))
    each = 0.5 * np.log1p(odd**2) - 0.5 * np.log1p(scaled**2) - 0.5 * odd**2
    return each + np.log(weight / scale[:, None]) - LOG_ROOT, place, scale


def one_group_likelihood(values: NDArray[np.floating], enough: float = np.inf) -> float:
    """Log likelihood of values (images,) under the best sinh-arcsinh normal: one mode, any skew, any weight of tails.

    Jones and Pewsey 2009, Biometrika 96(4):761, four parameters as there. Shapes on a grid, placed by the values'
    quartiles, then `climbed` from the best of them, unless that one already has `enough`.
    """
    rows = np.asarray(values, np.float64)
    each, place, scale = _coarse(rows, np.quantile(rows, (0.25, 0.5, 0.75)))
    coarse = each.sum(axis=1)
    best = int(coarse.argmax())
    if coarse[best] >= enough:
        return float(coarse[best])

    start = [place[best], np.log(scale[best]), _SHAPES.skew[best], np.log(_SHAPES.weight[best])]
    return climbed(partial(_bent, rows), np.array(start))


def beside_group_likelihood(values: NDArray[np.floating], mixture: Mixture, row: int, enough: float = -np.inf) -> float:
    """Log likelihood of values (images,) under the mixture's group, and a rest of any skew and any weight of tails.

    The group's mean and spread are those of the mixture's `row`; its share and the rest, a sinh-arcsinh normal, are
    fitted as in `one_group_likelihood`, unless the best of the grid is below `enough`. What one group is held against
    must be able to be skewed where that one is: an empty corner of most pictures is a sharp peak with a tail, and no
    normal beside a mark is.
    """
    rows = np.sort(np.asarray(values, np.float64))
    plain = float(mixture.likelihood[row])
    group = -0.5 * ((rows - mixture.high[row]) / mixture.high_spread[row]) ** 2
    group -= np.log(mixture.high_spread[row]) + LOG_ROOT
    share = float(mixture.share[row])
    rest = -0.5 * ((rows - mixture.low[row]) / mixture.low_spread[row]) ** 2
    rest -= np.log(mixture.low_spread[row]) + LOG_ROOT
    outside = np.cumsum(1 / (1 + np.exp(np.clip(group - rest, -30, 30)) * share / (1 - share)))
    quartiles = rows[np.searchsorted(outside, np.array([0.25, 0.5, 0.75]) * outside[-1])]
    each, place, scale = _coarse(rows, quartiles)
    coarse = np.logaddexp(each + np.log(1 - share), group + np.log(share)).sum(axis=1)
    best = int(coarse.argmax())
    if max(plain, float(coarse[best])) < enough:
        return max(plain, float(coarse[best]))

    def both(at: Values) -> tuple[Values, Values]:
        rest, slopes = _bent(rows, at[:4])
        share = 1 / (1 + np.exp(-at[4]))
        inside, outside = group + np.log(share), rest + np.log1p(-share)
        total = np.logaddexp(inside, outside)
        belong = np.exp(inside - total)
        return total, np.concatenate([slopes * (1 - belong), (belong - share)[None]])

    shape = (place[best], np.log(scale[best]), _SHAPES.skew[best], np.log(_SHAPES.weight[best]))
    if coarse[best] < plain:
        shape = (mixture.low[row], np.log(mixture.low_spread[row]), 0.0, 0.0)
    return max(plain, climbed(both, np.array([*shape, np.log(share / (1 - share))])))


def climbed(likelihood: Callable[[Values], tuple[Values, Values]], start: Values) -> float:
    """The log likelihood of a summit near `start`, by damped Newton steps on the outer product of the values' slopes.

    Berndt, Hall, Hall and Hausman 1974, Annals of Economic and Social Measurement 3(4):653; damped as by Marquardt 1963
    until a step is upwards. likelihood: of parameters, each value's log likelihood (images,) and its slopes
    (parameters, images). A fifth of the time of BFGS, to within 0.2 nats.
    """
    at = start
    each, slopes = likelihood(at)
    top = float(each.sum())
    for _ in range(CLIMBS):
        slope, outer = slopes.sum(axis=1), slopes @ slopes.T
        stiff = np.diag(outer.diagonal() + 1e-9)
        if slope @ np.linalg.solve(outer + UNDAMPED * stiff, slope) < NEAR_ENOUGH:
            break
        for damping, size in STRIDES:
            step = np.linalg.solve(outer + damping * stiff, slope)
            step *= size / max(1.0, float(np.abs(step[1:]).max()))  # of logarithms and a skew, more is off the data
            each, slopes = likelihood(at + step)
            if float(each.sum()) > top:
                break
        else:
            break
        at, top = at + step, float(each.sum())
    return top


def _bent(rows: Values, at: Values) -> tuple[Values, Values]:
    """Log density of a sinh-arcsinh normal at each value (images,), and its slopes by the parameters (4, images).

    at: place, log scale, skew, log weight.
    """
    scaled = (rows - at[0]) * np.exp(-at[1])
    inner, weight = np.arcsinh(scaled), np.exp(at[3])
    bent = np.clip(weight * inner - at[2], -15, 15)
    odd, even, root = np.sinh(bent), np.cosh(bent), 1 + scaled**2
    each = at[3] - at[1] - LOG_ROOT + np.log(even / np.sqrt(root)) - 0.5 * odd**2
    by_bent = np.tanh(bent) - odd * even
    by_scaled = by_bent * weight / np.sqrt(root) - scaled / root
    slopes = (-by_scaled * np.exp(-at[1]), -1 - by_scaled * scaled, -by_bent, 1 + by_bent * weight * inner)
    return each, np.stack(slopes)


def stands_apart(held: NDArray[np.floating], bound: Values) -> tuple[Values, Values]:
    """By how many nats two groups explain each row of `held` (splits, images) better than one skewed group.

    bound (splits,): nats that a split is not worth more than, whatever this gives; those that cannot reach PROMISING
    are given 0. Both may be skewed: see `beside_group_likelihood`. -> nats and the standard deviations between the two
    modes, (splits,) each.
    """
    nats, gap = np.zeros(len(held)), np.zeros(len(held))
    asked = np.flatnonzero(bound > PROMISING)
    if not len(asked):
        return nats, gap
    mixture = fit_mixtures(held[asked])
    gap[asked] = 2 * (mixture.high - mixture.low) / (mixture.low_spread + mixture.high_spread)
    bound = np.minimum(bound[asked], mixture.likelihood - mixture.single)
    chosen = [int(one) for one in np.argsort(-bound)[:FITS] if bound[one] > PROMISING]
    rough = [
        beside_group_likelihood(held[asked[one]], mixture, one, np.inf)
        - one_group_likelihood(held[asked[one]], -np.inf)
        for one in chosen
    ]
    for rank, number in enumerate(np.argsort(-np.array(rough), kind="stable")):
        one, found = chosen[number], rough[number]
        if rank < REFINED and found > PROMISING - ROUGH:
            values = held[asked[one]]
            found = beside_group_likelihood(values, mixture, one) - one_group_likelihood(values)
        nats[asked[one]] = max(0.0, found)
    return nats, gap


def goes_with(share: Values, elsewhere: Values, images: int) -> Values:
    """By how many nats the group's share of the class differs from its share of other classes, upwards. (splits,)

    The likelihood ratio of a binomial, images being the unit.
    """
    some = 0.5 / images
    inside, outside = np.clip(share, some, 1 - some), np.clip(elsewhere, some, 1 - some)
    nats = images * (inside * np.log(inside / outside) + (1 - inside) * np.log((1 - inside) / (1 - outside)))
    return np.where(inside > outside, nats, 0.0)


def share_of(odds: NDArray[np.floating], start: Values) -> Values:
    """The share of members among images whose log odds, at the share `start` (rows,), are odds (rows, images).

    By EM with all else as it is: an image far from either group counts for little. -> (rows,)
    """
    some = np.asarray(odds[:, :: max(1, odds.shape[1] // SOME)], np.float32)
    likelier = np.exp(np.clip(some - np.log(start / (1 - start))[:, None].astype(np.float32), -30, 30))
    share = np.minimum(start, 0.05)
    for _ in range(STEPS):
        prior = (share / (1 - share))[:, None].astype(np.float32)
        share = np.clip((1 / (1 + 1 / (likelier * prior))).mean(axis=1, dtype=np.float64), 1e-4, MOST)
    return np.asarray(share)


@dataclass(frozen=True)
class Evidence:
    """What speaks for each of a class's splits, (splits,) each.

    share: of the class. elsewhere: of images of other classes. apart, together: nats (`stands_apart`, `goes_with`).
    gap: standard deviations between the two modes.
    """

    share: Values
    elsewhere: Values
    apart: Values
    together: Values
    gap: Values


def weigh(splits: Splits, odds_elsewhere: NDArray[np.floating]) -> Evidence:
    """Weigh a class's splits. odds_elsewhere (splits, images of other classes): log odds, as for the class itself.

    Without other classes nothing can go with one: it then counts only what stands apart.
    """
    images = splits.held.shape[1]
    share = np.clip(splits.belong.mean(axis=1, dtype=np.float64), 1e-3, MOST)
    if not odds_elsewhere.shape[1]:
        apart, gap = stands_apart(splits.held, np.full(len(share), np.inf))
        return Evidence(share, np.zeros(len(share)), apart, apart, gap)
    elsewhere = share_of(odds_elsewhere, share)
    together = goes_with(share, elsewhere, images)
    apart, gap = stands_apart(splits.held, together)
    return Evidence(share, elsewhere, apart, together, gap)
