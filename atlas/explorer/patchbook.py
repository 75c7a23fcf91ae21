"""The order in which a layer's real patches reach the browser: a cell's patches lie together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atlas.storage.atlas import AtlasLayer
from atlas.storage.sheets import reading_order

PAGE = 16


class PatchBook:
    """A layer's patches in pages of 16, each patch once.

    A click on a cell asks for one page or two, and for the few that hold what it shares with coarser cells. order
    (patches,) are indices into the layer's patch list, place (patches of the list,) is the inverse, -1 for a patch that
    no cell shows.
    """

    def __init__(self, layer: AtlasLayer) -> None:
        grids = ((level, level.arrays("column", "row")) for level in layer.levels)
        self.order = reading_order((grid["column"], grid["row"], level.patches) for level, grid in grids)
        self.place = np.full(layer.header.patches, -1, np.int64)
        self.place[self.order] = np.arange(len(self.order))

    @property
    def pages(self) -> int:
        """Number of pages."""
        return -(-len(self.order) // PAGE)

    def page(self, number: int) -> NDArray[np.int64]:
        """The patches on a page, indices into the layer's patch list; slot i of the page is entry i."""
        return self.order[number * PAGE : (number + 1) * PAGE]
