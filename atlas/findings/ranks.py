"""Nearest samples of other images, and at which rank a given sample comes, by comparing anchors with all others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from atlas.layouts.rows import Rows, blocks
from atlas.records import Progress, silent

PAIRS = 2**23
"""Pairs of an anchor and a row that are compared at once: 64 MB in float64."""


@dataclass(frozen=True)
class Space:
    """Some rows of a matrix as points among which distances are taken.

    keep: bool (rows,), the rows that count. With the cosine metric points are scaled to length 1, so that Euclidean
    distance orders as the angle does. Places on the map (two channels) are compared in float64, since near
    neighbours there differ in the last digits of float32; activations in float32.
    """

    rows: Rows
    keep: NDArray[np.bool_]
    metric: Literal["cosine", "euclidean"] = "euclidean"

    def points(self, vectors: NDArray[Any]) -> NDArray[Any]:
        """Rows as points of this space, (n, channels)."""
        vectors = np.asarray(vectors, np.float64 if self.rows.shape[1] <= 2 else np.float32)
        if self.metric == "euclidean":
            return vectors
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)

    def stream(self, anchors: int) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Yield (rows int64 (n,), points (n, channels)) of all rows that count, a piece at a time."""
        size = max(1, PAIRS // max(1, anchors))
        for part, block in blocks(self.rows):
            for first in range(part.start, part.stop, size):
                rows = first + np.flatnonzero(self.keep[first : min(first + size, part.stop)])
                if len(rows):
                    yield rows, self.points(block[rows - part.start])

    def take(self, wanted: NDArray[np.int64]) -> NDArray[Any]:
        """Points of some rows in their order, read in one pass: rows of a store are slow to read one by one."""
        ordered, place = np.unique(wanted, return_inverse=True)
        found = np.empty((len(ordered), self.rows.shape[1]), np.float32)
        for part, block in blocks(self.rows):
            some = slice(*np.searchsorted(ordered, (part.start, part.stop)))
            found[some] = block[ordered[some] - part.start]
        return self.points(found)[place]


@dataclass(frozen=True)
class Ranked:
    """For each anchor: indices int64 (anchors, k) of its nearest rows of other images, nearest first.

    nearer: int64 (anchors, m), how many rows of other images lie nearer than each of the m rows asked about.
    """

    indices: NDArray[np.int64]
    nearer: NDArray[np.int64]


def rank_others(
    space: Space,
    image_of: NDArray[np.integer[Any]],
    anchors: NDArray[np.int64],
    k: int,
    asked: NDArray[np.int64] | None = None,
    *,
    stage: str = "ranks",
    progress: Progress = silent,
) -> Ranked:
    """Compare each anchor with every row that counts and belongs to another image.

    anchors int64 (anchors,) are rows; asked int64 (anchors, m), if any, rows whose rank is wanted for each anchor.
    Every anchor needs k rows of other images. The rows are streamed, once more when some are asked about.
    """
    images = np.asarray(image_of)
    asked = np.empty((len(anchors), 0), np.int64) if asked is None else asked
    points = space.take(anchors)
    squares = (points**2).sum(axis=1)
    limit = _limits(space, points, asked)
    nearer = np.zeros(asked.shape, np.int64)
    best = _Best(len(anchors), k)
    for rows, vectors in space.stream(len(anchors)):
        squared = squares[:, None] + (vectors**2).sum(axis=1) - 2 * (points @ vectors.T)
        squared[images[anchors][:, None] == images[rows]] = np.inf
        best.add(squared, rows)
        for column in range(asked.shape[1]):
            nearer[:, column] += np.count_nonzero(squared < limit[:, column, None], axis=1)
        progress(stage, int(rows[-1]) + 1, space.rows.shape[0])
    return Ranked(best.rows, nearer)


def _limits(space: Space, points: NDArray[Any], asked: NDArray[np.int64]) -> NDArray[Any]:
    """Squared distance from each anchor to each row asked about: (anchors, m); a few anchors' rows at a time."""
    limit = np.empty(asked.shape, points.dtype)
    together = max(1, PAIRS // max(1, asked.shape[1] * points.shape[1]))
    for start in range(0, len(asked) if asked.size else 0, together):
        some = slice(start, start + together)
        others = space.take(asked[some].ravel()).reshape(*asked[some].shape, points.shape[1])
        # Offsets of each point from its anchor, not sums of squares: those of near points would cancel.
        limit[some] = ((others - points[some, None]) ** 2).sum(axis=2)
        # Less what rounding adds to sums of squares: else every second row would count as nearer than itself.
        squares = (points[some] ** 2).sum(axis=1)[:, None] + (others**2).sum(axis=2)
        limit[some] -= 8 * np.finfo(limit.dtype).eps * squares
    return limit


class _Best:
    """The k nearest rows of each anchor so far, nearest first."""

    def __init__(self, anchors: int, k: int) -> None:
        self.rows = np.full((anchors, k), -1, np.int64)
        self._squared = np.full((anchors, k), np.inf)

    def add(self, squared: NDArray[Any], rows: NDArray[np.int64]) -> None:
        """Take in the squared distances (anchors, n) to some rows (n,)."""
        k = self.rows.shape[1]
        worst = self._squared[:, -1]
        if np.isinf(worst).any() and len(rows) > k:
            worst = np.minimum(worst, np.partition(squared, k - 1, axis=1)[:, k - 1])
        anchor, column = np.nonzero((squared <= worst[:, None]) & np.isfinite(squared))
        known = np.repeat(np.arange(len(self.rows)), k)
        of = np.concatenate([known, anchor])
        distance = np.concatenate([self._squared.ravel(), squared[anchor, column]])
        row = np.concatenate([self.rows.ravel(), rows[column]])
        order = np.lexsort((row, distance, of))
        first = np.searchsorted(of[order], np.arange(len(self.rows)))
        chosen = order[first[:, None] + np.arange(k)]
        self.rows, self._squared = row[chosen], distance[chosen]
