"""How far a figure of neighbour graphs would move with other images: from what each edge adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.findings.groups import OFFSET, Graph

FEWEST_FREE = 2.0
"""Degrees of freedom of a figure that hangs on an image or two."""


@dataclass(frozen=True)
class Influence:
    """What some edges of a graph add to a figure: from image `source` to `target`, (edges,) each.

    value: float64, the figure's derivative by the edge's weight.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    value: NDArray[np.float64]

    @classmethod
    def of_mixing(cls, graph: Graph, group: NDArray[np.int64], one: int, other: int, sign: float = 1.0) -> Influence:
        """Of two groups' `mixing`, times `sign`. group: int64 (images of the graph,)."""
        rows = np.flatnonzero((group == one) | (group == other))
        there = group[graph.neighbors[rows]]
        within = (there == one) | (there == other)
        return cls._of(graph, rows, within & (there != group[rows, None]), within, sign)

    @classmethod
    def of_tightness(cls, graph: Graph, group: NDArray[np.int64], one: int, sign: float = 1.0) -> Influence:
        """Of one group's `tightness`, times `sign`. group: int64 (images of the graph,), -1 for none."""
        rows = np.flatnonzero(group == one)
        there = group[graph.neighbors[rows]]
        return cls._of(graph, rows, there == one, there >= 0, sign)

    @classmethod
    def _of(
        cls, graph: Graph, rows: NDArray[np.int64], part: NDArray[np.bool_], whole: NDArray[np.bool_], sign: float
    ) -> Influence:
        """Of the angle of a share, asin sqrt(part / whole), in images as `groups.angle` takes it."""
        near = graph.neighbors.shape[1]
        total = whole.sum() / near + 2 * OFFSET
        share = (part.sum() / near + OFFSET) / total
        value = sign * (part - share * whole) / (near * total * 2 * np.sqrt(share * (1 - share)))
        kept = whole.ravel()
        return cls(np.repeat(rows, near)[kept], graph.neighbors[rows].ravel()[kept], value.ravel()[kept])


def sampling_spread(influences: Sequence[Influence], images: int) -> tuple[float, float]:
    """How far a sum of figures moves when images are drawn anew: its variance, and what it is known to, as freedom.

    influences: of all figures in the sum, over any graphs of the same images, which number `images`. The variance is
    that over all pairs of edges that share an image, the dyadic cluster-robust one (Fafchamps and Gubert 2007, Journal
    of Development Economics 83:326; Aronow, Samii and Assenova 2015, Political Analysis 23:564), at least that of the
    edges alone, below which it falls by chance. A bootstrap over images counts what lies in single edges two or three
    times, for an image that is drawn twice brings them twice at either end: of networks that differ by noise alone, in
    its standard errors, figures have a standard deviation of 0.7 where 1 is meant; in these, 1.0 to 1.1. The degrees of
    freedom are the number of images that would carry it evenly, as there are in Satterthwaite's of independent parts.
    """
    source, target, value = (
        np.concatenate([getattr(one, name) for one in influences]) for name in ("source", "target", "value")
    )
    through = np.bincount(source, value, images) + np.bincount(target, value, images)
    pairs: NDArray[Any] = np.minimum(source, target) * images + np.maximum(source, target)
    _, number = np.unique(pairs, return_inverse=True)
    squares, alone = (through**2).sum(), (np.bincount(number, value) ** 2).sum()
    carried = squares**2 / (through**4).sum() if squares > 0 else 0.0
    return float(max(squares - alone, alone)), float(max(carried, FEWEST_FREE))
