"""The figures of a comparison: each pair of networks as a whole, against what references tell of chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.comparison.pairing import Pair
from atlas.errors import ConfigError, StoreError
from atlas.findings.neighborhoods import NEAR, crowding, jaccard, mean_overlap, nearest_others
from atlas.findings.similarity import Alignment, Estimate, foretold, measure_alignment
from atlas.layouts.neighbors import Neighbors
from atlas.layouts.rows import Rows, resident
from atlas.records import Progress, prefixed
from atlas.storage.diff import FIGURES

MAPPED = 15
"""Neighbours that the shared map is made of; the first 10 of them are compared."""

HELD = 2**27
"""Bytes of rows that are read once and kept; of larger layers tiles are read again, and memory stays flat."""


@dataclass(frozen=True)
class Account:
    """One network's account of the common samples: its rows, and each one's nearest of other images."""

    pair: Pair
    rows: Rows
    near: Neighbors

    @property
    def title(self) -> str:
        """The network's title."""
        return self.pair.network.title

    @property
    def closest(self) -> NDArray[np.int64]:
        """The neighbours that are compared, (samples, 10)."""
        return self.near.indices[:, :NEAR]

    @property
    def crowding(self) -> NDArray[np.float32]:
        """Log of the distance to the 10th neighbour, less the median's, (samples,)."""
        return crowding(self.near.distances[:, :NEAR])


@dataclass(frozen=True)
class Whole:
    """Two networks compared as wholes, and the overlap of each sample's neighbours, float32 (samples,)."""

    alignment: Alignment
    neighbor_overlap: Estimate
    overlap: NDArray[np.float32]

    @property
    def estimates(self) -> dict[str, Estimate]:
        """The figures by name."""
        return dict(zip(FIGURES, (self.alignment.cka, self.alignment.procrustes, self.neighbor_overlap), strict=True))

    def values(self) -> dict[str, float | None]:
        """The figures' values, ready for JSON."""
        return {name: number(estimate.value) for name, estimate in self.estimates.items()}

    def intervals(self) -> dict[str, list[float | None]]:
        """Their 95 % intervals over images, ready for JSON."""
        return {name: [number(one.low), number(one.high)] for name, one in self.estimates.items()}


def account_of(pair: Pair, image_of: NDArray[np.int64], seed: int, threads: int, progress: Progress) -> Account:
    """Find each sample's neighbours in a network. Its rows stay on the disk: only two networks' are ever read."""
    rows = pair.rows
    most = int(np.bincount(image_of).max())
    told = prefixed(progress, f"{pair.network.title}: ")
    k = min(MAPPED, len(image_of) - most)
    metric: Any = pair.network.metric
    near = nearest_others(resident(rows, HELD), image_of, k, metric=metric, seed=seed, threads=threads, progress=told)
    return Account(pair, rows, near)


def compare_wholes(one: Account, other: Account, image_of: NDArray[np.int64], progress: Progress) -> Whole:
    """Compare two accounts. Raises StoreError where one of the layers tells no samples apart."""
    told = prefixed(progress, f"{one.title}, {other.title}: ")
    alignment = measure_alignment(resident(one.rows, HELD), resident(other.rows, HELD), image_of, told)
    if not np.isfinite(alignment.cka.value):
        dead = one if not alignment.one.radius > 0 else other
        raise StoreError(
            f"layer '{dead.pair.network.layer.name}' of {dead.title} gives the same for every image: compare another "
            "one (--layers)"
        )
    overlap = jaccard(one.closest, other.closest)
    return Whole(alignment, mean_overlap(overlap, image_of), overlap)


def noise_floor(
    whole: Whole, first: Account, references: Sequence[Account], image_of: NDArray[np.int64], progress: Progress
) -> tuple[dict[str, Any], NDArray[np.float32] | None]:
    """What the figures are to be held against, ready for JSON, and each sample's overlap in every pair of the recipe's.

    The overlaps: float32 (pairs, samples), those with the first network before the others; None without references.

    With references, what training again alone changes: where 95 % of the recipe's further pairs would lie, by the
    spread among the first network and them. One reference makes one pair, of which no spread is known: its interval
    over images. Without, what drawing other images would change, which says nothing of training. Raises ConfigError
    for a reference that is a copy of another network.
    """
    if not references:
        words = "how far the figures would move with other images; what training again alone changes is not in it"
        return {"kind": "sampling", **whole.intervals(), "references": [], "words": words}, None
    accounts = [first, *references]
    wholes = {
        (i, j): compare_wholes(accounts[i], accounts[j], image_of, progress)
        for i, j in combinations(range(len(accounts)), 2)
    }
    for (i, j), pair in wholes.items():
        if (pair.overlap == 1).all():
            raise ConfigError(
                f"{accounts[i].title} and the reference {accounts[j].title} have the same neighbours throughout: name "
                "checkpoints of one recipe that were trained with other seeds"
            )
    ranges: dict[str, list[float | None]] = {}
    for name in FIGURES:
        estimates = [one.estimates[name] for one in wholes.values()]
        one = estimates[0] if len(estimates) == 1 else foretold([each.value for each in estimates], len(references))
        low = one.low if name == "cka" else max(0.0, one.low)  # the others are never negative
        ranges[name] = [number(low), number(one.high)]
    words = (
        f"of {first.title} and one reference, how far the figures would move with other images; how far retrainings "
        "differ takes two references to know"
        if len(references) == 1
        else f"where the figures of 95 % of retrainings would lie, by the spread among {first.title} and "
        f"{len(references)} trained by its recipe"
    )
    named = [one.title for one in references]
    kept = np.stack([wholes[pair].overlap for pair in sorted(wholes)])
    return {"kind": "retrained", **ranges, "references": named, "words": words}, kept


def curve(
    accounts: Sequence[Account], wholes: Sequence[Whole], image_of: NDArray[np.int64], progress: Progress
) -> list[dict[str, Any]]:
    """Of each network but the first: its figures against the first and against the one before it."""
    found = []
    for at in range(1, len(accounts)):
        first = wholes[at - 1]
        before = first if at == 1 else compare_wholes(accounts[at - 1], accounts[at], image_of, progress)
        found.append(
            {
                "title": accounts[at].title,
                "first": first.values(),
                "first_intervals": first.intervals(),
                "previous": before.values(),
                "previous_intervals": before.intervals(),
            }
        )
    return found


def number(value: float) -> float | None:
    """JSON has no NaN: absent instead."""
    return float(value) if np.isfinite(value) else None
