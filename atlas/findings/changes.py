"""What changed between two networks that saw the same images: groups that merged, split, moved, appeared, vanished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from atlas.errors import DataError
from atlas.findings.contrasts import (
    LEAST,
    About,
    Account,
    Candidate,
    Kind,
    Sides,
    compare_classes,
    compare_clusters,
    compare_parts,
)
from atlas.findings.groups import NEAR, halves
from atlas.findings.shown import best_shown
from atlas.findings.telling import Answers, Telling, tell

FEWEST_TESTED = 4 * NEAR
"""Images that each half must have: below, a neighbourhood of 10 is a quarter of everything."""
BELOW = 10
"""Candidates under the floor that are told."""
HIGHEST = 100.0
"""Standard errors beyond which a larger number says no more."""
SCATTERED = 0.25
"""Share of neighbours within a cluster, in the network where it lies looser, below which it is not one group there."""
OVERLAP = 0.5
"""Share of its images that a cluster may have in common with a change that is listed before it."""


@dataclass(frozen=True)
class NetworkView:
    """One network's account of the images.

    vectors float32 (images, channels): pooled activations. predictions int (images,): a class number or -1; None
    without a classifier.
    """

    vectors: NDArray[np.floating]
    predictions: NDArray[np.integer] | None = None


@dataclass(frozen=True)
class Change:
    """One group of images that lies otherwise in B than in A.

    about: two classes, two parts found within one class (or, without labels, anywhere), or a cluster. score: its size
    in standard errors that are typical of what the floor explains, at most 100; the list is ranked by it. p: after
    Benjamini and Hochberg, over everything that was tested. images: the numbers of the tested images concerned,
    first the nine that show the change best (`best_shown`), then the others, the most changed first; groups: the same
    images, by the one or two groups. classes: their names. before, after: the share of neighbours that the text names,
    in A and in B; retrained: its lowest and highest among A and the references.
    """

    kind: Kind
    about: About
    score: float
    p: float
    images: NDArray[np.int64]
    groups: tuple[NDArray[np.int64], ...]
    classes: tuple[str, ...]
    before: float
    after: float
    retrained: tuple[float, float] | None
    text: str


@dataclass(frozen=True)
class ChangeReport:
    """What changed, and what it was held against.

    changes: at or under `level`, ranked. below: the nearest to it of those above, which chance explains. floor:
    "retrained" (the references: what training again alone changes) or "sampling" (drawing the images anew: only what
    other images might have shown; two trainings of one recipe would differ by more). tests: candidates that were
    tested. found_on, tested_on: images of the two halves.
    """

    changes: tuple[Change, ...]
    below: tuple[Change, ...]
    floor: Literal["retrained", "sampling"]
    references: int
    tests: int
    found_on: int
    tested_on: int
    level: float


def find_changes(
    a: NetworkView,
    b: NetworkView,
    labels: NDArray[np.integer] | None,
    class_names: Sequence[str],
    references: Sequence[NetworkView] = (),
    *,
    ids: Sequence[str],
    seed: int = 0,
    level: float = 0.05,
    titles: tuple[str, str] = ("A", "B"),
) -> ChangeReport:
    """Find the groups of images that merged, split, moved, appeared or vanished from A to B, with their significance.

    Every view has the same images in the same order, `ids` names them, and labels (images,) number `class_names`, -1
    for none. references: networks trained by A's recipe with other seeds. Groups are found on one half of the images
    (a hash of the id decides) and tested on the other. titles: what the sentences call A and B.
    Raises DataError for too few images or views that do not fit.
    """
    views = (a, *references, b)
    _check(views, labels, class_names, ids)
    tested = halves(ids)
    if min(tested.sum(), (~tested).sum()) < FEWEST_TESTED:
        raise DataError(
            f"{len(ids)} images are too few to find changes: groups are found on one half and tested on the other, "
            f"and each needs {FEWEST_TESTED}"
        )
    accounts = [Account(view.vectors, tested, seed) for view in views]
    sides = Sides(tuple(accounts[:-1]), accounts[-1])
    group, class_names, answers = _present(labels, class_names, (a.predictions, b.predictions))
    found = _candidates(sides, group, len(class_names))
    adjusted = _adjusted([candidate.p for candidate in found])
    order = np.argsort([candidate.p for candidate in found], kind="stable")

    def change(i: int) -> tuple[Change, Telling]:
        told = tell(found[i], sides, group, class_names, answers, titles)
        return _change(found[i], float(adjusted[i]), told, class_names), told

    def arranged(one: Change) -> Change:
        return replace(one, images=best_shown(sides, one.groups, one.images, one.kind))

    listed = tuple(map(arranged, _ranked([change(i) for i in order if adjusted[i] <= level])))
    below = tuple(arranged(change(i)[0]) for i in order[adjusted[order] > level][:BELOW])
    floor: Literal["retrained", "sampling"] = "retrained" if references else "sampling"
    counts = (len(references), len(found), int((~tested).sum()), int(tested.sum()))
    return ChangeReport(listed, below, floor, *counts, level)


def _check(
    views: Sequence[NetworkView],
    labels: NDArray[np.integer] | None,
    class_names: Sequence[str],
    ids: Sequence[str],
) -> None:
    for number, view in enumerate(views):
        if view.vectors.ndim != 2 or len(view.vectors) != len(ids):
            raise DataError(
                f"network {number + 1} has vectors of shape {view.vectors.shape} for {len(ids)} images: each network "
                f"needs one row for each image"
            )
        if view.predictions is not None and len(view.predictions) != len(ids):
            raise DataError(f"network {number + 1} has {len(view.predictions)} predictions for {len(ids)} images")
        if not np.isfinite(view.vectors).all():
            raise DataError(f"network {number + 1} has vectors that are not finite: extract its activations anew")
    if labels is not None and (len(labels) != len(ids) or np.max(labels, initial=-1) >= len(class_names)):
        raise DataError(
            f"{len(labels)} labels up to {np.max(labels, initial=-1)} do not fit {len(ids)} images and "
            f"{len(class_names)} class names: pass one label for each image, below the number of names"
        )


def _present(
    labels: NDArray[np.integer] | None,
    names: Sequence[str],
    predictions: tuple[NDArray[np.integer] | None, NDArray[np.integer] | None],
) -> tuple[NDArray[np.int64] | None, Sequence[str], Answers]:
    """Number only the classes that have images, so that nothing depends on how many others are declared.

    -> labels (images,), class names, and the predictions where both are known; one of an absent class becomes -1.
    """
    one, other = predictions
    answers = None if one is None or other is None else (one, other)
    if labels is None:
        return None, names, answers
    present = np.unique(labels[labels >= 0])
    number = np.full(len(names) + 1, -1)  # the last is what -1 takes
    number[present] = np.arange(len(present))
    if answers is not None:  # the classifiers may have more outputs than there are labels
        one, other = (number[np.where(of < len(names), of, -1)] for of in answers)
        answers = (one, other)
    return number[labels], [names[of] for of in present], answers


def _candidates(sides: Sides, group: NDArray[np.int64] | None, classes: int) -> list[Candidate]:
    """Everything that is tested: pairs of classes, the parts of each class, and clusters of either network."""
    labelled = group is not None and classes > 0 and bool((group >= 0).any())
    found: list[Candidate] = []
    if labelled and group is not None:
        found += compare_classes(sides, group, classes)
        found += compare_parts(sides, group, classes)
    large = 0 if group is None else int((np.bincount(group[sides.tested & (group >= 0)]) >= LEAST).sum())
    return found + compare_clusters(sides, _cluster_count(sides, large), pairs=not labelled)


def _adjusted(p: Sequence[float]) -> NDArray[np.float64]:
    """p-values after Benjamini and Hochberg 1995."""
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(np.clip(p, 0, 1))) if len(p) else np.zeros(0)


def _cluster_count(sides: Sides, classes: int) -> int:
    """Twice as many clusters as classes that can be tested, 20 to 60, of 20 images or more where they are found."""
    return int(max(2, min(np.clip(2 * classes, 20, 60), (~sides.tested).sum() // 20)))


def _ranked(told: Sequence[tuple[Change, Telling]]) -> tuple[Change, ...]:
    """The changes by their score, largest first, without those that tell again what a plainer one tells.

    Where a group gathers from everywhere, its members also leave their classes, split them and draw them together;
    where classes merge, the clusters in them dissolve: the first is told, the others are not.
    """
    kept: list[Change] = []
    for change, telling in sorted(told, key=lambda pair: (_plainness(pair[0]), -pair[0].score)):
        before = [other.images for other in kept if _may_repeat(change, other)]
        if not before or np.isin(telling.core, np.concatenate(before)).sum() <= OVERLAP * len(telling.core):
            kept.append(change)
    return tuple(sorted(kept, key=lambda change: -change.score))


def _plainness(change: Change) -> int:
    if change.about == "cluster":
        return 0 if not change.classes and min(change.before, change.after) < SCATTERED else 3
    return 1 if change.about == "classes" else 2


def _may_repeat(change: Change, other: Change) -> bool:
    """Whether the two could be one thing told twice, should they be about the same images."""
    if change.about == other.about == "classes":
        return False
    if change.about == "parts" and other.about == "classes" and other.kind != "moved":
        return False  # what happens within a class is another matter than how it lies to the next
    return change.about != "parts" or other.about != "parts" or change.kind == other.kind


def _change(candidate: Candidate, p: float, told: Telling, names: Sequence[str]) -> Change:
    return Change(
        kind=told.kind,
        about=candidate.about,
        score=float(min(abs(candidate.size), HIGHEST)),
        p=p,
        images=told.images,
        groups=told.groups,
        classes=tuple(names[number] for number in told.classes),
        before=candidate.before,
        after=candidate.after,
        retrained=candidate.retrained,
        text=told.text,
    )
