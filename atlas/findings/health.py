"""Is a layer healthy? Dead and stuck units, rank, classes told apart, what coarser numbers would cost."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEAR = 10
MOST_COMPARED = 1_000
"""Images whose neighbours are compared under rounding: all pairs of 1,000 take 20 ms a layer."""
FEWEST_LABELLED = 40
_SAMPLE = 0.5  # the share of images that separability is fitted on; the rest is held out


@dataclass(frozen=True)
class Units:
    """What one pass says of a layer's channels.

    lowest, highest: float (channels,), over all images and positions. at_highest: float (channels,), the share of
    values that are exactly the highest. zero: the share of all values that are exactly 0. norm: the mean length of an
    image's whole activation. bytes: of one image's. seconds: of the layer in all, None where they were not taken.
    """

    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    at_highest: NDArray[np.float64]
    zero: float
    norm: float
    bytes: int
    seconds: float | None


@dataclass(frozen=True)
class Separability:
    """How well classes are told apart on images that were not fitted on, and on those that were; None without labels.

    centroid: by the nearest class mean. probe: by a linear classifier.
    """

    centroid: float
    centroid_fitted: float
    probe: float | None
    probe_fitted: float | None


@dataclass(frozen=True)
class Cost:
    """What rounding one layer costs the network, over the same images as without it.

    changed: the share of predictions that become others. accuracy: by how much it rises (below 0: falls), low and high
    its 95 % interval over images; None without labels.
    """

    changed: float
    accuracy: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Rounding:
    """What rounding one layer's output costs the network, on so many images."""

    images: int
    half: Cost
    eight_bit: Cost


@dataclass(frozen=True)
class Gap:
    """How much better a layer tells classes apart in pictures that the network was trained on than in others.

    trained, held_out: accuracy of a classifier (`by`: "probe" or "nearest mean") that is fitted on half of the pictures
    trained on; `trained` is on the other half of them, so that what differs is the network's doing. gap: trained less
    held_out, low and high its 95 % interval over images. spread_trained, spread_held_out: class spread of either.
    """

    by: str
    trained: float
    held_out: float
    gap: float
    low: float
    high: float
    spread_trained: float | None
    spread_held_out: float | None


@dataclass(frozen=True)
class LayerHealth:
    """One layer's line.

    dead: units whose value never changes. stuck: units that are exactly at their highest value, other than 0, for more
    than half of all values, as behind a clipped ReLU or a saturated sigmoid. sparsity: the share of values that are 0.
    effective_rank: exp of the entropy of the pooled vectors' singular values (Roy and Vetterli 2007), centred.
    memory_share, time_share: of all listed layers. half, eight_bit: the share of each image's 10 nearest that remain
    when the layer's pooled vectors are rounded to float16, or to 256 steps from -max to max; None for few images.
    eight_bit_centroid: held-out accuracy of the nearest mean after that rounding. spread: `class_spread`, None without
    labels. gradient: the mean length of a picture's gradient of the loss with respect to the layer's output. rounding,
    gap: None where they were not asked for.
    """

    name: str
    kind: str
    channels: int
    dead: int
    stuck: int
    sparsity: float
    norm: float
    effective_rank: float
    bytes: int
    memory_share: float
    time_share: float | None
    separability: Separability | None
    half: float | None
    eight_bit: float | None
    eight_bit_centroid: float | None
    spread: float | None = None
    gradient: float | None = None
    rounding: Rounding | None = None
    gap: Gap | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def judge(
    name: str,
    kind: str,
    units: Units,
    pooled: NDArray[np.float32],
    labels: NDArray[np.integer[Any]],
    *,
    totals: tuple[int, float],
    probe: bool = True,
    seed: int = 0,
    gradient: float | None = None,
    rounding: Rounding | None = None,
    gap: Gap | None = None,
) -> LayerHealth:
    """Put a layer's figures together. pooled (images, channels), labels (images,), -1: none; totals: bytes, seconds."""
    dead = units.highest == units.lowest
    stuck = ~dead & (units.highest != 0) & (units.at_highest > 0.5)
    fitted = split(len(pooled), seed)
    some = slice(None, MOST_COMPARED)
    told = separability(pooled, labels, fitted, probe=probe)
    enough = len(pooled[some]) > 2 * NEAR
    coarse = eight_bits(pooled)
    rounded = separability(coarse, labels, fitted, probe=False)
    return LayerHealth(
        name,
        kind,
        pooled.shape[1],
        int(dead.sum()),
        int(stuck.sum()),
        units.zero,
        units.norm,
        effective_rank(pooled),
        units.bytes,
        units.bytes / max(totals[0], 1),
        None if units.seconds is None else units.seconds / max(totals[1], 1e-12),
        told,
        neighbours_kept(pooled[some], half_precision(pooled)[some]) if enough else None,
        neighbours_kept(pooled[some], coarse[some]) if enough else None,
        None if rounded is None else rounded.centroid,
        class_spread(pooled, labels),
        gradient,
        rounding,
        gap,
    )


