"""scikit-learn's digits: 1,797 handwritten digits of 8 × 8 pixels, 17 levels of grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from atlas.config import ManifestConfig
from atlas.datasets.labels import Labels, choose_labels
from atlas.datasets.source import ListedSource, Listing


class DigitsSource(ListedSource):
    """The digits, white on black, 8 × 8 pixels; ids are "digits/00000" to "digits/01796"."""

    def __init__(self, config: ManifestConfig, base: Path) -> None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        # The levels are 0 to 16: 17 of them, so 16 is white.
        self._pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        own = Labels(tuple(str(name) for name in digits.target_names), digits.target.astype(np.int32))
        ids = [f"digits/{i:05d}" for i in range(len(self._pixels))]
        labels = choose_labels(config.labels, base, ids, own=lambda: own, folders=None, where="the digits dataset")
        listing = Listing(ids, labels.values)
        super().__init__(config.name, labels.classes, listing, listing.digest(labels.classes, "digits"))

    def read(self, index: int) -> Image.Image:
        """The picture at an index of `entries`, RGB, 8 × 8."""
        return Image.fromarray(self._pixels[index]).convert("RGB")
