"""A picture's positions in a few groups that the network treats alike: non-negative matrix factorisation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.errors import AttributionError

MOST_PARTS = 8
_ROUNDS = 400


@dataclass(frozen=True)
class Parts:
    """Groups of channels that come and go together over one picture's positions, the largest first.

    weights: float32 (k, height, width), how much of each part is at each position, on the activations' own scale.
    directions: float32 (k, channels), unit vectors. explained: the share of the squared activations that the parts
    make up, of what is positive. negative: the share of the squared activations that is below 0, and left out.
    """

    weights: NDArray[np.float32]
    directions: NDArray[np.float32]
    explained: float
    negative: float

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def leading(self) -> NDArray[np.int64]:
        """The part that is largest at each position, int64 (height, width); -1 where none is."""
        most: NDArray[np.int64] = self.weights.argmax(0)
        return np.where(self.weights.max(0) > 0, most, -1)


def find_parts(values: NDArray[np.floating], count: int, *, seed: int = 0) -> Parts:
    """Factorise one picture's activations (channels, height, width) into `count` parts, or fewer where less differs.

    What is positive, as a matrix of positions by channels, is approached by a product of two non-negative ones (Lee
    and Seung 1999); the one over positions is the parts' maps, as Olah et al. 2018 group "The Building Blocks of
    Interpretability". Raises AttributionError for a count that cannot be, and where nothing is positive.
    """
    if not 1 <= count <= MOST_PARTS:
        raise AttributionError(f"a picture is grouped into 1 to {MOST_PARTS} parts, not {count}")
    channels, height, width = values.shape
    rows = np.asarray(values, np.float64).reshape(channels, -1).T
    positive = rows.clip(0)
    total, whole = float((positive**2).sum()), float((rows**2).sum())
    if not total > 0:
        raise AttributionError("no activation of this picture is positive, so there are no parts to group it into")
    used = min(count, int(np.linalg.matrix_rank(positive)))
    weights, directions = _factors(positive, used, seed)
    lengths = np.linalg.norm(directions, axis=1)
    kept = lengths > 0
    weights, directions = weights[:, kept] * lengths[kept], directions[kept] / lengths[kept, None]
    order = np.argsort(-(weights**2).sum(0), kind="stable")
    weights, directions = weights[:, order], directions[order]
    missed = float(((positive - weights @ directions) ** 2).sum())
    return Parts(
        weights.T.reshape(-1, height, width).astype(np.float32),
        directions.astype(np.float32),
        1 - missed / total,
        1 - total / whole,
    )


def _factors(positive: NDArray[np.float64], count: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    scale = float(positive.max())  # sklearn's tolerance is relative to the start, its floor is not
    found = NMF(count, init="nndsvda", max_iter=_ROUNDS, tol=1e-4, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the share explained is told instead
        weights = found.fit_transform(positive / scale)
    return weights * scale, found.components_
