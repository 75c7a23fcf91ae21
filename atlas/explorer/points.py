"""A layer's samples in slices: an even thinning of the whole map first, then all of it, tile by tile.

One fixed shuffle puts the samples in an order, so that any first part of it is an even thinning. Slice 0 is the first
`limit` of them, over the whole map; each further slice doubles what is there, in a grid of 2^ceil(s / 2) tiles a side.
A page draws the slices that its view can hold: the whole map thinned, a corner of it entire.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from atlas.explorer.answers import Answers
from atlas.records import STATES
from atlas.storage.atlas import SampleColumns

MAX_POINTS = 50_000
DENSITY_SIDE = 256
UNKNOWN = 255  # of a confidence


class PointBook:
    """The live samples of a layer by slice and tile.

    ends (slices,) counts the samples in a slice and all before it; the last is all. `limit` is the first one's size.
    """

    def __init__(self, samples: SampleColumns, *, limit: int = MAX_POINTS) -> None:
        self._samples = samples
        live = live_points(samples.positions, samples.state)
        # One shuffle for all layers of as many samples: their thinnings then hold nearly the same ones, side by side.
        shuffled = np.random.default_rng(0).permutation(len(samples.state))
        self.order = shuffled[np.isin(shuffled, live)]
        self.ends = [min(limit, len(live))]
        while self.ends[-1] < len(live):
            self.ends.append(min(2 * self.ends[-1], len(live)))
        self._by_tile = lru_cache(maxsize=None)(self._sort)

    @property
    def total(self) -> int:
        """Number of live samples."""
        return self.ends[-1]

    def tiles(self) -> list[tuple[int, int, int]]:
        """(slice, tx, ty) of every tile that holds any sample; slice 0 always has its one tile."""
        found = [(0, 0, 0)]
        for number in range(1, len(self.ends)):
            side = tiles_of(number)
            _, starts = self._by_tile(number)
            found += [(number, int(t) % side, int(t) // side) for t in np.flatnonzero(np.diff(starts))]
        return found

    def rows(self, number: int, tx: int, ty: int) -> NDArray[np.int64]:
        """Sample rows of a tile of a slice, in the order of the shuffle. Raises LookupError where there is no tile."""
        if not 0 <= number < len(self.ends):
            raise LookupError(f"no slice {number} of samples")
        side = tiles_of(number)
        if not (0 <= tx < side and 0 <= ty < side):
            raise LookupError(f"slice {number} has tiles 0 to {side - 1} each way, not ({tx}, {ty})")
        rows, starts = self._by_tile(number)
        tile = ty * side + tx
        return rows[starts[tile] : starts[tile + 1]]

    def _sort(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = self.order[self.ends[number - 1] if number else 0 : self.ends[number]]
        side = tiles_of(number)
        column, row = np.minimum((self._samples.positions[rows] * side).astype(np.int64), side - 1).T
        tile = row * side + column
        by_tile = np.argsort(tile, kind="stable")
        return rows[by_tile], np.searchsorted(tile[by_tile], np.arange(side * side + 1))

    def density(self) -> NDArray[np.uint32]:
        """Samples in each square of a grid of DENSITY_SIDE a side, uint32 (row from the bottom, column)."""
        at = np.minimum((self._samples.positions[self.order] * DENSITY_SIDE).astype(np.int64), DENSITY_SIDE - 1)
        flat = np.bincount(at[:, 1] * DENSITY_SIDE + at[:, 0], minlength=DENSITY_SIDE**2)
        return flat.reshape(DENSITY_SIDE, DENSITY_SIDE).astype(np.uint32)


def tiles_of(number: int) -> int:
    """Tiles a side of a slice: each then holds some 10,000 to 25,000 samples of an evenly filled map."""
    return int(2 ** ((number + 1) // 2))


def live_points(positions: NDArray[np.float32], state: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Rows that have a place on the map: inside the unit square and no outliers."""
    inside = np.isfinite(positions).all(axis=1) & (positions >= 0).all(axis=1) & (positions <= 1).all(axis=1)
    return np.flatnonzero(inside & (state != STATES.index("outlier")))


def percents(confidence: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Confidences as whole percents, rounded down, UNKNOWN for NaN: what filters compare."""
    # The product of the float32 nearest to 0.29 with 100 is 28.999999: rounding down would lose a percent.
    whole = np.floor(np.nan_to_num(confidence).astype(np.float64) * 100 + 1e-4)
    return np.where(np.isnan(confidence), UNKNOWN, np.clip(whole, 0, 100)).astype(np.uint8)


def tally(image: NDArray[np.int32], label: NDArray[np.int32], answers: Answers) -> NDArray[np.int64]:
    """Count samples by what filters look at: int64 (combinations, 4) of label, prediction, percent, samples.

    image: of each sample to count, an index into label (images,) and into the answers.
    """
    per_image = np.bincount(image, minlength=len(label))
    seen = np.flatnonzero(per_image)
    facets = np.stack([label[seen], answers.prediction[seen], percents(answers.confidence[seen])], axis=1).astype(
        np.int64
    )
    combinations, which = np.unique(facets, axis=0, return_inverse=True)
    counts = np.bincount(which.reshape(-1), weights=per_image[seen], minlength=len(combinations))
    return np.column_stack([combinations, counts.astype(np.int64)])
