"""A tested change in words: its kind, the images that it is about, and one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.findings.contrasts import LEAST, Account, Candidate, Kind, Sides

ONE_WAY = 3.0
"""Times as many images must go one way as the other for "moved" instead of "merged"."""
TOGETHER = 0.25
"""Share of neighbours in the other of two groups from which they lie together: half of what one single group has."""
CARRIED = 0.25
"""Change of an image's share of neighbours from which it carries the change of its class."""
MOSTLY = 0.5
"""Share of a group's images that a class must have to give the group its name."""


Answers = tuple[NDArray[np.integer], NDArray[np.integer]] | None
Titles = tuple[str, str]


@dataclass(frozen=True)
class Telling:
    """groups and images: numbers of tested images, the most changed first in `images`; classes: numbers.

    core: the images that the change is carried by: a cluster's, the smaller part's, of two classes those whose
    neighbours changed by CARRIED.
    """

    kind: Kind
    groups: tuple[NDArray[np.int64], ...]
    images: NDArray[np.int64]
    core: NDArray[np.int64]
    classes: tuple[int, ...]
    text: str


def tell(
    candidate: Candidate,
    sides: Sides,
    group: NDArray[np.int64] | None,
    names: Sequence[str],
    predictions: Answers = None,
    titles: Titles = ("A", "B"),
) -> Telling:
    """Say what changed, about which images. group (images,) numbers `names`, -1 for none; None without labels.

    predictions: class numbers (images,) of A and of B, -1 for none, where both have a classifier. titles: what the
    sentence calls the two.
    """
    groups = tuple(members[sides.tested[members]] for members in candidate.groups)
    kind, classes = candidate.kind, candidate.classes
    if candidate.about == "classes" and kind == "merged":
        for one, other in ((0, 1), (1, 0)):
            going, coming = _movers(sides, groups[one], groups[other]), _movers(sides, groups[other], groups[one])
            if len(going) >= max(LEAST, ONE_WAY * len(coming)):
                kind, classes = "moved", (classes[one], classes[other])
                text = _moved(going, groups[one], [names[number] for number in classes], candidate, titles)
                text += _taken_for(predictions, [going], classes[1:], names, titles)
                return Telling(kind, (going,), going, going, classes, text)
    images, size = _most_changed(sides, groups, rises=kind in ("merged", "appeared"))
    carried = np.abs(size) >= CARRIED
    core = images[carried] if candidate.about == "classes" and carried.any() else min(groups, key=len)
    if candidate.about == "cluster":
        classes, mix = _majority(group, images, names)
        text = _cluster(candidate, groups, mix, titles) + _right(predictions, images, group, titles)
        return Telling(kind, groups, images, core, classes, text)
    text = _pair(candidate, groups, [names[number] for number in classes], titles)
    if candidate.about == "classes":
        text += _taken_for(predictions, groups, classes[::-1], names, titles)
    return Telling(kind, groups, images, core, classes, text)


