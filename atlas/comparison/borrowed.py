"""Icons and pictures for a shared map without network or dataset: from the atlases that are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.comparison.pairing import Pair
from atlas.pictures import cut_patch
from atlas.records import Icons, Level
from atlas.storage.atlas import Atlas, AtlasLayer, AtlasLevel

ALIKE = 0.8
"""Cosine, after subtracting the layer's mean, from which a cell of an atlas stands for one of the shared map. Between
two CIFAR ResNets it takes 97 % of the cells in, with a median of 0.95; a neighbouring cell's is 0.6."""


@dataclass(frozen=True)
class Borrowed:
    """For each cell of a level, the icon of the network's own atlas whose cell is most alike.

    cosine: float32 (cells,), to that cell's mean, both less the layer's mean; NaN where the atlas has no icon at all.
    icons: one per cell with a cosine of ALIKE or more and enough images, in order; drawn: bool (cells,), which these
    are. Their scores are those they have for the cells that they were made for; `nearest` is the cell of this level
    that the direction they were made for is most alike: another than their own where two cells share an icon.
    """

    cosine: NDArray[np.float32]
    drawn: NDArray[np.bool_]
    icons: Icons


class IconShelf:
    """The icons of one layer of an atlas that can be believed, of all its levels, by their cells' means."""

    def __init__(self, layer: AtlasLayer, mean: NDArray[np.floating]) -> None:
        """`mean` (channels,): the layer's mean, subtracted from all others."""
        self._mean, self._size = mean, layer.icon_size
        self._homes: list[tuple[AtlasLevel, int]] = []
        directions = []
        for level in layer.levels:
            good = np.flatnonzero(level.has_icon & level.trust.believable)
            self._homes += [(level, int(cell)) for cell in good]
            directions.append(level.statistics.mean[good])
        channels = len(mean)
        joined = np.concatenate(directions) if directions else np.empty((0, channels), np.float32)
        self._directions = _directions(joined - mean)

    def borrow(self, level: Level, means: NDArray[np.float32]) -> Borrowed:
        """Find each cell's icon; means (cells, channels) are the cells' mean activations in the same network."""
        count = len(level)
        cosine = np.full(count, np.nan, np.float32)
        nearest = np.zeros(count, np.int64)
        alike = np.zeros((count, len(self._homes)))
        if len(self._homes) and count:
            alike = _directions(means - self._mean) @ self._directions.T
            nearest, cosine = alike.argmax(axis=1), alike.max(axis=1).astype(np.float32)
        drawn = level.kept & (cosine >= ALIKE)
        cells = np.flatnonzero(drawn)
        images = np.empty((len(cells), self._size, self._size, 3), np.uint8)
        scores = np.empty((4, len(cells)), np.float32)
        for place, cell in enumerate(cells):
            home, at = self._homes[nearest[cell]]
            images[place] = home.icon(at)
            told = home.scores
            scores[:, place] = told.centre[at], told.robust[at], told.windowed[at], told.strength[at]
        taken_for = alike[np.ix_(cells, nearest[cells])].argmax(axis=0) if len(cells) else np.empty(0)
        centre, robust, windowed, strength = scores
        icons = Icons(images, centre, robust, windowed, strength, taken_for.astype(np.int32))
        return Borrowed(cosine, drawn, icons)


class PatchShelf:
    """Real patches of samples: the atlas's own where it has one, else cut from the image's thumbnail."""

    def __init__(self, pair: Pair, image_of: NDArray[np.int64]) -> None:
        """`image_of` (samples,): the common samples' images, as the first network counts them."""
        atlas, layer = pair.network.atlas, pair.network.mapped
        assert atlas is not None
        assert layer is not None
        self._atlas, self._layer, self._pair, self._image_of = atlas, layer, pair, image_of
        self._patch_of = {int(row): patch for patch, row in enumerate(layer.patch_rows)}
        self._box = pair.network.layer.box(pair.network.kind)

    def read(self, row: int) -> NDArray[np.uint8]:
        """The patch of a common sample."""
        own = row if self._pair.rows_at is None else int(self._pair.rows_at[row])
        if own in self._patch_of:
            return self._layer.patch(self._patch_of[own])
        image = int(self._image_of[row])
        if self._pair.images_at is not None:
            image = int(self._pair.images_at[image])
        return cut_thumbnail(self._atlas, image, self._box[own], self._layer.patch_size)


def cut_thumbnail(atlas: Atlas, image: int, box: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    """Cut a box, in shares of the picture, out of an image's thumbnail, whose grey bars are left away."""
    from PIL import Image

    whole = atlas.thumbnail(image)
    side = len(whole)
    width, height = int(atlas.images.width[image]) or 1, int(atlas.images.height[image]) or 1
    scale = side / max(width, height)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (side - wide) // 2, (side - high) // 2
    return cut_patch(Image.fromarray(whole[top : top + high, left : left + wide]), box, size)


def _directions(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.divide(wide, length, out=np.zeros_like(wide), where=length > 0)
