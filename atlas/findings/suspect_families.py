"""One candidate for what many views show: families of splits, held against the families of other classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
FEWEST_NATURAL = 40
"""...but at least so many, the nearest in size."""


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
    elsewhere: float

    @property
    def nats(self) -> float:
        """The weaker of the two evidences: both must hold (Berger 1982, the intersection-union test)."""
        return min(self.apart, self.together)


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
        evidence = weigh(splits, odds[:, other])
        for number in np.flatnonzero(np.minimum(evidence.apart, evidence.together) > FLOOR):
            inside = splits.belong[number] > 0.5
            share, rarer = float(evidence.share[number]), float(evidence.elsewhere[number])
            shifted = odds[number].copy()
            if len(other):  # of other classes an image is a member less often, so it takes more to be one
                shifted[of_class != one] += np.log(rarer / (1 - rarer)) - np.log(share / (1 - share))
            direction = view.raw[own[inside]].mean(axis=0) - view.raw[own[~inside]].mean(axis=0)
            apart, together, gap = (float(x[number]) for x in (evidence.apart, evidence.together, evidence.gap))
            found.append(Group(view, int(one), shifted, direction, apart, together, int(inside.sum()), gap, rarer))
    return found


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


def against_natural(families: Sequence[Sequence[Group]]) -> Surprise:
    """Hold each family against those of other classes that are about as large.

    Most of a network's clusters are natural, so these are the null: its upper half is taken to fall off exponentially,
    at the rate that its median and its 80th percentile give, so that a few cues among them do not matter (Efron 2004,
    JASA 99:96, an empirical null). score: nats above that median, in the rate's unit. p: 1 in the lower half at most.
    """
    nats = np.array([family[0].nats for family in families])
    size = np.log([family[0].size for family in families])
    of = np.array([family[0].of for family in families])
    score, p = np.zeros(len(families)), np.ones(len(families))
    for one in range(len(families)):
        others = np.flatnonzero(of != of[one])
        if not len(others):
            others = np.arange(len(families))
        distance = np.abs(size[others] - size[one])
        near = others[distance <= np.log(SIMILAR)]
        if len(near) < FEWEST_NATURAL:
            near = others[np.argsort(distance, kind="stable")[:FEWEST_NATURAL]]
        middle, high = np.quantile(nats[near], (0.5, 0.8))
        unit = max((high - middle) / np.log(2.5), 1.0)  # a log likelihood ratio falls off at 1 a nat or slower
        score[one] = (nats[one] - middle) / unit
        p[one] = 0.5 * np.exp(-score[one]) if score[one] > 0 else float((nats[near] >= nats[one]).mean())
    return Surprise(score, np.clip(p, 0, 1))
