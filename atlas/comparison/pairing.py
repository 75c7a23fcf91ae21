"""Networks paired by image and place: row i of each is the same position of the same picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from atlas.comparison.networks import Network
from atlas.errors import StoreError
from atlas.findings.neighborhoods import NEAR
from atlas.layouts.rows import Rows, Selected, blocks
from atlas.storage.parts import Effects

FEWEST_IMAGES = NEAR + 2
"""Each sample needs so many images beside its own for neighbours, and one more for them to differ."""
ASTRAY = 0.02
"""Share of the positions that may lie further apart than two cells of the coarser map: places that collide on one map
and not on the other are moved to a free one."""


@dataclass(frozen=True)
class Pair:
    """One network's rows in the order of the first network's.

    rows_at: int64 (rows,), its row of each of the first's rows; images_at: int64 (images,), its image of each of the
    first's images; None where the order is the same.
    """

    network: Network
    rows_at: NDArray[np.int64] | None
    images_at: NDArray[np.int64] | None

    @property
    def rows(self) -> Rows:
        """Activations, (rows, channels)."""
        stored = self.network.layer.rows(self.network.kind)
        return stored if self.rows_at is None else Selected(stored, self.rows_at)

    @cached_property
    def predictions(self) -> NDArray[np.int32] | None:
        """The output with the largest logit, (images,), -1: none; None for an encoder."""
        found = self.network.store.images.prediction
        return None if not self.network.store.outputs else found if self.images_at is None else found[self.images_at]

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """Its softmax, (images,), NaN: none."""
        found = self.network.store.images.confidence
        return found if self.images_at is None else found[self.images_at]

    @cached_property
    def effects(self) -> Effects | None:
        """Effects of those rows that have them, by the common rows."""
        found = self.network.layer.effects(self.network.kind)
        if found is None or self.rows_at is None:
            return found
        place = np.empty(len(self.rows_at), np.int64)
        place[self.rows_at] = np.arange(len(self.rows_at))
        order = np.argsort(place[found.sample_rows], kind="stable")
        return Effects(place[found.sample_rows][order], found.classes[order], found.values[order])

    def vectors(self) -> NDArray[np.float32]:
        """One vector for each image, float32 (images, channels): the stored mean, else that of its rows."""
        layer, images = self.network.layer, len(self.network.store)
        if "mean" in layer.kinds:
            found = layer.rows("mean")[:].astype(np.float32)
        else:
            image_of = layer.image_of(self.network.kind)
            sums = np.zeros((images, layer.shape.channels))
            for part, block in blocks(layer.rows(self.network.kind)):
                np.add.at(sums, image_of[part], block)
            found = (sums / np.maximum(np.bincount(image_of, minlength=images), 1)[:, None]).astype(np.float32)
        return found if self.images_at is None else found[self.images_at]


def pair(networks: Sequence[Network]) -> tuple[Pair, ...]:
    """Pair networks with the first one. Raises StoreError, in one sentence, where they did not see the same."""
    first = networks[0]
    images = len(first.store)
    if images < FEWEST_IMAGES:
        seen = "one image" if images == 1 else f"{images} images"
        raise StoreError(f"{first.path} was made from {seen}: a comparison needs at least {FEWEST_IMAGES}")
    return tuple(Pair(first, None, None) if one is first else _pair(first, one) for one in networks)


def _pair(first: Network, other: Network) -> Pair:
    if first.kind != other.kind:
        raise StoreError(
            f"{first.title} maps {first.pool_words} and {other.title} {other.pool_words}: "
            "build both with the same layout.rows"
        )
    images_at = _match_images(first, other)
    check_classes(first, other)
    rows_at = _match_rows(first, other, images_at)
    same = (images_at == np.arange(len(images_at))).all()
    return Pair(other, None if same else rows_at, None if same else images_at)


def _match_images(first: Network, other: Network) -> NDArray[np.int64]:
    """The other's image of each of the first's."""
    ids, others = first.store.images.ids, other.store.images.ids
    place = {name: i for i, name in enumerate(others)}
    missing = [name for name in ids if name not in place]
    beyond = len(others) - (len(ids) - len(missing))
    if missing or beyond:
        known = set(ids)
        example = missing[0] if missing else next(name for name in others if name not in known)
        which, lacks = (first, other) if missing else (other, first)
        raise StoreError(
            f"{first.title} and {other.title} were made from different images ({other.title} lacks {len(missing):,} of "
            f"{len(ids):,}, {first.title} lacks {beyond:,} of {len(others):,}; '{example}' of {which.title} is not in "
            f"{lacks.title}): build both from one manifest with the same limit"
        )
    return np.array([place[name] for name in ids], np.int64)


def check_classes(first: Network, other: Network) -> None:
    """Refuse class lists or outputs that differ; none at all fits any. Raises StoreError."""
    for what, ours, theirs in (
        ("classes", first.store.classes, other.store.classes),
        ("outputs", first.store.outputs, other.store.outputs),
    ):
        if not ours or not theirs or ours == theirs:
            continue  # an encoder has no outputs, and then no predictions are compared
        odd = [name for name in theirs if name not in ours] or [name for name in ours if name not in theirs]
        why = f"'{odd[0]}' is in one alone" if odd else "they stand in another order"
        raise StoreError(
            f"the {what} of {first.title} and {other.title} differ ({len(ours)} and {len(theirs)}; {why}): "
            "build both with the same model.classes"
        )


def _match_rows(first: Network, other: Network, images_at: NDArray[np.int64]) -> NDArray[np.int64]:
    """The other's row of each of the first's: the same image, and the same of its positions."""
    image_of, theirs = first.layer.image_of(first.kind), other.layer.image_of(other.kind)
    counts = np.bincount(image_of, minlength=len(images_at))
    their_counts = np.bincount(theirs, minlength=len(images_at))[images_at]
    if (counts != their_counts).any():
        odd = int(np.flatnonzero(counts != their_counts)[0])
        raise StoreError(
            f"'{first.store.images.ids[odd]}' has {counts[odd]} positions in {first.title} and {their_counts[odd]} in "
            f"{other.title}: extract both with the same extract.positions, no more than the smaller map has cells"
        )
    start = np.searchsorted(theirs, images_at)
    within_image = np.arange(len(image_of)) - np.searchsorted(image_of, image_of)
    rows_at = start[image_of] + within_image
    if first.kind == "positions":
        _check_places(first, other, rows_at)
    return rows_at


def _check_places(first: Network, other: Network, rows_at: NDArray[np.int64]) -> None:
    """Positions follow from the image's id alone, so they agree up to the cells of the two maps."""
    apart = np.abs(first.layer.uv(first.kind) - other.layer.uv(other.kind)[rows_at])
    shapes = first.layer.shape, other.layer.shape
    coarse = [min(getattr(shape, side) for shape in shapes) for side in ("width", "height")]
    astray = (apart > 2 / np.array(coarse)).any(axis=1)
    if astray.mean() > ASTRAY:
        raise StoreError(
            f"{first.title} and {other.title} were sampled at other positions ({astray.mean():.0%} of {len(astray):,} "
            "lie elsewhere): extract both with this version, which draws them from the images' ids"
        )
