"""How images are looked at for cues: whole, by their strongest places, and place by place, each whitened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

On = Literal["rows", "pooled", "peak", "plain"]
Vectors = NDArray[np.float32]

AXES = 32
"""Principal axes that are kept. Of 64 channels more of them add noise: nearest neighbours then show cues less well."""
WIDE = 512
"""Channels above which 4 x AXES leading axes are taken first, by random projection: 2,048 by 2,048 takes 4 s a view."""
BLOCKS = 4
"""Blocks a side that a dense map is looked at in: the smallest planted mark is an eighth of the picture wide."""
LEAST_VARIANCE = 1e-4
"""Axes of less than this share of the first axis's variance are rounding."""
FAINT = 0.1
"""Share of a channel's usual spread that is added before its logarithm."""
RIDGE = 1e-3
"""Of the mean variance, added to every axis's."""


@dataclass(frozen=True)
class Samples:
    """One layer's activations of some images, and what the network said of these.

    rows: float32 (rows, channels), sampled positions; image: int64 (rows,), the image that each is of; where: float32
    (rows, 2), its place (u, v) in [0, 1]². pooled, peak: float32 (images, channels), mean and maximum over the whole
    map. label, prediction: int64 (images,), -1 for none. confidence: float32 (images,). effects: float32 (rows,
    classes), each row's part in the logits, or None. classes: their names. plain: float32 (images, figures), what can
    be said of the pictures without any network, such as quantiles of their colours, or None.
    """

    rows: Vectors
    image: NDArray[np.int64]
    where: Vectors
    pooled: Vectors
    peak: Vectors
    label: NDArray[np.int64]
    prediction: NDArray[np.int64]
    confidence: Vectors
    effects: Vectors | None
    classes: tuple[str, ...]
    plain: Vectors | None = None

    @property
    def group(self) -> NDArray[np.int64]:
        """The class that an image counts among: its label, without one its prediction, without either 0. (images,)"""
        known = np.where(self.label >= 0, self.label, self.prediction)
        return np.asarray(np.maximum(known, 0), np.int64)


@dataclass(frozen=True)
class View:
    """One way to see every image as a vector.

    vectors: float32 (images, axes): classes' means taken out, unit variance within classes, no axis with another.
    raw: float32 (images, channels), the same in the layer's own space. places: numbers of the places of a dense map
    that are looked at; None for all.
    """

    layer: int
    name: str
    on: On
    vectors: Vectors
    raw: Vectors
    places: NDArray[np.int64] | None


def see(samples: Samples, layer: int, fit: NDArray[np.bool_]) -> Iterator[View]:
    """Yield every view of one layer's samples, whitened by the images of `fit` (images,) alone.

    Where all images have the same grid of places (a dense map), also its blocks, its rim and the spread over places;
    where plain figures of the pictures are known, also these: a tint is 1.5 to 4 standard deviations of a class wide in
    the best view of activations, and 3 to 7 in these.
    """
    seen: list[tuple[str, On, Vectors, Vectors, NDArray[np.int64] | None]] = [
        ("pooled", "pooled", samples.pooled, samples.pooled, None),
        ("peak", "peak", samples.peak, samples.peak, None),
    ]
    if samples.plain is not None:
        seen.append(("plain", "plain", samples.pooled, samples.plain, None))
    grid = dense_grid(samples)
    if grid is not None:
        order, down, across = grid
        maps = samples.rows[order].reshape(len(samples.label), len(down), -1)
        # A tint takes from every picture the same share of its contrast: as a logarithm that is a shift.
        spread = maps.std(axis=1)
        contrast = np.log(spread + FAINT * spread.mean(axis=0) + np.finfo(np.float32).tiny)
        seen.append(("contrast", "pooled", samples.pooled, np.concatenate([samples.pooled, contrast], axis=1), None))
        for name, places in _regions(down, across).items():
            mean = maps[:, places].mean(axis=1)
            seen.append((name, "rows", mean, mean, places))
    for name, on, raw, features, at in seen:
        yield View(layer, name, on, whiten(np.asarray(features, np.float32), samples.group, fit), raw, at)


def dense_grid(samples: Samples) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None:
    """Find the grid that every image's rows lie on; None where images have different places, or fewer than 4 x 4.

    -> rows' order by image and place (images x places,), and each place's line and column (places,).
    """
    images = len(samples.label)
    if not images or len(samples.rows) % images or len(samples.rows) < 16 * images:
        return None
    order = np.lexsort((samples.where[:, 0], samples.where[:, 1], samples.image))
    image = samples.image[order].reshape(images, -1)
    where = samples.where[order].reshape(images, -1, 2)
    if (image != np.arange(images)[:, None]).any() or np.abs(where - where[0]).max() > 1e-3:
        return None
    across, down = (np.unique(where[0, :, axis].round(4), return_inverse=True)[1] for axis in (0, 1))
    if min(across.max(), down.max()) < 3 or (across.max() + 1) * (down.max() + 1) != where.shape[1]:
        return None
    return order, np.asarray(down, np.int64), np.asarray(across, np.int64)


def rows_at(samples: Samples, places: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    """Which rows lie at a view's places, bool (rows,); all of them where these are not told apart."""
    grid = None if places is None else dense_grid(samples)
    if grid is None or places is None:
        return np.ones(len(samples.rows), bool)
    order, down, _ = grid
    place = np.empty(len(samples.rows), np.int64)
    place[order] = np.tile(np.arange(len(down)), len(samples.label))
    return np.isin(place, places)


def _regions(down: NDArray[np.int64], across: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Blocks of a grid by name, and its rim."""
    blocks = (down * BLOCKS // (down.max() + 1)) * BLOCKS + across * BLOCKS // (across.max() + 1)
    found = {f"block {one // BLOCKS},{one % BLOCKS}": np.flatnonzero(blocks == one) for one in range(BLOCKS * BLOCKS)}
    rim = (down == 0) | (across == 0) | (down == down.max()) | (across == across.max())
    return found | {"rim": np.flatnonzero(rim)}


def whiten(raw: Vectors, group: NDArray[np.int64], fit: NDArray[np.bool_]) -> Vectors:
    """Take out each group's mean, and scale the leading axes to unit variance within groups. -> (images, axes)

    A cue is then as far from its class as its noise says, whichever channel has it. Means and axes are those of `fit`.
    """
    count = int(group.max()) + 1
    images = np.bincount(group[fit], minlength=count)
    overall = raw[fit].mean(axis=0)
    sums = np.zeros((count, raw.shape[1]))
    np.add.at(sums, group[fit], raw[fit])
    means = np.where(images[:, None] > 1, sums / np.maximum(images, 1)[:, None], overall)
    residual = raw - means[group].astype(np.float32)
    residual /= np.maximum(residual[fit].std(axis=0), np.finfo(np.float32).tiny)  # channels differ much in scale
    if residual.shape[1] > WIDE:
        from sklearn.utils.extmath import randomized_svd

        some = residual[fit][:: max(1, int(fit.sum()) // 4096)]
        residual = residual @ randomized_svd(some, 4 * AXES, n_iter=2, random_state=0)[2].T
    values, axes = np.linalg.eigh(np.cov(residual[fit].T.astype(np.float64)).reshape(residual.shape[1], -1))
    values, axes = values[::-1], axes[:, ::-1]
    kept = np.flatnonzero(values > LEAST_VARIANCE * max(values[0], np.finfo(float).tiny))[:AXES]
    scale = 1 / np.sqrt(values[kept] + RIDGE * values.mean())
    return np.asarray(residual @ (axes[:, kept] * scale), np.float32)
