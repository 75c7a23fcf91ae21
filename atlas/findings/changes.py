"""What changed between two networks that saw the same images: groups that merged, split, moved, appeared, vanished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from atlas.errors import DataError
from atlas.findings.contrasts import Account, Candidate, Kind, Sides, compare_classes, compare_clusters, compare_parts
from atlas.findings.groups import NEAR, halves
from atlas.findings.significance import adjust
from atlas.findings.telling import tell

FEWEST_TESTED = 4 * NEAR
"""Images that each half must have: below, a neighbourhood of 10 is a quarter of everything."""
BELOW = 10
"""Candidates under the floor that are told."""
HIGHEST = 100.0
"""Standard errors beyond which a larger number says no more."""
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

    score: its size in standard errors of what the floor explains, at most 100; the list is ranked by it. p: after
    Benjamini and Hochberg, over everything that was tested. images: the numbers of the tested images concerned, the
    most changed first; groups: the same, by the one or two groups. classes: their names. before, after: the share of
    neighbours that the text names, in A and in B; retrained: its lowest and highest among A and the references.
    """

    kind: Kind
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
    "retrained" (the references: what training again alone changes) or "sampling" (a bootstrap over images: only what
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
) -> ChangeReport:
    """Find the groups of images that merged, split, moved, appeared or vanished from A to B, with their significance.

    Every view has the same images in the same order, `ids` names them, and labels (images,) number `class_names`, -1
    for none. references: networks trained by A's recipe with other seeds. Groups are found on one half of the images
    (a hash of the id decides) and tested on the other. Raises DataError for too few images or views that do not fit.
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
    group = None if labels is None else np.asarray(labels, np.int64)
    found = _candidates(sides, group, len(class_names))
    adjusted = adjust(np.array([candidate.p for candidate in found]))
    ranked = sorted(zip(found, adjusted, strict=True), key=lambda pair: (pair[1] > level, -pair[0].t))
    listed: list[Change] = []
    for candidate, p in ranked:
        if p <= level and not _told_already(candidate, listed):
            listed.append(_change(candidate, float(p), sides, group, class_names))
    under = sorted((pair for pair in ranked if pair[1] > level), key=lambda pair: pair[0].p)[:BELOW]
    below = [_change(candidate, float(p), sides, group, class_names) for candidate, p in under]
    floor: Literal["retrained", "sampling"] = "retrained" if references else "sampling"
    counts = (len(references), len(found), int((~tested).sum()), int(tested.sum()))
    return ChangeReport(tuple(listed), tuple(below), floor, *counts, level)


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
        if not np.isfinite(view.vectors).all():
            raise DataError(f"network {number + 1} has vectors that are not finite: extract its activations anew")
    if labels is not None and (len(labels) != len(ids) or np.max(labels, initial=-1) >= len(class_names)):
        raise DataError(
            f"{len(labels)} labels up to {np.max(labels, initial=-1)} do not fit {len(ids)} images and "
            f"{len(class_names)} class names: pass one label for each image, below the number of names"
        )


def _candidates(sides: Sides, group: NDArray[np.int64] | None, classes: int) -> list[Candidate]:
    """Everything that is tested: pairs of classes, the parts of each class, and clusters of either network."""
    labelled = group is not None and classes > 0 and bool((group >= 0).any())
    found: list[Candidate] = []
    if labelled and group is not None:
        found += compare_classes(sides, group, classes)
        found += compare_parts(sides, group, classes)
    return found + compare_clusters(sides, _cluster_count(sides, classes if labelled else 0), pairs=not labelled)


def _cluster_count(sides: Sides, classes: int) -> int:
    """Twice as many clusters as classes, 20 to 60, but of at least 20 images on average where they are found."""
    return int(max(2, min(np.clip(2 * classes, 20, 60), (~sides.tested).sum() // 20)))


def _told_already(candidate: Candidate, listed: Sequence[Change]) -> bool:
    """Whether a cluster's images are mostly those of a change that is listed before it: the same thing, told twice."""
    if candidate.about != "cluster":
        return False
    own = np.concatenate(candidate.groups)
    return any(np.isin(change.images, own).sum() > OVERLAP * min(len(own), len(change.images)) for change in listed)


def _change(
    candidate: Candidate, p: float, sides: Sides, group: NDArray[np.int64] | None, names: Sequence[str]
) -> Change:
    told = tell(candidate, sides, group, names)
    return Change(
        kind=told.kind,
        score=float(min(abs(candidate.t), HIGHEST)),
        p=p,
        images=told.images,
        groups=told.groups,
        classes=tuple(names[number] for number in told.classes),
        before=candidate.before,
        after=candidate.after,
        retrained=candidate.retrained,
        text=told.text,
    )
