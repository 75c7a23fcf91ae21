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
WINDOW = 8192
"""Patches held at a time: 226 MB at 96 px."""


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
    """Real patches of samples: the atlas's own where it has one, else cut from the image's thumbnail.

    They are read a window at a time, in the order in which they lie in the atlas's sheets: a sheet holds 256 pictures
    and takes as long to decode for one of them as for all.
    """

    def __init__(self, pair: Pair, image_of: NDArray[np.int64], rows: NDArray[np.int64], window: int = WINDOW) -> None:
        """`rows` (patches,): the common samples that patches are wanted of, in the order of reading.

        `image_of` (samples,): the common samples' images, as the first network counts them. window: patches that are
        held at a time.
        """
        atlas, layer = pair.network.atlas, pair.network.mapped
        assert atlas is not None
        assert layer is not None
        self._atlas, self._layer, self._count, self._window = atlas, layer, len(rows), window
        own = rows if pair.rows_at is None else pair.rows_at[rows]
        images = image_of[rows]
        self._image = images if pair.images_at is None else pair.images_at[images]
        self._box = pair.network.layer.box(pair.network.kind)[own]
        patch_of = {int(row): patch for patch, row in enumerate(layer.patch_rows)}
        self._patch = np.array([patch_of.get(int(row), -1) for row in own], np.int64)
        self._held: dict[int, NDArray[np.uint8]] = {}

    def read(self, place: int) -> NDArray[np.uint8]:
        """The patch of the sample at this place among the rows."""
        if place not in self._held:
            first = place - place % self._window
            self._held = self._read(np.arange(first, min(first + self._window, self._count)))
        return self._held[place]

    def _read(self, places: NDArray[np.int64]) -> dict[int, NDArray[np.uint8]]:
        drawn = self._patch[places] >= 0
        in_order = places[np.lexsort((np.where(drawn, self._patch[places], self._image[places]), drawn))]
        return {int(place): self._one(int(place)) for place in in_order}

    def _one(self, place: int) -> NDArray[np.uint8]:
        if self._patch[place] >= 0:
            return self._layer.patch(int(self._patch[place]))
        return cut_thumbnail(self._atlas, int(self._image[place]), self._box[place], self._layer.patch_size)


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
