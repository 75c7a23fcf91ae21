"""Natural parts of a class, as large as a suspect: what the causal test is held against."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST = 8
"""Natural parts that one suspect is held against."""
FEWEST = 10
"""Images of a part on either half: below, its own mean is noise."""


@dataclass(frozen=True)
class Part:
    """A natural part of a class.

    direction: unit vector, its mean against the rest of the class; level, gap: the rest's mean along it, and by how
    much the part's is above. found, held: its images on the half that suspects are found on, and on the other. rest,
    held_rest: images of the class outside it, on either half. label: the class.
    """

    direction: NDArray[np.float32]
    level: float
    gap: float
    found: NDArray[np.int64]
    held: NDArray[np.int64]
    rest: NDArray[np.int64]
    held_rest: NDArray[np.int64]
    label: int


def natural_parts(
    pooled: NDArray[np.float32],
    label: NDArray[np.int64],
    members: NDArray[np.bool_],
    of_class: int,
    discovery: NDArray[np.bool_],
    seed: int,
) -> list[Part]:
    """Cluster the images of a class that are no members into parts about as large as the members are in it.

    pooled (images, channels); label, members, discovery (images,). Where the class is too small outside the members,
    parts of the largest other classes stand in. k-means on one half; the other half goes to the nearest centre.
    """
    size = max(FEWEST, int((members & discovery & (label == of_class)).sum()))
    order = [of_class, *(int(c) for c in np.argsort(-np.bincount(label[label >= 0])) if c != of_class)]
    found: list[Part] = []
    for index in order[:4]:
        found += _parts_of(pooled, np.flatnonzero((label == index) & ~members), index, discovery, size, seed)
        if len(found) >= 4:
            break
    return found[:MOST]


def _parts_of(
    pooled: NDArray[np.float32],
    images: NDArray[np.int64],
    label: int,
    discovery: NDArray[np.bool_],
    size: int,
    seed: int,
) -> list[Part]:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    first = discovery[images]
    count = min(MOST, max(2, round(int(first.sum()) / size)))
    if first.sum() < 2 * FEWEST or (~first).sum() < 2 * FEWEST:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        means = KMeans(count, n_init=2, max_iter=50, random_state=seed).fit(pooled[images[first]])
    group = means.predict(pooled[images])
    parts = []
    for number in range(count):
        inside = group == number
        found, held = images[inside & first], images[inside & ~first]
        rest, held_rest = images[~inside & first], images[~inside & ~first]
        if min(len(found), len(held), len(rest), len(held_rest)) < FEWEST:
            continue
        way = pooled[found].mean(axis=0) - pooled[rest].mean(axis=0)
        direction = (way / max(float(np.linalg.norm(way)), 1e-12)).astype(np.float32)
        level = float((pooled[rest] @ direction).mean())
        gap = float((pooled[found] @ direction).mean()) - level
        parts.append(Part(direction, level, gap, found, held, rest, held_rest, label))
    return parts
