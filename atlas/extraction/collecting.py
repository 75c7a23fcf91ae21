"""The batches of one part, gathered into what the store writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.extraction.passes import Batch
from atlas.extraction.reading import Picture
from atlas.extraction.sampling import relative_places
from atlas.models import Preprocess
from atlas.storage.parts import TOP, Effects, ImageTable, LayerRows, LayerSpec, Part, Skipped


class PartCollector:
    """Collects batches, leaves out the images that must be, and joins the rest in the manifest's order."""

    def __init__(
        self,
        covered: range,
        specs: Sequence[LayerSpec],
        preprocess: Preprocess,
        boxes: Callable[[str], NDArray[np.float32]],
    ) -> None:
        """`boxes` tells what the cells of a layer see of the input: float32 (cells, 4)."""
        self._covered, self._specs, self._preprocess, self._boxes = covered, specs, preprocess, boxes
        self.skipped: list[Skipped] = []
        self._ids: list[str] = []
        # Made once for the whole part and filled: a batch's arrays, kept, would leave the memory that
        # the network works in full of holes.
        self._columns: dict[str, NDArray[Any]] = {}

    def skip(self, index: int, name: str, reason: str) -> None:
        """Note a picture that gives no rows."""
        self.skipped.append(Skipped(index, name, reason))

    def add(self, ids: Sequence[str], pictures: Sequence[Picture], labels: NDArray[np.int32], batch: Batch) -> None:
        """Take a batch: its images in order, with what they gave."""
        for name, picture, reason in zip(ids, pictures, batch.reasons, strict=True):
            if reason:
                self.skip(picture.index, name, reason)
        usable = [i for i, reason in enumerate(batch.reasons) if not reason]
        if not usable:
            return
        kept = np.array(usable, np.int64)
        sizes = np.array([(picture.index, picture.width, picture.height) for picture in pictures], np.int64)
        for name, values in zip(("index", "width", "height"), sizes.T, strict=True):
            self._put(name, values, kept)
        self._put("label", labels, kept)
        for name in ("prediction", "confidence", "top_class", "top_logit"):
            self._put(name, getattr(batch, name), kept)
        for i, (spec, rows) in enumerate(zip(self._specs, batch.layers, strict=True)):
            if spec.positions:
                self._put(f"{i}/cells", rows.cells, kept)
                self._put(f"{i}/seen", self._boxes(spec.name)[rows.cells], kept)
            for kind, values in rows.pooled.items():
                self._put(f"{i}/{kind}", values, kept)
            for name in ("positions", "effect_class", "effect_value"):
                self._put(f"{i}/{name}", getattr(rows, name), kept)
        self._ids += [ids[i] for i in usable]

    def part(self) -> Part:
        """Join what was collected."""
        none = np.empty(0, np.int64)
        index, width, height = (self._take(name, none) for name in ("index", "width", "height"))
        images = ImageTable(
            self._ids,
            index,
            width.astype(np.int32),
            height.astype(np.int32),
            self._take("label", np.empty(0, np.int32)),
            self._take("prediction", np.empty(0, np.int32)),
            self._take("confidence", np.empty(0, np.float32)),
            self._take("top_class", np.empty((0, TOP), np.int32)),
            self._take("top_logit", np.empty((0, TOP), np.float32)),
            self._preprocess.to_picture_boxes(np.tile([0.0, 0.0, 1.0, 1.0], (len(index), 1)), width, height),
        )
        layers = [self._layer(i, spec, images) for i, spec in enumerate(self._specs)]
        skipped = sorted(self.skipped, key=lambda s: s.index)
        return Part(self._covered.start, len(self._covered), images, layers, skipped)

    def _layer(self, i: int, spec: LayerSpec, images: ImageTable) -> LayerRows:
        n, wide, per = len(images), spec.shape.channels, spec.positions or 0
        pooled = {kind: self._take(f"{i}/{kind}", np.empty((0, wide), np.float16)) for kind in spec.pools}
        effects = None
        if spec.effects:
            none = np.empty((0, spec.effects, spec.effect_classes))
            classes, values = (
                self._take(f"{i}/{name}", none.astype(dtype)).reshape(-1, spec.effect_classes)
                for name, dtype in (("effect_class", np.int32), ("effect_value", np.float32))
            )
            rows = np.arange(n)[:, None] * max(per, 1) + np.arange(spec.effects)
            effects = Effects(rows.ravel(), classes, values)
        if not per:
            return LayerRows(pooled, effects=effects)
        cells = self._take(f"{i}/cells", np.empty((0, per), np.int64)).ravel()
        image = np.repeat(np.arange(n), per)
        seen = self._take(f"{i}/seen", np.empty((0, per, 4), np.float32)).reshape(-1, 4)
        return LayerRows(
            pooled,
            self._take(f"{i}/positions", np.empty((0, per, wide), np.float16)).reshape(-1, wide),
            image,
            relative_places(cells, spec.shape.height, spec.shape.width),
            self._preprocess.to_picture_boxes(seen, images.width[image], images.height[image]),
            effects,
        )

    def _put(self, name: str, values: NDArray[Any] | None, kept: NDArray[np.int64]) -> None:
        if values is None:
            return
        if name not in self._columns:
            self._columns[name] = np.empty((len(self._covered), *values.shape[1:]), values.dtype)
        start = len(self._ids)
        self._columns[name][start : start + len(kept)] = values if len(kept) == len(values) else values[kept]

    def _take(self, name: str, none: NDArray[Any]) -> NDArray[Any]:
        """What a column was filled with; `none` is what it is without any image."""
        column = self._columns.pop(name, none)
        return column[: len(self._ids)]
