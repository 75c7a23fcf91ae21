"""One candidate for what many views show: families of splits, held against the families of other classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from atlas.findings.suspect_evidence import Values, weigh
from atlas.findings.suspect_splits import split
from atlas.findings.suspect_views import Vectors, View

FLOOR = 2.0
"""Nats below which a split is not kept, not even to know what is usual."""
TOGETHER = 0.5
"""Share of the smaller one's members from which two groups of a class are one family."""
FEWEST_IMAGES = 25
"""Images of a class below which it is not split."""
SIMILAR = 2.0
"""How many times larger or smaller a natural sub-cluster is that a candidate is held against..."""
FEWEST_NATURAL = 100
"""...but at least so many, the nearest in size."""
BODY, TAIL = 0.8, 0.95
"""Quantiles of natural groups that the tail is drawn through: 3 cues among 100 to 500 families are above both."""
CLEAR, ROUNDS = 0.1, 3
"""Families that are expected by chance below which one is no null for the others, and how often that is asked."""
LEAST_WIDTH = 0.45
"""Standard deviation of the logarithm at least: among few families the two quantiles may be close by chance."""


@dataclass(frozen=True)
class Group:
    """One split that was kept.

    odds: float32 (images,), log odds that an image belongs, its class known. direction: float32 (channels,), members'
    mean less the rest's, in the layer's own space. apart, together: nats (`stands_apart`, `goes_with`). size: members
    of the class that it was found on. gap: standard deviations between the two modes, along an axis found without the
    image. elsewhere: share of other classes' images that belong.
    """

    view: View
    of: int
    odds: Vectors
    direction: Vectors
    apart: float
    together: float
    size: int
    gap: float
    purity: float

    @property
    def nats(self) -> float:
        """The weaker evidence, both must hold (Berger 1982, the intersection-union test), as far as it is of the class.

        What all classes have somewhat more or less of, such as a blank sky in a corner, is far apart too, and no cue.
        """
        return min(self.apart, self.together) * self.purity


def groups_of(view: View, of_class: NDArray[np.int64], fit: NDArray[np.bool_], seed: int) -> list[Group]:
    """Split every class in one view by the images of `fit`, and keep what stands apart and goes with its class."""
    found: list[Group] = []
    for one in np.unique(of_class[fit]):
        own, other = np.flatnonzero(fit & (of_class == one)), np.flatnonzero(fit & (of_class != one))
        if len(own) < FEWEST_IMAGES:
            continue
        splits = split(view.vectors[own], seed)
        if not len(splits.belong):
            continue
        odds = splits.axes @ view.vectors.T - splits.middle[:, None].astype(np.float32)
        if len(other):  # every class's mean is at 0, but a group that stands apart is part of its class's mean
            odds[:, of_class != one] += (densest_half(odds[:, own]) - densest_half(odds[:, other]))[:, None]
        evidence = weigh(splits, odds[:, other])
        for number in np.flatnonzero(np.minimum(evidence.apart, evidence.together) > FLOOR):
            inside = splits.belong[number] > 0.5
            share, rarer = float(evidence.share[number]), float(evidence.elsewhere[number])
            shifted = odds[number].copy()
            if len(other):  # of other classes an image is a member less often, so it takes more to be one
                shifted[of_class != one] += np.log(rarer / (1 - rarer)) - np.log(share / (1 - share))
            direction = view.raw[own[inside]].mean(axis=0) - view.raw[own[~inside]].mean(axis=0)
            apart, together, gap = (float(x[number]) for x in (evidence.apart, evidence.together, evidence.gap))
            purity = share * len(own) / (share * len(own) + rarer * len(other))
            found.append(Group(view, int(one), shifted, direction, apart, together, int(inside.sum()), gap, purity))
    return found


def densest_half(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """The mean of the shortest half of each row (rows, images): where most are, whatever the others do. (rows,)

    Andrews et al. 1972, Robust Estimates of Location, the shorth.
    """
    ordered = np.sort(values, axis=1)
    half = (values.shape[1] + 1) // 2
    start = (ordered[:, half - 1 :] - ordered[:, : values.shape[1] - half + 1]).argmin(axis=1)
    places = start[:, None] + np.arange(half)
    return np.asarray(np.take_along_axis(ordered, places, axis=1).mean(axis=1), np.float32)


def gather(groups: Sequence[Group], fit: NDArray[np.bool_]) -> list[list[Group]]:
    """Put groups of one class with much the same members into one family; the strongest first, in it and of them.

    Members are those of the images of `fit`.
    """
    families: list[list[Group]] = []
    members: list[NDArray[np.bool_]] = []
    for group in sorted(groups, key=lambda one: -one.nats):
        inside = group.odds[fit] > 0
        for family, theirs in zip(families, members, strict=True):
            if family[0].of != group.of:
                continue
            if (inside & theirs).sum() > TOGETHER * min(inside.sum(), theirs.sum()):
                family.append(group)
                break
        else:
            families.append([group])
            members.append(inside)
    return families


@dataclass(frozen=True)
class Surprise:
    """How far families are above natural sub-clusters of their size: scores, and one-sided p, (families,) each."""

    score: Values
    p: Values


def against_natural(nats: Values, sizes: Values, of: NDArray[np.int64]) -> Surprise:
    """Hold each family against those of other classes that are about as large.

    nats, sizes (members), of (classes), (families,) each. Most of a network's groups are natural, so these are the null
    (Efron 2004, JASA 99:96, an empirical null): above the quantile BODY it is taken to be log-normal, through BODY and
    TAIL, so that a cue among them matters little. What is then CLEAR is no null, and all are held against the others
    alone: two cues would hide one another. score: -log10 p.
    """
    usual = np.ones(len(nats), bool)
    for _ in range(ROUNDS):
        p = np.array([_rarity(one, nats, np.log(sizes), of, usual) for one in range(len(nats))])
        clear = p * len(p) < CLEAR
        if (usual == ~clear).all():
            break
        usual = ~clear
    p = np.clip(p, 1e-300, 1)
    return Surprise(-np.log10(p), p)


@cache
def expected() -> Values:
    """Nats that are counted beside natural groups', for where there are few: twenty quantiles of what chance gives.

    Half a chi-square of three degrees, for the group's mean, spread and share (Wilks 1938, Ann. Math. Stat. 9(1):60).
    """
    from scipy.stats import chi2

    return np.asarray(chi2.ppf((np.arange(20) + 0.5) / 20, 3) / 2)


def _rarity(one: int, nats: Values, size: Values, of: NDArray[np.int64], usual: NDArray[np.bool_]) -> float:
    """One-sided p of one family among the `usual` ones of other classes. size: logarithm of members."""
    from scipy.stats import norm

    at_body, at_tail = norm.ppf((BODY, TAIL))
    others = np.flatnonzero(usual & (of != of[one]))
    if not len(others):  # one class alone: its other groups say what is usual
        others = np.flatnonzero(usual & (np.arange(len(nats)) != one))
    distance = np.abs(size[others] - size[one])
    near = others[distance <= np.log(SIMILAR)]
    if len(near) < FEWEST_NATURAL:
        near = others[np.argsort(distance, kind="stable")[:FEWEST_NATURAL]]
    body, tail = np.quantile(np.concatenate([nats[near], expected()]), (BODY, TAIL))
    width = max(float(np.log(tail / body) / (at_tail - at_body)), LEAST_WIDTH)
    if nats[one] > body:
        return float(norm.sf(at_tail + np.log(nats[one] / tail) / width))
    return max(1 - BODY, float((nats[near] >= nats[one]).mean()) if len(near) else 1.0)
