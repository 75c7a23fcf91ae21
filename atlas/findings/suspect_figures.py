"""What is told of a candidate: where it lies, how pure it is, how its images fare; intervals over images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from atlas.findings.suspect_views import Samples, Vectors

CELLS = 4
"""Cells a side in which the places of a cluster's rows are counted."""
HIGH = 0.95
"""Quantile of the usual images' rows above which a row of a member is of the cluster."""
Z = 1.96


def pushed_towards(samples: Samples, members: NDArray[np.bool_], fallback: int) -> int:
    """The class that members are predicted as more often than images with the same labels that are no members.

    In standard errors, the label itself two ahead; `fallback` without predictions.
    """
    known = samples.prediction >= 0
    if not known.any():
        return fallback
    classes = int(max(samples.prediction.max(), samples.group.max())) + 1
    seen = np.bincount(samples.prediction[members & known], minlength=classes).astype(float)
    expected = np.zeros(classes)
    for label in np.unique(samples.group[members]):
        alike = (samples.group == label) & ~members & known
        if alike.any():
            share = np.bincount(samples.prediction[alike], minlength=classes) / alike.sum()
            expected += share * (samples.group[members] == label).sum()
    ahead = (seen - expected) / np.sqrt(expected + 1)
    if 0 <= fallback < classes:
        ahead[fallback] += 2
    return int(ahead.argmax())


def rows_of_cluster(
    samples: Samples,
    direction: Vectors,
    members: NDArray[np.bool_],
    usual: NDArray[np.bool_],
    there: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Rows of members that lie further along the direction than nearly all rows of usual images, furthest first.

    there (rows,): the rows that are asked; all by default.
    """
    asked = np.ones(len(samples.rows), bool) if there is None else there
    along = samples.rows @ direction
    beside = asked & usual[samples.image]
    least = np.quantile(along[beside], HIGH) if beside.any() else -np.inf
    rows = np.flatnonzero(asked & members[samples.image] & (along > least))
    return np.asarray(rows[np.argsort(-along[rows], kind="stable")], np.int64)


def concentration(samples: Samples, rows: NDArray[np.int64]) -> float:
    """How much of one place a cluster's rows are: 0 as all rows are spread, 1 all in one of CELLS x CELLS cells.

    1 less the entropy of their cells, relative to all rows' cells, over the largest that it can be.
    """
    cells = np.minimum((samples.where * CELLS).astype(np.int64), CELLS - 1) @ np.array([1, CELLS])
    everywhere = np.bincount(cells, minlength=CELLS**2) / max(1, len(cells))
    here = np.bincount(cells[rows], minlength=CELLS**2) / max(1, len(rows))
    told = here > 0
    if not told.any():
        return 0.0
    nats = float((here[told] * np.log(here[told] / everywhere[told])).sum())
    return nats / float(-np.log(everywhere[everywhere > 0].min()))


def difference_of_shares(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[float, float, float]:
    """The share in `one` less that in `other`, with its 95 % interval (Newcombe 1998, method 10), images the unit."""
    if not len(one) or not len(other):
        return 0.0, -1.0, 1.0
    (p, low, high), (q, other_low, other_high) = _wilson(one), _wilson(other)
    gap = p - q
    return gap, gap - float(np.hypot(p - low, other_high - q)), gap + float(np.hypot(high - p, q - other_low))


def _wilson(hits: NDArray[np.bool_]) -> tuple[float, float, float]:
    count, share = len(hits), float(hits.mean())
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2)) / (1 + Z**2 / count)
    return share, float(middle - half), float(middle + half)


def difference_of_means(one: NDArray[np.floating], other: NDArray[np.floating]) -> tuple[float, float, float]:
    """The mean of `one` less that of `other`, with its 95 % interval (Welch), images the unit."""
    if len(one) < 2 or len(other) < 2:
        return 0.0, -np.inf, np.inf
    gap = float(one.mean() - other.mean())
    half = Z * float(np.sqrt(one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other)))
    return gap, gap - half, gap + half


def figures_of(
    samples: Samples, members: NDArray[np.bool_], label: int, feeds: int, fit: NDArray[np.bool_]
) -> Mapping[str, float]:
    """Figures of a candidate on the images of `fit`: of members against images of the label that are none."""
    inside, usual = members & fit, (samples.group == label) & ~members & fit
    own = inside & (samples.group == label)
    told: dict[str, float] = {
        "size": float(members.sum()),
        "purity": float((samples.group[members] == label).mean()) if members.any() else 0.0,
        "share_of_class": float(own.sum() / max(1, own.sum() + usual.sum())),
    }
    if (samples.prediction >= 0).any() and (samples.label >= 0).any():
        right = samples.prediction == samples.label
        gap, low, high = difference_of_shares(right[own], right[usual])
        told |= {"accuracy_gap": gap, "accuracy_gap_low": low, "accuracy_gap_high": high}
        others = fit & (samples.label >= 0) & (samples.label != feeds)
        fed = samples.prediction == feeds
        pull, low, high = difference_of_shares(fed[others & members], fed[others & ~members])
        told |= {"pull": pull, "pull_low": low, "pull_high": high}
    gap, low, high = difference_of_means(samples.confidence[own], samples.confidence[usual])
    if np.isfinite(low):
        told |= {"confidence_gap": gap, "confidence_gap_low": low, "confidence_gap_high": high}
    if samples.effects is not None and 0 <= feeds < samples.effects.shape[1]:
        summed = np.bincount(samples.image, samples.effects[:, feeds], len(samples.label))
        mean = summed / np.maximum(np.bincount(samples.image, minlength=len(samples.label)), 1)
        effect, low, high = difference_of_means(mean[own], mean[usual])
        if np.isfinite(low):
            told |= {"effect": effect, "effect_low": low, "effect_high": high}
    return told