def split(images: int, seed: int = 0) -> NDArray[np.bool_]:
    """True for the images that are fitted on: half of them, drawn."""
    chosen = np.zeros(images, np.bool_)
    chosen[np.random.default_rng(seed).permutation(images)[: round(_SAMPLE * images)]] = True
    return chosen


def effective_rank(rows: NDArray[np.floating]) -> float:
    """exp of the entropy of the singular values' shares, rows centred; 0 where nothing varies. (rows, channels)"""
    centred = np.asarray(rows, np.float64) - rows.mean(0, dtype=np.float64)
    # Eigenvalues of the smaller product: 5,000 x 2,048 would take seconds as a full decomposition.
    product = centred.T @ centred if centred.shape[1] <= len(centred) else centred @ centred.T
    values = np.sqrt(np.linalg.eigvalsh(product).clip(0))
    if not values.sum() > 1e-9 * np.abs(rows).max(initial=0):
        return 0.0
    shares = values / values.sum()
    shares = shares[shares > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def separability(
    rows: NDArray[np.floating], labels: NDArray[np.integer[Any]], fitted: NDArray[np.bool_], *, probe: bool = True
) -> Separability | None:
    """Accuracy on held-out and on fitted images. None below 40 labelled images or 2 classes among the fitted."""
    known = labels >= 0
    if known.sum() < FEWEST_LABELLED:
        return None
    rows, labels, fitted = np.asarray(rows[known], np.float64), labels[known], fitted[known]
    classes = np.unique(labels[fitted])
    if len(classes) < 2 or fitted.all():
        return None
    mean, spread = rows[fitted].mean(0), rows[fitted].std(0)
    rows = (rows - mean) / np.where(spread > 1e-12, spread, 1)
    middles = np.stack([rows[fitted & (labels == one)].mean(0) for one in classes])
    distances = (middles**2).sum(1) - 2 * rows @ middles.T
    right = classes[distances.argmin(1)] == labels
    tried = fitted_right = None
    if probe:
        from sklearn.linear_model import LogisticRegression

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of hardly more images than classes: the accuracy says it
            hits = LogisticRegression(C=0.1, max_iter=300).fit(rows[fitted], labels[fitted]).predict(rows) == labels
        tried, fitted_right = float(hits[~fitted].mean()), float(hits[fitted].mean())
    return Separability(float(right[~fitted].mean()), float(right[fitted].mean()), tried, fitted_right)


def class_spread(rows: NDArray[np.floating], labels: NDArray[np.integer[Any]]) -> float | None:
    """The share of the pooled vectors' variance that lies within classes, unbiased: 0 where each class is one point, 1
    where classes say nothing. None below 40 labelled images, 2 classes with 2 images each, or without any variance.

    (sum of squares to the class means / (images - classes)) / (sum of squares to the mean / (images - 1)), over all
    channels: one less the adjusted R squared of the classes.
    """
    known = labels >= 0
    rows, labels = np.asarray(rows[known], np.float64), labels[known]
    classes, counts = np.unique(labels, return_counts=True)
    if len(rows) < FEWEST_LABELLED or (counts >= 2).sum() < 2:
        return None
    total = float(((rows - rows.mean(0)) ** 2).sum())
    within = sum(float(((some - some.mean(0)) ** 2).sum()) for some in (rows[labels == one] for one in classes))
    if not total > 1e-12 * float((rows**2).sum()):
        return None
    return within / (len(rows) - len(classes)) / (total / (len(rows) - 1))


def cost_of(plain: NDArray[np.int64], rounded: NDArray[np.int64], labels: NDArray[np.int64]) -> Cost:
    """Compare predictions (images,) with and without rounding; labels -1: none. The interval is of paired differences.

    Where no image's verdict changes, the interval's ends come from the rule of three: 3 / images either way.
    """
    changed = float((plain != rounded).mean())
    known = labels >= 0
    if not known.any():
        return Cost(changed, None, None, None)
    gained = (rounded == labels)[known].astype(float) - (plain == labels)[known]
    mean, count = float(gained.mean()), int(known.sum())
    half = 1.96 * float(gained.std(ddof=1)) / np.sqrt(count) if gained.any() and count > 1 else 3 / count
    return Cost(changed, mean, mean - half, mean + half)


def separability_gap(
    trained: NDArray[np.floating],
    trained_labels: NDArray[np.integer[Any]],
    held_out: NDArray[np.floating],
    held_out_labels: NDArray[np.integer[Any]],
    *,
    probe: bool = True,
    seed: int = 0,
) -> Gap | None:
    """Fit on half of the pictures trained on, and try the other half and the held-out ones; None with few labels."""
    fitted = split(len(trained), seed)
    before = separability(trained, trained_labels, fitted, probe=probe)
    rows = np.concatenate([trained[fitted], held_out])
    labels = np.concatenate([trained_labels[fitted], held_out_labels])
    after = separability(rows, labels, np.arange(len(rows)) < fitted.sum(), probe=probe)
    if before is None or after is None:
        return None
    by, one, other = "nearest mean", before.centroid, after.centroid
    if before.probe is not None and after.probe is not None:
        by, one, other = "probe", before.probe, after.probe
    counts = int((trained_labels[~fitted] >= 0).sum()), int((held_out_labels >= 0).sum())
    # Agresti and Caffo 2000: with one hit and one miss more in each, the interval holds at 0 and 1 as well.
    shares = [(share * count + 1) / (count + 2) for share, count in zip((one, other), counts, strict=True)]
    error = 1.96 * np.sqrt(sum(s * (1 - s) / (c + 2) for s, c in zip(shares, counts, strict=True)))
    middle = shares[0] - shares[1]
    spreads = class_spread(trained, trained_labels), class_spread(held_out, held_out_labels)
    return Gap(by, one, other, one - other, float(middle - error), float(middle + error), *spreads)


def half_precision(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Values as float16 holds them; what is beyond 65,504 becomes that."""
    return np.clip(rows, -65504, 65504).astype(np.float16).astype(np.float32)


def eight_bits(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Values rounded to 255 equal steps from -max to max of the whole layer, as symmetric 8-bit quantisation does."""
    step = float(np.abs(rows).max(initial=0)) / 127
    return np.asarray(np.round(rows / step) * step if step else rows, np.float32)


def neighbours_kept(rows: NDArray[np.floating], rounded: NDArray[np.floating]) -> float:
    """The mean share of each image's 10 nearest by cosine that stay among its 10 nearest. (images, channels) each."""
    one, other = (_nearest(np.asarray(values, np.float32)) for values in (rows, rounded))
    return float((one[:, :, None] == other[:, None, :]).any(2).mean())


def _nearest(rows: NDArray[np.float32]) -> NDArray[np.int64]:
    rows = rows - rows.mean(0)  # behind a ReLU all vectors share a direction that says nothing
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    return np.argpartition(-cosines, NEAR, axis=1)[:, :NEAR]
