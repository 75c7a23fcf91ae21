"""What a dataset says of a layer's channels: what excites each, how it answers, what it feeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.datasets import ImageSource, take
from atlas.errors import DataError
from atlas.extraction.reading import Picture, read_pictures, worker_count
from atlas.job import Job
from atlas.models import as_grid, capture, layer_shapes, patch_field
from atlas.pictures import cut_patch
from atlas.records import LayerShape, Progress, silent
from atlas.units.feeding import channel_effects

TOP = 9
BINS = 40
TWINS = 0.99
"""The correlation from which two channels are told as one."""
_FEEDING = 4  # of a channel's top pictures its effects are averaged over
_BATCH = 64
_KEPT = 8  # positions of each picture that the distribution and the correlations are of
_PATCH = 64  # px


@dataclass(frozen=True)
class Evidence:
    """What one pass says of every channel of a layer.

    lowest, highest: float32 (channels,), over every position of every picture. active: float32 (channels,), the share
    of sampled values above 0. edges float32 (channels, 41) and counts int64 (channels, 40): a histogram of values at 8
    positions a picture. top_image int64 (channels, 9), top_value float32, top_box float32 (channels, 9, 4): the
    pictures that excite it the most, each once, -1 padded, and where. patches: uint8 (channels, 9, 64, 64, 3).
    by_class: float32 (channels, classes), the mean of its pooled value over each label's pictures, NaN where there are
    none. effects: float32 (channels, outputs), what it adds to each logit in its 4 top pictures, on average; None for
    an encoder, or where that cannot be differentiated. twin, likeness: the channel that goes along the most, and the
    correlation.
    """

    images: int
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    outputs: tuple[str, ...]
    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]
    active: NDArray[np.float32]
    edges: NDArray[np.float32]
    counts: NDArray[np.int64]
    top_image: NDArray[np.int64]
    top_value: NDArray[np.float32]
    top_box: NDArray[np.float32]
    patches: NDArray[np.uint8]
    by_class: NDArray[np.float32]
    effects: NDArray[np.float32] | None
    twin: NDArray[np.int64]
    likeness: NDArray[np.float32]

    @property
    def dead(self) -> NDArray[np.int64]:
        """Channels that were 0 at every position of every picture."""
        return np.flatnonzero((self.highest == 0) & (self.lowest == 0))

    @property
    def constant(self) -> NDArray[np.int64]:
        """Channels that had one value other than 0 everywhere."""
        return np.flatnonzero((self.highest == self.lowest) & (self.highest != 0))

    @property
    def duplicated(self) -> list[list[int]]:
        """Groups of channels that go along at a correlation of 0.99 or more, directly or through others."""
        above = {int(c): int(self.twin[c]) for c in np.flatnonzero(self.likeness >= TWINS)}
        groups: list[set[int]] = []
        for pair in above.items():
            joined = set(pair).union(*(group for group in groups if group & set(pair)))
            groups = [group for group in groups if not group & joined] + [joined]
        return sorted(sorted(group) for group in groups)


class _Tally:
    """The channels' figures, batch by batch."""

    def __init__(self, shape: LayerShape, classes: int, seed: int) -> None:
        count = shape.channels
        self._shape, self._draw = shape, np.random.default_rng(seed)
        self.lowest, self.highest = torch.full((count,), torch.inf), torch.full((count,), -torch.inf)
        self.values, self.images = torch.empty(0, count), torch.empty((0, count), dtype=torch.int64)
        self.places = torch.empty((0, count), dtype=torch.int64)
        self.sampled: list[torch.Tensor] = []
        self.sums, self.pictures = np.zeros((classes, count)), np.zeros(classes, np.int64)

    def add(self, tensor: torch.Tensor, images: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        grid = as_grid(tensor, self._shape).float().cpu()
        values, places = grid.max(1)
        self.highest = torch.maximum(self.highest, values.amax(0))
        self.lowest = torch.minimum(self.lowest, grid.amin((0, 1)))
        own = torch.from_numpy(images)[:, None].expand(-1, grid.shape[2])
        self.values, kept = torch.cat([self.values, values]).sort(dim=0, descending=True, stable=True)
        self.values, kept = self.values[:TOP], kept[:TOP]
        self.images = torch.cat([self.images, own]).gather(0, kept)
        self.places = torch.cat([self.places, places]).gather(0, kept)
        drawn = self._draw.random(grid.shape[:2]).argsort(1)[:, :_KEPT]
        self.sampled.append(grid[torch.arange(len(grid))[:, None], torch.from_numpy(drawn)].flatten(0, 1))
        pooled = grid.mean(1).double().numpy()
        known = labels >= 0
        np.add.at(self.sums, labels[known], pooled[known])
        np.add.at(self.pictures, labels[known], 1)


def study_units(job: Job, layer: str, *, images: int = 1000, progress: Progress = silent) -> Evidence:
    """Run at most so many of a pipeline's pictures, drawn evenly over classes, and say what they do to each channel.

    Raises DataError where no picture can be read, LayerError for a layer that is not there or cannot be mapped.
    """
    model, tap, seed = job.model, job.config.extract.tap, job.config.run.seed
    source = take(job.source, min(images, len(job.source)), seed)
    size = model.preprocess.input_shape or (model.preprocess.channels, 224, 224)
    shape = layer_shapes(model, [layer], size, tap=tap)[layer]
    tally = _Tally(shape, len(source.classes), seed)
    entries = source.entries()
    sizes = np.ones((len(source), 2))
    seen = 0
    with torch.inference_mode(), capture(model.network, [layer], tap=tap) as run:
        for batch in _batches(source, job):
            progress(f"{layer}: pictures", seen, len(source))
            pixels = model.preprocess.stack([picture.pixels for picture in batch if picture.pixels is not None])
            tensor = run(model.preprocess.normalise(pixels.to(model.device)))[layer]
            index = np.array([picture.index for picture in batch])
            sizes[index] = [(picture.width, picture.height) for picture in batch]
            tally.add(tensor, index, np.array([entries[i].label for i in index]))
            seen += len(batch)
    if not seen:
        raise DataError(f"none of the pictures of {source.name} can be read, so there is nothing to study units by")
    progress(f"{layer}: pictures", len(source), len(source))
    return _told(job, source, layer, shape, tally, sizes, seen, progress)


def _batches(source: ImageSource, job: Job) -> Iterator[list[Picture]]:
    workers = worker_count("auto")
    reading = read_pictures(
        source, job.model.preprocess, range(len(source)), workers=workers, ahead=_BATCH, bursts=True
    )
    good = (picture for picture in reading if picture.pixels is not None)
    while batch := list(itertools.islice(good, _BATCH)):
        yield batch


def _told(
    job: Job,
    source: ImageSource,
    layer: str,
    shape: LayerShape,
    tally: _Tally,
    sizes: NDArray[np.float64],
    seen: int,
    progress: Progress,
) -> Evidence:
    model, tap = job.model, job.config.extract.tap
    top_image, top_value = _padded(tally.images.T.numpy(), -1), _padded(tally.values.T.numpy(), np.nan)
    places = _padded(tally.places.T.numpy(), 0)
    field = patch_field(model, layer, shape, tap=tap)
    boxes = model.preprocess.to_picture_boxes(
        field.boxes(places.ravel()), sizes[top_image.ravel(), 0], sizes[top_image.ravel(), 1]
    ).reshape(*top_image.shape, 4)
    sampled = torch.cat(tally.sampled).numpy()
    edges, counts = histograms(sampled)
    twin, likeness = nearest_twins(sampled)
    with np.errstate(invalid="ignore"):
        by_class = (tally.sums / tally.pictures[:, None]).T
    patches = _cut(source, top_image, boxes, prefix=layer, progress=progress)
    effects = None
    if model.is_classifier:
        effects = _effects(job, source, layer, shape, top_image[:, :_FEEDING], progress)
    return Evidence(
        seen,
        tuple(entry.id for entry in source.entries()),
        source.classes,
        model.outputs,
        tally.lowest.numpy(),
        tally.highest.numpy(),
        (sampled > 0).mean(0).astype(np.float32),
        edges,
        counts,
        top_image,
        top_value,
        boxes,
        patches,
        by_class.astype(np.float32),
        effects,
        twin,
        likeness,
    )


def _padded(values: NDArray[Any], fill: float) -> NDArray[Any]:
    """(channels, k) with k at most TOP -> (channels, TOP)."""
    return np.pad(values, ((0, 0), (0, TOP - values.shape[1])), constant_values=fill)


def histograms(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Each column's histogram from its lowest to its highest value: (n, channels) -> edges, counts."""
    low, high = values.min(0), values.max(0)
    wide = np.where(high > low, high - low, 1)
    bins = ((values - low) / wide * BINS).astype(np.int64).clip(0, BINS - 1)
    flat = bins + BINS * np.arange(values.shape[1])
    counts = np.bincount(flat.ravel(), minlength=BINS * values.shape[1]).reshape(-1, BINS)
    edges = low[:, None] + wide[:, None] * np.linspace(0, 1, BINS + 1)
    return edges.astype(np.float32), counts


def nearest_twins(values: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each column the other that it correlates with the most, and Pearson's r; -1 and 0 where one never varies."""
    centred = values.astype(np.float64) - values.mean(0, dtype=np.float64)
    lengths = np.linalg.norm(centred, axis=0)
    lives = lengths > 1e-9 * np.abs(values).max(initial=1e-300) * np.sqrt(len(values))
    unit = centred / np.where(lives, lengths, np.inf)
    alike = unit.T @ unit
    np.fill_diagonal(alike, -2)
    twin = alike.argmax(1) if len(alike) > 1 else np.full(len(alike), -1)
    likeness = np.where(lives & (twin >= 0), alike.max(1, initial=-2), 0)
    return np.where(lives, twin, -1), likeness.astype(np.float32)


def _cut(
    source: ImageSource, images: NDArray[np.int64], boxes: NDArray[np.float32], *, prefix: str, progress: Progress
) -> NDArray[np.uint8]:
    """The patches, each picture read once."""
    patches = np.full((*images.shape, _PATCH, _PATCH, 3), 128, np.uint8)
    wanted = np.unique(images[images >= 0])
    for number, image in enumerate(wanted.tolist()):
        progress(f"{prefix}: patches", number, len(wanted))
        picture = source.read(image)
        for channel, rank in np.argwhere(images == image):
            patches[channel, rank] = cut_patch(picture, boxes[channel, rank], _PATCH)
    progress(f"{prefix}: patches", len(wanted), len(wanted))
    return patches


def _effects(
    job: Job, source: ImageSource, layer: str, shape: LayerShape, images: NDArray[np.int64], progress: Progress
) -> NDArray[np.float32] | None:
    model, tap = job.model, job.config.extract.tap
    wanted = np.unique(images[images >= 0])
    pixels = {int(i): model.preprocess.picture(source.read(int(i))) for i in wanted}
    rows = [(channel, int(image)) for channel, some in enumerate(images) for image in some if image >= 0]
    total, counts = np.zeros((len(images), len(model.outputs))), np.zeros(len(images))
    for start in range(0, len(rows), _BATCH):
        progress(f"{layer}: effects", start, len(rows))
        some = rows[start : start + _BATCH]
        batch = model.preprocess.normalise(model.preprocess.stack([pixels[image] for _, image in some]))
        channels = torch.tensor([channel for channel, _ in some])
        found = channel_effects(model, batch.to(model.device), layer, shape, channels, tap=tap)
        if found is None:
            return None
        np.add.at(total, channels.numpy(), found.cpu().numpy())
        np.add.at(counts, channels.numpy(), 1)
    progress(f"{layer}: effects", len(rows), len(rows))
    return (total / np.maximum(counts, 1)[:, None]).astype(np.float32)
