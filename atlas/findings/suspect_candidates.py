"""Candidates for spurious cues: groups of images that stand apart within a class, further than natural ones do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from atlas.findings.suspect_families import Group, against_natural, gather, groups_of
from atlas.findings.suspect_figures import concentration, figures_of, pushed_towards, rows_of_cluster
from atlas.findings.suspect_views import On, Samples, Vectors, rows_at, see

__all__ = ["Candidate", "Samples", "find_candidates"]

Kind = Literal["within", "shared", "errors", "disagreeing", "outlying"]

LISTED = 0.02
"""Rate of false discoveries among what is listed."""
FEWEST = 25
"""Images that a candidate has at least."""
SHARED = 0.2
"""Share of other labels among a cluster's images from which it is shared by labels."""
SMALL, FAR = 0.08, 6.0
"""Share of the class below which, and standard deviations from which on, a cluster is outlying."""


@dataclass(frozen=True)
class Candidate:
    """A group of images that may share a cue.

    kind: "within" a class it stands apart; "shared" by several labels that are predicted as one; "errors": recognised
    less often than the class is; "disagreeing": it speaks less for its label than the class does; "outlying": few and
    far. label: the class that most members carry; feeds: that which the cluster pushes towards. direction: float32
    (channels,), a unit vector, members' mean less the class's others', in the layer's own space. on: what membership is
    computed on. membership: float32 (images,), log odds for all images. threshold: members have this or more. images:
    members, rows: rows of the cluster, usual: images of the label outside, each most typical first. score: how far
    above natural sub-clusters; p: after Benjamini and Hochberg, images the unit. layer: which of the samples.
    """

    kind: Kind
    label: int
    feeds: int
    direction: Vectors
    on: On
    membership: Vectors
    threshold: float
    images: NDArray[np.int64]
    rows: NDArray[np.int64]
    usual: NDArray[np.int64]
    score: float
    p: float
    figures: Mapping[str, float]
    layer: int = 0


def find_candidates(
    samples: Samples | Sequence[Samples],
    *,
    seed: int = 0,
    limit: int = 20,
    discovery: NDArray[np.bool_] | None = None,
    unproven: int = 0,
) -> list[Candidate]:
    """Find groups of images that may share a cue: one ranked list, the most surprising first, at most `limit`.

    samples: one layer's, or several layers' of the same images. discovery (images,): the images that everything is
    found and scored on; membership is given for all. The list is empty where nothing stands out from natural
    sub-clusters at a rate of LISTED false discoveries. unproven: how many that do not are given all the same, behind
    those that do and beyond `limit`, for a test that can tell.
    """
    from scipy.stats import false_discovery_control

    layers = [samples] if isinstance(samples, Samples) else list(samples)
    of_class = layers[0].group
    fit = np.ones(len(of_class), bool) if discovery is None else np.asarray(discovery, bool)
    groups = [
        group
        for number, layer in enumerate(layers)
        for view in see(layer, number, fit)
        for group in groups_of(view, of_class, fit, seed)
    ]
    families = gather(groups, fit)
    if not families:
        return []
    strongest = [family[0] for family in families]
    surprise = against_natural(
        np.array([one.nats for one in strongest]),
        np.array([one.size for one in strongest], float),
        np.array([one.of for one in strongest]),
    )
    adjusted = false_discovery_control(surprise.p)
    listed: list[Candidate] = []
    for one in np.argsort(-surprise.score, kind="stable"):
        proven = sum(other.p <= LISTED for other in listed)
        if adjusted[one] <= LISTED:
            if proven >= limit:
                continue
        elif len(listed) - proven >= unproven:
            break
        told = _candidate(families[one], layers, fit, float(surprise.score[one]), float(adjusted[one]))
        if told is None or any(_same(told, other) for other in listed):
            continue
        other_side = next((n for n, other in enumerate(listed) if _opposite(told, other, of_class)), None)
        if other_side is None:
            listed.append(told)
        elif (told.p <= LISTED) == (listed[other_side].p <= LISTED) and _gap(told) > _gap(listed[other_side]):
            listed[other_side] = told
    return listed


def _gap(one: Candidate) -> float:
    return one.figures.get("accuracy_gap", 0.0)


def _candidate(
    family: Sequence[Group], layers: Sequence[Samples], fit: NDArray[np.bool_], score: float, p: float
) -> Candidate | None:
    """A family's candidate; None where fewer than FEWEST images belong."""
    best = family[0]
    samples, odds = layers[best.view.layer], best.odds
    threshold = 0.0
    if (odds >= 0).sum() < FEWEST:
        threshold = float(np.sort(odds)[-FEWEST]) if len(odds) >= FEWEST else np.inf
        if threshold < -3:  # under 5 % likely
            return None
    members = odds >= threshold
    label = int(np.bincount(samples.group[members]).argmax())
    feeds = pushed_towards(samples, members, label)
    usual = (samples.group == label) & ~members
    direction = best.direction / max(float(np.linalg.norm(best.direction)), 1e-12)
    rows = rows_of_cluster(samples, direction, members, usual, rows_at(samples, best.view.places))
    figures = dict(figures_of(_with_effects(samples, layers), members, label, feeds, fit))
    figures |= {
        "tightness": best.gap,
        "place": concentration(samples, rows),
        "of_class": best.purity,
        "apart": best.apart,
        "together": best.together,
        "views": float(len(family)),
    }
    order = np.flatnonzero(members)
    typical = np.flatnonzero(usual)
    return Candidate(
        _kind(figures),
        label,
        feeds,
        np.asarray(direction, np.float32),
        best.view.on,
        np.asarray(odds, np.float32),
        threshold,
        order[np.argsort(-odds[order], kind="stable")],
        rows,
        typical[np.argsort((best.view.vectors[typical] ** 2).sum(axis=1), kind="stable")],
        score,
        p,
        figures,
        best.view.layer,
    )


def _with_effects(samples: Samples, layers: Sequence[Samples]) -> Samples:
    """The samples that effects are known of: the layer's own, else the last layer's that has any."""
    return samples if samples.effects is not None else next((s for s in layers[::-1] if s.effects is not None), samples)


def _kind(figures: Mapping[str, float]) -> Kind:
    if figures["purity"] < 1 - SHARED and figures.get("pull_low", 0.0) > 0:
        return "shared"
    if figures.get("accuracy_gap_high", 0.0) < 0:
        return "errors"
    if figures.get("effect_high", 0.0) < 0:
        return "disagreeing"
    return "outlying" if figures["share_of_class"] < SMALL and figures["tightness"] > FAR else "within"


def _same(one: Candidate, other: Candidate) -> bool:
    """Whether two candidates are one: most members of the smaller are members of the other."""
    shared = len(np.intersect1d(one.images, other.images, assume_unique=True))
    return shared > 0.5 * min(len(one.images), len(other.images))


def _opposite(one: Candidate, other: Candidate, of_class: NDArray[np.int64]) -> bool:
    """Whether two candidates are the two sides of one split of a class: nearly all of it is in one and not in both."""
    if one.label != other.label:
        return False
    own = np.flatnonzero(of_class == one.label)
    either = np.isin(own, one.images).astype(int) + np.isin(own, other.images)
    return bool((either == 1).mean() > 0.9)
