"""What two networks are compared by: how groups of images lie in each, and how much of a change that makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from atlas.findings.edges import Influence, sampling_spread
from atlas.findings.groups import NEAR, Graph, find_clusters, mixing, tightness, unit_rows
from atlas.findings.significance import (
    Surprise,
    against_others,
    against_pool,
    against_retraining,
    against_sampling,
)

POOL_FREEDOM = 6.0
"""Degrees of freedom of figures pooled over groups whose own noise is not known: a tail as long as theirs."""

LEAST = 10
"""Tested images that a group must have."""
MIXED = 0.005
"""Mean share of edges between two classes, over all networks, below which they are not tested: apart in each."""
LEAST_VARIANCE = 1e-4
"""Of an angle: nothing is known better than this, the noise of a share of 2,500 images."""

Figures = NDArray[np.float64]
Kind = Literal["merged", "split", "moved", "appeared", "vanished"]
About = Literal["classes", "parts", "cluster"]


class Account:
    """One network's rows, scaled, and its neighbours among the tested images."""

    def __init__(self, vectors: NDArray[np.floating], tested: NDArray[np.bool_], seed: int) -> None:
        self.rows = unit_rows(vectors, seed)
        self.tested = tested
        self.seed = seed

    @cached_property
    def graph(self) -> Graph:
        """The neighbours among the tested images, found when first asked for."""
        return Graph.of(self.rows[self.tested], self.seed)

    def edges(self, group: NDArray[np.int64], count: int) -> Figures:
        """Count edges among the tested images, for groups of all images (images,)."""
        return self.graph.edges(group[self.tested], count)

    def clusters(self, count: int, within: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Cluster the images on the half that is not tested; with `within` (images,) each of its groups apart.

        -> int64 (images,), group g's clusters being g * count to g * count + count - 1, and -1 where `within` is.
        """
        if within is None:
            return find_clusters(self.rows, ~self.tested, count, self.seed)
        found = np.full(len(self.rows), -1, np.int64)
        for group in range(within.max() + 1):
            members = np.flatnonzero(within == group)
            if (~self.tested[members]).sum() > count and self.tested[members].sum() > NEAR:
                found[members] = group * count + find_clusters(
                    self.rows[members], ~self.tested[members], count, self.seed
                )
        return found


@dataclass(frozen=True)
class Candidate:
    """One thing that may have changed, tested.

    groups: the image numbers of the one or two groups concerned. classes: their class numbers. before, after: shares in
    A and in B, between 0 and 1; retrained: the lowest and the highest among A and the references, None without those.
    size: how many typical standard errors, what is ranked by; t: how many of its own; p: not yet adjusted for the
    number of tests.
    """

    kind: Kind
    about: About
    groups: tuple[NDArray[np.int64], ...]
    classes: tuple[int, ...]
    before: float
    after: float
    retrained: tuple[float, float] | None
    size: float
    t: float
    p: float


@dataclass(frozen=True)
class Sides:
    """A and its retrainings (one recipe, A first) against B, on the same images."""

    recipe: tuple[Account, ...]
    b: Account

    @property
    def a(self) -> Account:
        """The network that is compared."""
        return self.recipe[0]

    @property
    def accounts(self) -> tuple[Account, ...]:
        """A, its retrainings, and B."""
        return (*self.recipe, self.b)

    @property
    def tested(self) -> NDArray[np.bool_]:
        """Whether groups are tested on an image (images,); on the others they are found."""
        return self.b.tested

    def spread(self, influences: Sequence[Sequence[Influence]]) -> tuple[Figures, Figures]:
        """Each candidate's variance when images are drawn anew, and its degrees of freedom; (candidates,) each.

        influences: what edges add to the terms of its figure.
        """
        images = int(self.tested.sum())
        told = np.array([sampling_spread(terms, images) for terms in influences]).reshape(-1, 2)
        return told[:, 0], told[:, 1]


def compare_classes(sides: Sides, group: NDArray[np.int64], count: int) -> list[Candidate]:
    """Test every pair of classes for lying more mixed, or less, in B. group (images,) is a class or -1.

    Pairs that have no edge in any network are left out: they would count as pairs whose figures never vary, and a test
    at 5 % then finds 24 % of retrained pairs of 60 classes instead of 10 %.
    """
    pairs = np.argwhere(np.triu(np.ones((count, count), bool), 1))

    def figures(account: Account) -> NDArray[np.float64]:
        return mixing(account.edges(group, count))[pairs[:, 0], pairs[:, 1]]

    enough = np.bincount(group[sides.tested & (group >= 0)], minlength=count) >= LEAST
    across = sum(account.edges(group, count) for account in sides.accounts)
    met = (across + np.transpose(across))[pairs[:, 0], pairs[:, 1]] > 0
    pairs = pairs[enough[pairs].all(axis=1) & met]
    if not len(pairs):
        return []
    seen = np.stack([figures(account) for account in sides.accounts])
    kept = np.flatnonzero((np.sin(seen) ** 2).mean(axis=0) >= MIXED)
    if len(sides.recipe) > 1:  # the pairs that are not kept help to know how much variances vary
        share = (np.sin(seen[:-1]) ** 2).mean(axis=0)
        surprise = against_retraining(seen[:-1], seen[-1], LEAST_VARIANCE, along=share)
    else:
        pairs, seen, kept = pairs[kept], seen[:, kept], np.arange(len(kept))
        tested, signs = group[sides.tested], ((sides.b, 1.0), (sides.a, -1.0))
        spread = sides.spread(
            [[Influence.of_mixing(of.graph, tested, one, other, sign) for of, sign in signs] for one, other in pairs]
        )
        surprise = against_sampling(seen[1] - seen[0], *spread, LEAST_VARIANCE)
    surprise = Surprise(surprise.size, surprise.t, 2 * np.minimum(surprise.p, 1 - surprise.p))
    found = []
    for i in kept:
        groups = tuple(np.flatnonzero(group == one) for one in pairs[i])
        kind: Kind = "merged" if surprise.t[i] > 0 else "split"
        found.append(_candidate(kind, "classes", groups, tuple(map(int, pairs[i])), seen[:, i], surprise, int(i)))
    return found


def _candidate(
    kind: Kind,
    about: About,
    groups: tuple[NDArray[np.int64], ...],
    classes: tuple[int, ...],
    angles: Figures,
    surprise: Surprise,
    number: int,
) -> Candidate:
    """One candidate; angles: its figure in A, its retrainings and B; number: its place in `surprise`."""
    share = np.sin(angles) ** 2
    spread = (float(share[:-1].min()), float(share[:-1].max())) if len(share) > 2 else None
    told = (float(values[number]) for values in (surprise.size, surprise.t, surprise.p))
    return Candidate(kind, about, groups, classes, float(share[0]), float(share[-1]), spread, *told)


def compare_parts(sides: Sides, group: NDArray[np.int64], count: int) -> list[Candidate]:
    """Test every class for falling into two parts in B that are one in A, and the reverse. group (images,)."""
    parts = {account: account.clusters(2, group) for account in sides.accounts}
    parted = np.unique(parts[sides.a][parts[sides.a] >= 0] // 2)  # large enough to be parted; the same in every network
    if not len(parted):
        return []

    def between(finder: Account, judge: Account) -> Figures:
        return mixing(judge.edges(parts[finder], 2 * count))[2 * parted, 2 * parted + 1]

    found = []
    kinds: tuple[Kind, ...] = ("split", "merged")
    for kind in kinds:
        if len(sides.recipe) > 1:
            seen = [_parting(kind, between, account, sides.recipe) for account in sides.accounts]
            surprise = against_retraining(np.stack(seen[:-1]), seen[-1], LEAST_VARIANCE)
        else:
            here, there = (sides.a, sides.b) if kind == "merged" else (sides.b, sides.a)
            signs = ((here, there, 1.0), (here, here, -1.0), (there, here, -1.0), (there, there, 1.0))
            excess = sum(sign * between(of, judge) for of, judge, sign in signs)
            spread = sides.spread(
                [
                    [
                        Influence.of_mixing(judge.graph, parts[of][sides.tested], 2 * one, 2 * one + 1, sign)
                        for of, judge, sign in signs
                    ]
                    for one in parted
                ]
            )
            surprise = against_sampling(np.asarray(excess), *spread, LEAST_VARIANCE)
        finder = sides.a if kind == "merged" else sides.b
        judged = np.stack([between(finder, account) for account in sides.accounts])
        for i, of in enumerate(parted):
            groups = tuple(np.flatnonzero(parts[finder] == 2 * of + side) for side in (0, 1))
            if min(sides.tested[members].sum() for members in groups) >= LEAST:
                found.append(_candidate(kind, "parts", groups, (int(of),), judged[:, i], surprise, i))
    return found


def _parting(
    kind: Kind, between: Callable[..., NDArray[np.float64]], of: Account, recipe: Sequence[Account]
) -> NDArray[np.float64]:
    """How much more the two parts lie mixed where they were not found, on average over the recipe's other networks.

    For "split" the parts are this network's own, and the others are asked; for "merged" the other way round.
    """
    others = [other for other in recipe if other is not of]
    if kind == "split":
        return np.mean([between(of, other) - between(of, of) for other in others], axis=0)
    return np.mean([between(other, of) - between(other, other) for other in others], axis=0)


def compare_clusters(sides: Sides, count: int, *, pairs: bool) -> list[Candidate]:
    """Test every cluster of B for being scattered in A ("appeared"), and every cluster of A for being so in B.

    With `pairs`, where there are no classes, also every pair of B's clusters for lying mixed in A ("split"), and of A's
    for lying mixed in B ("merged"). A network's own clusters always lie better in it than in another: references say
    by how much; without them the median over all clusters does.
    """
    parts = {account: account.clusters(count) for account in sides.accounts}
    upper = np.triu_indices(count, 1)
    numbers = {False: np.arange(count)[:, None], True: np.stack(upper, axis=1)}

    def figures(finder: Account, judge: Account, paired: bool) -> Figures:
        edges = judge.edges(parts[finder], count)
        return mixing(edges)[upper] if paired else -tightness(edges)

    found = []
    kinds: tuple[Kind, ...] = ("appeared", "vanished", "split", "merged") if pairs else ("appeared", "vanished")
    for kind in kinds:
        finder, judge = (sides.b, sides.a) if kind in ("appeared", "split") else (sides.a, sides.b)
        paired = kind in ("split", "merged")

        def loosened(one: Account, other: Account, paired: bool = paired) -> Figures:
            return figures(one, other, paired) - figures(one, one, paired)

        seen = loosened(finder, judge)
        if len(sides.recipe) > 1:
            pool = [loosened(one, other) for one in sides.recipe for other in sides.recipe if one is not other]
            surprise = against_pool(np.concatenate(pool), seen, POOL_FREEDOM, LEAST_VARIANCE)
        else:
            told = [
                (loosened(one, other), *_cluster_spread(sides, parts[one], one, other, numbers[paired]))
                for one, other in ((finder, judge), (judge, finder))
            ]
            beyond, variance, freedom = (np.concatenate(some) for some in zip(*told, strict=True))
            surprise = against_others(beyond, variance, freedom, LEAST_VARIANCE, own=len(seen))
        judged = np.stack([np.abs(figures(finder, account, paired)) for account in sides.accounts])
        for i, of in enumerate(numbers[paired]):
            groups = tuple(np.flatnonzero(parts[finder] == one) for one in of)
            if min(sides.tested[members].sum() for members in groups) >= LEAST:
                about: About = "parts" if paired else "cluster"
                found.append(_candidate(kind, about, groups, (), judged[:, i], surprise, i))
    return found


def _cluster_spread(
    sides: Sides, parts: NDArray[np.int64], finder: Account, judge: Account, numbers: NDArray[np.int64]
) -> tuple[Figures, Figures]:
    """Variances and freedom of how much looser clusters, or how much more mixed pairs of them, are in `judge`.

    parts (images,): the clusters that `finder` found; numbers (candidates, 1 or 2).
    """
    group, signs = parts[sides.tested], ((judge, 1.0), (finder, -1.0))

    def influence(of: Account, which: NDArray[np.int64], sign: float) -> Influence:
        if len(which) == 1:
            return Influence.of_tightness(of.graph, group, int(which[0]), -sign)
        return Influence.of_mixing(of.graph, group, int(which[0]), int(which[1]), sign)

    return sides.spread([[influence(of, which, sign) for of, sign in signs] for which in numbers])
