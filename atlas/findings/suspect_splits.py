"""Classes split in two, one group standing apart from the rest: mixtures of two, from many starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.findings.suspect_views import Vectors

Weights = NDArray[np.floating]

STEPS = 25
FOLDS = 5
NEAR = 12
"""Neighbours that a start is made of: about the carriers of a cue in a fold of 25 pictures."""
NEIGHBORHOODS = 24
TAILS = 8
"""Principal axes of a class whose two tails are starts."""
FEWEST = 9
"""Images of a class that a split must have among those that it is found on. Where half are kept apart, fewer
than 9 of 25 are left one time in 19, and fewer than 12 one time in three."""
MOST = 0.6
"""Share of a class above which the other part is the smaller."""
QUARTILES = 1.349
"""Standard deviations of a normal between its quartiles."""
SAME = 0.7
"""Of the smaller split's members, the share in another from which two are one."""


@dataclass(frozen=True)
class Splits:
    """Groups that stand apart within one class in one view.

    belong: float32 (splits, images of the class), probabilities. axes: float32 (splits, axes), from the rest's mean to
    the group's. middle: (splits,), where between the two an image is as likely of either, along the axes. held:
    float32 (splits, images of the class), each image along axes that were found without it, in standard deviations
    from the rest's mean.
    """

    belong: Vectors
    axes: Vectors
    middle: NDArray[np.float64]
    held: Vectors


def split(vectors: Vectors, seed: int) -> Splits:
    """Split one class's images (images, axes) in every way that stays as it is under the rule that made it.

    A mixture of two Gaussians of unit variance (whitened vectors), by EM from many starts: neighbourhoods, and the
    tails of the class's own principal axes. Neighbourhoods once more with the class `evened`: a class may vary more
    than others do along an axis, and what is split is then always that.
    """
    rows = np.asarray(vectors, np.float32)
    even, rng = evened(rows), np.random.default_rng(seed)
    ways = (_settle(rows, np.concatenate([_near(rows, rng), _tails(rows)])), _settle(even, _near(even, rng)))
    belong = np.concatenate(ways)
    belong = belong[_distinct(belong > 0.5)]
    inside, outside, _ = _centres(rows, belong)
    axes = inside - outside
    middle = 0.5 * ((inside**2).sum(1) - (outside**2).sum(1)) - _odds(belong)
    return Splits(
        belong.astype(np.float32), axes.astype(np.float32), middle, _held(rows, belong, seed).astype(np.float32)
    )


def evened(rows: Weights) -> Weights:
    """Scale a class (images, axes) to unit spread along those of its principal axes along which it varies more.

    The spread is that of the middle half: a fifth of the images that stand apart hardly change it, so they still do.
    """
    centred = rows - np.median(rows, axis=0)
    along = centred @ np.linalg.eigh(centred.T @ centred)[1]
    low, high = np.quantile(along, (0.25, 0.75), axis=0)
    return np.asarray(along / np.maximum(1, (high - low) / QUARTILES), np.float32)


def _near(rows: Weights, rng: np.random.Generator) -> Weights:
    """Starting memberships (starts, images), 0 or 1: neighbourhoods of images drawn by chance."""
    count = len(rows)
    middles = rng.permutation(count)[:NEIGHBORHOODS]
    distance = (rows[middles] ** 2).sum(1)[:, None] + (rows**2).sum(1) - 2 * rows[middles] @ rows.T
    near = np.argpartition(distance, min(NEAR, count - 1), axis=1)[:, :NEAR]
    starts = np.zeros((len(middles), count), np.float32)
    np.put_along_axis(starts, near, 1, axis=1)
    return starts


def _tails(rows: Weights) -> Weights:
    """Starting memberships (starts, images), 0 or 1: both tails of the class's own principal axes."""
    centred = rows - rows.mean(axis=0)
    along = centred @ np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :TAILS]
    ranks = along.argsort(axis=0).argsort(axis=0).T / len(rows)
    tails = [side for share in (0.08, 0.25) for side in (ranks < share, ranks >= 1 - share)]
    return np.concatenate(tails).astype(np.float32)


def _centres(rows: Weights, belong: Weights) -> tuple[Weights, Weights, Weights]:
    """Means inside and outside (splits, axes), and how many are inside (splits,)."""
    size = belong.sum(axis=1)
    summed = belong @ rows
    rest = np.maximum(len(rows) - size, 1e-9)
    return summed / np.maximum(size, 1e-9)[:, None], (rows.sum(axis=0) - summed) / rest[:, None], size


def _odds(belong: Weights) -> NDArray[np.float64]:
    share = np.clip(belong.mean(axis=1), 0.01, MOST)
    return np.asarray(np.log(share / (1 - share)))


def _settle(rows: Weights, belong: Weights) -> Weights:
    """Repeat expectation and maximisation, all starts at once; those that vanish or take over are dropped."""
    for _ in range(STEPS):
        inside, outside, _ = _centres(rows, belong)
        bias = _odds(belong) - 0.5 * ((inside**2).sum(1) - (outside**2).sum(1))
        before = belong
        belong = 1 / (1 + np.exp(-np.clip((inside - outside) @ rows.T + bias[:, None], -30, 30)))
        if np.abs(belong - before).max(initial=0) < 1e-2:
            break
    size = (belong > 0.5).sum(axis=1)
    return belong[(size >= FEWEST) & (size <= MOST * len(rows))]


def _distinct(members: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Numbers of splits that are not much the same as an earlier one; the largest first."""
    order = np.argsort(-members.sum(axis=1), kind="stable")
    shared = members.astype(np.float32) @ members.astype(np.float32).T
    kept: list[int] = []
    for one in order:
        size = members[one].sum()
        if all(shared[one, other] < SAME * (size + members[other].sum() - shared[one, other]) for other in kept):
            kept.append(int(one))
    return np.array(kept, np.int64)


def _held(rows: Weights, belong: Weights, seed: int) -> Weights:
    """Each image along the axis that the images of the other folds give, in standard deviations from the rest."""
    fold = np.random.default_rng(seed).permutation(len(rows)) % FOLDS
    found = np.zeros_like(belong)
    for one in range(FOLDS):
        out = fold == one
        inside, outside, _ = _centres(rows[~out], belong[:, ~out])
        axes = inside - outside
        axes /= np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-9)
        found[:, out] = axes @ rows[out].T - (axes * outside).sum(axis=1)[:, None]
    return found
