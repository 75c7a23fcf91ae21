"""Representational Difference Explanations (RDX), the peer of atlas/findings/changes.py, written from its paper.

Kondapaneni, Mac Aodha and Perona 2025, arXiv 2505.23917: ranks of neighbours in either representation, a locally biased
difference of the two, an affinity from it, spectral clustering in either direction, one cluster too many for what did
not change, and the nine images of each cluster that explain it. Settings as published for its MNIST experiments
(github.com/nkondapa/RDX, comparison_configs): beta 5, gamma 0.1, a null cluster, 9 images, 3 clusters unless told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

BETA, GAMMA, SHOWN, CLUSTERS = 5.0, 0.1, 9, 3


@dataclass(frozen=True)
class Explanation:
    """A cluster of images that are close in one network and far in the other.

    closer_in: "A" or "B". images: the nine that explain it; members: the whole cluster. affinity: its mean affinity,
    by which RDX ranks.
    """

    closer_in: str
    images: Any
    members: Any
    affinity: float


def neighbor_ranks(vectors: Any) -> Any:
    """For each image, every image's rank by Euclidean distance, 0 for itself. (images, images)"""
    squared = (vectors**2).sum(1)
    apart = squared[:, None] + squared - 2 * vectors @ vectors.T
    np.fill_diagonal(apart, -1)
    ranks = np.empty(apart.shape, np.float32)
    np.put_along_axis(ranks, apart.argsort(axis=1, kind="stable"), np.arange(len(vectors), dtype=np.float32)[None], 1)
    return ranks


def explain(a: Any, b: Any, *, clusters: int = CLUSTERS, seed: int = 0) -> list[Explanation]:
    """Explain how two representations (images, channels) of the same images differ, the largest affinity first."""
    ranks = {"A": neighbor_ranks(a), "B": neighbor_ranks(b)}
    vectors, found = {"A": a, "B": b}, []
    for closer, other in (("A", "B"), ("B", "A")):
        least = np.minimum(ranks[closer], ranks[other]) + 1
        affinity = np.exp(-BETA * np.tanh(GAMMA * (ranks[closer] - ranks[other]) / least))
        found += _clusters(affinity, vectors[closer], closer, clusters, seed)
    return sorted(found, key=lambda explanation: -explanation.affinity)


def _clusters(affinity: Any, vectors: Any, closer: str, clusters: int, seed: int) -> list[Explanation]:
    from sklearn.cluster import SpectralClustering

    both = (affinity + affinity.T) / 2
    of = SpectralClustering(clusters + 1, affinity="precomputed", random_state=seed).fit(both).labels_
    found = []
    for cluster in np.unique(of):
        members = np.flatnonzero(of == cluster)
        inside = affinity[np.ix_(members, members)]
        found.append(Explanation(closer, _shown(inside, vectors[members], members), members, float(inside.mean())))
    return sorted(found, key=lambda explanation: explanation.affinity)[1:]  # the least affine is the null cluster


def _shown(inside: Any, vectors: Any, members: Any) -> Any:
    """The neighbourhood of nine within the cluster whose total affinity is largest."""
    from sklearn.neighbors import NearestNeighbors

    count = min(SHOWN, len(members))
    near = NearestNeighbors(n_neighbors=count).fit(vectors).kneighbors(vectors, return_distance=False)
    total = [inside[np.ix_(hood, hood)].sum() for hood in near]
    return members[near[int(np.argmax(total))]]


def binary_success(groups: list[Any], closer: Any, other: Any) -> float:
    """BSR: the share of pairs within the groups that are nearer, by rank, in `closer` than in `other`. 0 to 1

    closer, other: neighbor_ranks of the two networks. Equal ranks count as no success, as published.
    """
    won, pairs = 0, 0
    for group in groups:
        off = ~np.eye(len(group), dtype=bool)
        inside = (closer[np.ix_(group, group)] < other[np.ix_(group, group)])[off]
        won, pairs = won + int(inside.sum()), pairs + len(inside)
    return won / max(1, pairs)