def _share_in(account: Account, of: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of the neighbours of each image `of` that are `among`; both tested image numbers."""
    number = np.full(len(account.tested), -1)
    number[account.tested] = np.arange(account.tested.sum())
    inside = np.zeros(account.tested.sum(), bool)
    inside[number[among]] = True
    return np.asarray(inside[account.graph.neighbors[number[of]]].mean(axis=1))


def _movers(sides: Sides, group: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """The images that lie rather among their group in A and rather among the other in B, the clearest first."""
    towards = [_share_in(side, group, other) - _share_in(side, group, group) for side in (sides.a, sides.b)]
    went = np.flatnonzero((towards[0] < 0) & (towards[1] > 0))
    return group[went[np.argsort(-(towards[1] - towards[0])[went], kind="stable")]]


def _most_changed(
    sides: Sides, groups: tuple[NDArray[np.int64], ...], *, rises: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """All images of the groups, and how far their share of neighbours in the other group (or the only one) changed."""
    change = []
    for i, members in enumerate(groups):
        among = groups[-1 - i]
        change.append(_share_in(sides.b, members, among) - _share_in(sides.a, members, among))
    images, size = np.concatenate(groups), np.concatenate(change)
    order = np.argsort(-size if rises else size, kind="stable")
    return images[order], size[order]


def _majority(
    group: NDArray[np.int64] | None, images: NDArray[np.int64], names: Sequence[str]
) -> tuple[tuple[int, ...], str]:
    """The class that most of a cluster's images have, if one has, and words for the two most frequent."""
    labels = np.array([], np.int64) if group is None else group[images]
    labels = labels[labels >= 0]
    if not len(labels):
        return (), ""
    count = np.bincount(labels)
    order = np.argsort(-count, kind="stable")[:2]
    words = ", ".join(f"{_percent(count[one] / len(images))} {names[one]}" for one in order if count[one])
    return ((int(order[0]),) if count[order[0]] > MOSTLY * len(images) else ()), f" ({words})"


def _taken_for(
    predictions: Answers,
    groups: Sequence[NDArray[np.int64]],
    others: Sequence[int],
    names: Sequence[str],
    titles: Titles,
) -> str:
    """How many of the images the classifiers take for the class on the other side, in words."""
    if predictions is None:
        return ""
    a, b = (
        float(np.mean(np.concatenate([answers[of] == other for of, other in zip(groups, others, strict=True)])))
        for answers in predictions
    )
    whom = names[others[0]] if len(groups) == 1 else "the other class"
    return f" {titles[1]} takes {_percent(b)} of them for {whom}, {titles[0]} {_percent(a)}."


def _right(predictions: Answers, images: NDArray[np.int64], group: NDArray[np.int64] | None, titles: Titles) -> str:
    """How many of the labelled images each classifier has right, in words."""
    known = images[group[images] >= 0] if group is not None else images[:0]
    if predictions is None or group is None or not len(known):
        return ""
    a, b = (float((answers[known] == group[known]).mean()) for answers in predictions)
    return f" {titles[1]} has {_percent(b)} of them right, {titles[0]} {_percent(a)}."


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.1f} %"


def _figures(candidate: Candidate, of: str, titles: Titles) -> str:
    """Such as: 19 % of their neighbours are of the other class in B, 2.0 % in A (1.8 to 2.3 % among A and ...)."""
    a, b = titles
    told = f"{_percent(candidate.after)} of their neighbours {of} in {b}, {_percent(candidate.before)} in {a}"
    if candidate.retrained is None:
        return told
    low, high = (f"{100 * share:.1f}" for share in candidate.retrained)
    return f"{told} ({low} to {high} % among {a} and its retrainings)"


def _pair(candidate: Candidate, groups: tuple[NDArray[np.int64], ...], names: Sequence[str], titles: Titles) -> str:
    if candidate.about == "classes":
        both, where = f"{names[0]} and {names[1]}", "are of the other class"
    else:
        of = f" of {names[0]}" if names else ""
        both, where = (
            f"Two groups{of}, {len(groups[0])} and {len(groups[1])} tested pictures,",
            "are of the other group",
        )
    if candidate.kind == "merged":
        how = "lie together" if candidate.after >= TOGETHER else "lie closer together"
    else:
        how = "came apart" if candidate.before >= TOGETHER else "lie further apart"
    return f"{both} {how} in {titles[1]}: {_figures(candidate, where, titles)}."


def _moved(
    going: NDArray[np.int64], of: NDArray[np.int64], names: Sequence[str], candidate: Candidate, titles: Titles
) -> str:
    a, b = titles
    figures = _figures(candidate, "are of the other class", titles)
    return (
        f"{len(going)} of {len(of)} tested pictures of {names[0]} lie among {names[1]} in {b} and did not in {a}; of "
        f"the two classes {figures}."
    )


def _cluster(candidate: Candidate, groups: tuple[NDArray[np.int64], ...], mix: str, titles: Titles) -> str:
    a, b = titles
    where = _figures(candidate, "are among them", titles)
    how = f"form a group in {b}" if candidate.kind == "appeared" else f"formed a group in {a} that dissolved"
    return f"{len(groups[0])} tested pictures{mix} {how}: {where}."
