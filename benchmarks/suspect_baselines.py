"""What finding suspects is measured beside: five ways to list groups of images, each from its paper.

Each takes what detection sees of a network (`Seen`), finds its groups on the discovery images alone and returns a
ranked list with memberships for all images, as `find_candidates` does. Where a paper leaves a choice open that the
pools ask for (the layer that is read, the number of groups), the one in SETTINGS was best on the development pool.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Settings:
    """The choices that were made on the development pool.

    layer: 0 early, 1 middle, 2 last; of 10 used cues PlaneSpot had one first to third in the middle, all else none
    anywhere. clusters: of the error-ranked k-means; 20 and 40 gave the same.
    """

    layer: int = 1
    clusters: int = 40


SETTINGS = Settings()
LISTED = 10


@dataclass(frozen=True)
class Ranked:
    """Groups, the most suspicious first: membership float (groups, images), score (groups,)."""

    membership: Any
    score: Any

    @classmethod
    def of(cls, membership: Any, score: Any) -> Ranked:
        """The first LISTED groups by score."""
        order = np.argsort(-np.asarray(score), kind="stable")[:LISTED]
        return cls(np.asarray(membership)[order], np.asarray(score)[order])


@dataclass(frozen=True)
class Seen:
    """What every method sees of a network: Samples of an early, a middle and the last layer; the discovery images."""

    layers: list[Any]
    discovery: Any
    seed: int
    settings: Settings = SETTINGS

    @property
    def label(self) -> Any:
        return self.layers[-1].label

    @property
    def prediction(self) -> Any:
        return self.layers[-1].prediction

    @property
    def wrong(self) -> Any:
        return self.prediction != self.label

    @cached_property
    def pooled(self) -> Any:
        return np.asarray(self.layers[self.settings.layer].pooled, np.float64)

    @cached_property
    def plane(self) -> Any:
        """A t-SNE of the pooled vectors in the unit square, (images, 2)."""
        from atlas.layouts import compute_layout

        return compute_layout(
            self.pooled.astype(np.float32), method="tsne", seed=self.seed, deterministic=True
        ).positions


def random_cells(seen: Seen) -> Ranked:
    """Cells of an 8 x 8 grid over the map, in random order: what somebody finds who looks anywhere."""
    cells = np.minimum((np.clip(seen.plane, 0, 1) * 8).astype(int), 7) @ np.array([8, 1])
    counts = np.bincount(cells[seen.discovery], minlength=64)
    kept = np.flatnonzero(counts >= 12)
    middles = (np.stack([kept // 8, kept % 8], axis=1) + 0.5) / 8
    distance = np.linalg.norm(seen.plane[None] - middles[:, None], axis=2)
    return Ranked.of(-distance - (cells != kept[:, None]), np.random.default_rng(seen.seed).random(len(kept)))


def error_ranked_clusters(seen: Seen) -> Ranked:
    """k-means of the pooled vectors, ranked by error: d'Eon et al. 2022 and Sohoni et al. 2020 compare with such.

    A cluster's score is its error rate, images of the discovery half the unit, drawn to the network's by ten images.
    """
    from sklearn.cluster import KMeans

    found = KMeans(seen.settings.clusters, n_init=3, random_state=seen.seed).fit(seen.pooled[seen.discovery])
    distance = found.transform(seen.pooled).T
    of, wrong = distance.argmin(axis=0), seen.wrong & seen.discovery
    size = np.bincount(of[seen.discovery], minlength=len(distance))
    errors = np.bincount(of[wrong], minlength=len(distance))
    rate = (errors + 10 * wrong.sum() / seen.discovery.sum()) / (size + 10)
    return Ranked.of(-distance - 1e3 * (of != np.arange(len(distance))[:, None]), np.where(size >= 12, rate, -1))


def domino(seen: Seen) -> Ranked:
    """Domino's error-aware mixture: Eyuboglu et al. 2022, arXiv:2203.14960, section 4.2 and appendix.

    A mixture whose components have a Gaussian with a diagonal covariance over at most 128 principal components, and
    categorical distributions of the label and of the prediction, either log likelihood weighted by 10; started from
    the confusion matrix; 25 components, the published defaults. Components are ranked by how far prediction and
    label differ in them, the sum of |p(y) - p(yhat)|.
    """
    from sklearn.decomposition import PCA

    parts, weight, steps = 25, 10.0, 60
    rng, find = np.random.default_rng(seen.seed), np.flatnonzero(seen.discovery)
    axes = PCA(min(128, seen.pooled.shape[1]), random_state=seen.seed).fit(seen.pooled[find])
    rows = axes.transform(seen.pooled)
    classes = int(max(seen.label.max(), seen.prediction.max())) + 1
    label, predicted = np.eye(classes)[seen.label], np.eye(classes)[seen.prediction]
    pairs = np.bincount(seen.label[find] * classes + seen.prediction[find], minlength=classes**2)
    started = np.argsort(-pairs)[:parts]
    belong = (seen.label[find] * classes + seen.prediction[find])[:, None] == started[None]
    belong = belong + rng.random((len(find), len(started))) * 0.1
    belong /= belong.sum(axis=1, keepdims=True)
    log_all = np.zeros((len(rows), len(started)))
    for _ in range(steps):
        size = belong.sum(axis=0) + 1e-9
        mean = belong.T @ rows[find] / size[:, None]
        spread = belong.T @ rows[find] ** 2 / size[:, None] - mean**2 + 1e-6
        of_label, of_prediction = (belong.T @ one[find] / size[:, None] + 1e-6 for one in (label, predicted))
        gauss = -0.5 * (
            (rows**2) @ (1 / spread).T - 2 * rows @ (mean / spread).T + ((mean**2) / spread + np.log(spread)).sum(1)
        )
        log_all = gauss + weight * (label @ np.log(of_label).T + predicted @ np.log(of_prediction).T)
        log_all += np.log(size / size.sum())
        shifted = log_all[find] - log_all[find].max(axis=1, keepdims=True)
        belong = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    return Ranked.of(_log_shares(log_all).T, np.abs(of_label - of_prediction).sum(axis=1))


def planespot(seen: Seen) -> Ranked:
    """PlaneSpot: Plumb et al. 2023 (TMLR), arXiv:2207.04104, section 5: a mixture on a 2-D embedding and confidence.

    The embedding in [0, 1] (theirs is by scvis, here t-SNE), beside it the confidence times 0.025; full covariances,
    the number of components by BIC; ranked by the number of errors times the error rate, as there.
    """
    from sklearn.mixture import GaussianMixture

    low, high = seen.plane.min(axis=0), seen.plane.max(axis=0)
    rows = np.column_stack([(seen.plane - low) / (high - low), 0.025 * seen.layers[-1].confidence])
    find = np.flatnonzero(seen.discovery)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tried = [
            GaussianMixture(parts, n_init=1, random_state=seen.seed, max_iter=60).fit(rows[find])
            for parts in (5, 10, 15, 20, 30, 40)
        ]
    best = min(tried, key=lambda one: one.bic(rows[find]))
    log_all = best._estimate_weighted_log_prob(rows)
    of = log_all.argmax(axis=1)
    size = np.bincount(of[find], minlength=log_all.shape[1])
    errors = np.bincount(of[find][seen.wrong[find]], minlength=log_all.shape[1])
    return Ranked.of(_log_shares(log_all).T, errors * errors / np.maximum(size, 1))


def spray(seen: Seen) -> Ranked:
    """SpRAy: Lapuschkin et al. 2019 (Nature Communications 10:1096): spectral clustering of a class's attributions.

    The attribution of each picture's label over an 8 x 8 grid, each place's part in the logit (gradient times
    activation at the last layer, exact there; theirs is LRP to the pixels, made coarse too), scaled to length one;
    symmetric k-nearest-neighbour graph with k = log of the images; eigenvalues of the normalised Laplacian; as many
    clusters as the largest gap among the first ten says. Classes are ranked by that gap, clusters in a class the
    smallest first: what few pictures have is suspected.
    """
    from sklearn.cluster import KMeans
    from sklearn.neighbors import kneighbors_graph

    last, images = seen.layers[-1], len(seen.label)
    maps = last.effects[np.arange(len(last.rows)), seen.label[last.image]].reshape(images, -1)
    maps = maps / np.maximum(np.linalg.norm(maps, axis=1, keepdims=True), 1e-9)
    membership, score = [], []
    for one in np.unique(seen.label):
        own = np.flatnonzero(seen.discovery & (seen.label == one))
        if len(own) < 25:
            continue
        graph = kneighbors_graph(maps[own], max(2, round(np.log(len(own))))).toarray()
        graph = np.maximum(graph, graph.T)
        root = 1 / np.sqrt(np.maximum(graph.sum(axis=1), 1e-9))
        values, vectors = np.linalg.eigh(np.eye(len(own)) - root[:, None] * graph * root[None])
        gaps = np.diff(values[:11])
        count = max(2, int(gaps[1:].argmax()) + 2)
        of = KMeans(count, n_init=3, random_state=seen.seed).fit_predict(vectors[:, :count])
        for part in range(count):
            inside = of == part
            if inside.sum() >= 12:
                toward = maps[own[inside]].mean(axis=0) - maps[own[~inside]].mean(axis=0)
                membership.append(maps @ toward - 10.0 * (seen.label != one))
                score.append(float(gaps[1:].max()) - 1e-3 * float(inside.mean()))
    return Ranked.of(membership, score)


def _log_shares(log_all: Any) -> Any:
    top = log_all.max(axis=1, keepdims=True)
    return log_all - top - np.log(np.exp(log_all - top).sum(axis=1, keepdims=True))


BASELINES: dict[str, Callable[[Seen], Ranked]] = {
    "random cells": random_cells,
    "error-ranked k-means": error_ranked_clusters,
    "Domino": domino,
    "PlaneSpot": planespot,
    "SpRAy": spray,
}
