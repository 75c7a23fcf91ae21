"""The order of real patches: a cell's lie together, each patch once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atlas.storage.sheets import SHEET, reading_order


@given(st.integers(0, 2**32 - 1))
def test_the_order_is_that_of_first_sight(seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels, seen = [], []
    for side in (8, 16):
        column, row = np.divmod(rng.permutation(side * side)[: rng.integers(0, 40)], side)
        patches = rng.integers(-1, 60, (len(column), 4))
        levels.append((column, row, patches))
        cells = sorted(zip(row // 8, column // 8, row, column, patches.tolist(), strict=True))
        seen += [patch for cell in cells for patch in cell[-1] if patch >= 0]
    assert reading_order(levels).tolist() == list(dict.fromkeys(seen))


def test_a_cell_needs_few_sheets() -> None:
    """A fifth of a fine cell's patches are of the coarse one above it, the others are drawn at random."""
    rng = np.random.default_rng(0)
    column, row = np.divmod(np.arange(64), 8)
    coarse = rng.permutation(64 * 16).reshape(64, 16)
    fine_column, fine_row = np.divmod(np.arange(256), 16)
    fine = rng.permutation(np.arange(4096) + 1024).reshape(256, 16)
    shared = rng.random(fine.shape) < 0.2
    fine[shared] = coarse[(fine_column // 2) * 8 + fine_row // 2].reshape(256, 16)[shared]
    order = reading_order([(column, row, coarse), (fine_column, fine_row, fine)])
    place = np.empty(order.max() + 1, np.int64)
    place[order] = np.arange(len(order))
    sheets = [len(np.unique(place[patches] // SHEET)) for patches in (*coarse, *fine)]
    assert max(sheets[:64]) <= 2
    assert max(sheets) <= 3
    assert np.mean(sheets) < 2
