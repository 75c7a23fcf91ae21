"""The order in which a layer's real patches reach the browser: a cell's patches lie together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atlas.storage.atlas import AtlasLayer
from atlas.storage.sheets import TILE_SIDE

PAGE = 16


class PatchBook:
    """A layer's patches in pages of 16, each patch once.

    Levels come coarsest first, and in each the cells tile by tile, so that a click on a cell asks for one page or two
    and for the few that hold what it shares with coarser cells. order (patches,) are indices into the layer's patch
    list, place (patches of the list,) is the inverse, -1 for a patch that no cell shows.
    """

    def __init__(self, layer: AtlasLayer) -> None:
        self.order = _reading_order(layer)
        self.place = np.full(layer.header.patches, -1, np.int64)
        self.place[self.order] = np.arange(len(self.order))

    @property
    def pages(self) -> int:
        """Number of pages."""
        return -(-len(self.order) // PAGE)

    def page(self, number: int) -> NDArray[np.int64]:
        """The patches on a page, indices into the layer's patch list; slot i of the page is entry i."""
        return self.order[number * PAGE : (number + 1) * PAGE]


def _reading_order(layer: AtlasLayer) -> NDArray[np.int64]:
    runs = []
    for level in layer.levels:
        grid = level.arrays("column", "row")
        column, row = grid["column"], grid["row"]
        by_tile = np.lexsort((column, row, column // TILE_SIDE, row // TILE_SIDE))
        runs.append(level.patches[by_tile].reshape(-1))
    if not runs:
        return np.empty(0, np.int64)
    wanted = np.concatenate(runs).astype(np.int64)
    wanted = wanted[wanted >= 0]
    _, first = np.unique(wanted, return_index=True)
    return wanted[np.sort(first)]
