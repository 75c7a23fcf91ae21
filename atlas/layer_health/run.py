"""One pass over a dataset, or two, and what they say of every block."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from atlas.config import expand_path
from atlas.datasets import ImageSource, load_manifest, take
from atlas.errors import ConfigError, DataError, LayerError
from atlas.extraction.reading import read_pictures, worker_count
from atlas.findings.health import Gap, Rounding, Units, judge, separability_gap
from atlas.findings.health_record import Health, Other
from atlas.findings.health_told import unusual
from atlas.job import Job, open_job
from atlas.layer_health.passes import gradient_norms, rounding_costs
from atlas.models import Model, as_grid, resolve_device
from atlas.models.capture import find_module, first_tensor
from atlas.models.layers import Call, classify_calls, record_calls
from atlas.records import LayerShape, Progress, silent

_BATCH = 64
_SOME = 4  # zeros, and values at the end of their range, are counted in every fourth picture of a batch
_BLOCK = 6  # leaves of a Sequential that make one block, as convolution, norm and ReLU do


class _Tally:
    """What one block's outputs were, batch by batch."""

    def __init__(self, shape: LayerShape) -> None:
        self.shape = shape
        self.pooled: list[torch.Tensor] = []
        self.low = self.high = torch.empty(0)
        self.at_high = torch.zeros(shape.channels, dtype=torch.int64)
        self.zeros = self.values = self.bytes = 0
        self.norm = self.seconds = 0.0
        self.started = 0.0

    def add(self, tensor: torch.Tensor) -> None:
        grid = as_grid(tensor, self.shape)
        # Over pictures first, in rows of all positions and channels: a fifteenth of the time of amax((0, 1)).
        wide = grid.reshape(len(grid), -1)
        low, high = (reduced.view(-1, self.shape.channels) for reduced in (wide.amin(0), wide.amax(0)))
        low, high = low.amin(0), high.amax(0)
        some = grid[::_SOME]
        equal = (some == high).sum((0, 1)).cpu()
        low, high = low.double().cpu(), high.double().cpu()
        if not len(self.low):
            self.low, self.high, self.at_high = low, high, equal
        else:
            kept = torch.where(self.high >= high, self.at_high, 0)
            self.at_high = kept + torch.where(high >= self.high, equal, 0)
            self.low, self.high = torch.minimum(self.low, low), torch.maximum(self.high, high)
        self.zeros += int((some == 0).sum())
        self.values += some.numel()
        self.norm += float(torch.linalg.vector_norm(wide.float(), dim=1).sum())
        self.bytes = tensor.numel() * tensor.element_size() // len(tensor)
        self.pooled.append(grid.mean(1).float().cpu())

    @property
    def rows(self) -> NDArray[np.float32]:
        """The pooled vectors of all pictures, (images, channels)."""
        found: NDArray[np.float32] = torch.cat(self.pooled).numpy()
        return found

    def units(self, images: int, timed: bool) -> Units:
        positions = self.values / self.shape.channels
        return Units(
            self.low.numpy(),
            self.high.numpy(),
            self.at_high.double().numpy() / positions,
            self.zeros / self.values,
            self.norm / images,
            self.bytes,
            self.seconds if timed else None,
        )


def health(
    pipeline: str | Path,
    *,
    images: int = 2000,
    layers: Sequence[str] = (),
    probe: bool = True,
    gradients: int = 256,
    rounded: int = 128,
    trained: str | Path | None = None,
    held_out: str | Path | None = None,
    overrides: Sequence[str] = (),
    progress: Progress = silent,
) -> Health:
    """Run a pipeline's pictures once through its network and say how its blocks are.

    images: at most so many, drawn evenly over classes. layers: by default all blocks, found by `blocks_of`. probe:
    also a linear classifier at each block, seconds apiece. gradients: on so many pictures also the gradient of the
    loss at each block. rounded: on so many also what rounding each block costs in accuracy, two passes apiece; 0
    leaves either out. trained, held_out: a manifest of pictures that the network was trained on, or that it was not,
    whichever the pipeline's own are not: then the gap between them is told. Raises DataError where no picture can be
    read, or the second manifest has no class in common; LayerError for a layer that does not exist or has no units;
    ConfigError and ModelError.
    """
    if trained is not None and held_out is not None:
        raise ConfigError("the pipeline's pictures are one side of the gap: name either trained or held_out, not both")
    job = open_job(pipeline, overrides)
    model = job.model.to(resolve_device(job.config.run.device))
    seed = job.config.run.seed
    tallies = _tallies(model, layers)
    source = take(job.source, min(images, len(job.source)), seed)
    labels, right = _run(job, source, tallies, job.label_to_output, progress)
    costs = _costs(job, source, tallies, gradients if model.is_classifier else 0, rounded, progress)
    other, gaps = None, None
    second = trained if trained is not None else held_out
    if second is not None:
        other, gaps = _second(job, Path(second), trained is not None, tallies, labels, images, probe, progress)
    timed = model.device.type == "cpu"
    totals = sum(tally.bytes for tally in tallies.values()), sum(tally.seconds for tally in tallies.values())
    found = []
    for number, (name, tally) in enumerate(tallies.items()):
        progress("judge layers", number, len(tallies))
        pooled = tally.rows
        tally.pooled.clear()
        kind = type(find_module(model.network, name)).__name__
        units = tally.units(len(labels), timed)
        slope, rounding = costs[name]
        found.append(
            judge(
                name, kind, units, pooled, labels, totals=totals, probe=probe, seed=seed, gradient=slope,
                rounding=rounding, gap=None if gaps is None else gaps[name],
            )
        )  # fmt: skip
    progress("judge layers", len(tallies), len(tallies))
    return Health(
        model.name,
        model.weights_hash,
        job.source.name,
        len(labels),
        right,
        tuple(found),
        tuple(unusual(found)),
        other,
    )


def _tallies(model: Model, layers: Sequence[str]) -> dict[str, _Tally]:
    size = model.preprocess.input_shape
    if size is None:
        raise LayerError(f"{model.name}: its preprocessing fixes no input size: add crop to [model.preprocess]")
    calls = record_calls(model.network, size, model.device)
    shapes = classify_calls(model.network, calls, size)
    tallies = {}
    for name in list(layers) or blocks_of(model, calls, shapes):
        find_module(model.network, name, model.name)
        shape = shapes.get(name)
        if shape is None:
            raise LayerError(
                f"layer '{name}' of {model.name} has no units to judge, or runs several times: choose another"
            )
        tallies[name] = _Tally(shape)
    return tallies


def _costs(
    job: Job, source: ImageSource, tallies: dict[str, _Tally], gradients: int, rounded: int, progress: Progress
) -> dict[str, tuple[float | None, Rounding | None]]:
    """For each block the gradient and the cost of rounding; None where they were not asked for."""
    model = job.model
    if not model.is_classifier:  # an encoder has neither loss nor predictions
        return dict.fromkeys(tallies, (None, None))
    slopes: dict[str, float] = {}
    roundings: dict[str, Rounding] = {}
    if gradients:
        slopes = gradient_norms(model, list(tallies), _batches(job, source, gradients), progress)
    if rounded:
        largest = {name: float(torch.maximum(-t.low, t.high).max().clamp(min=0)) for name, t in tallies.items()}
        roundings = rounding_costs(model, largest, _batches(job, source, rounded), progress)
    return {name: (slopes.get(name), roundings.get(name)) for name in tallies}


def _batches(job: Job, source: ImageSource, images: int) -> list[tuple[torch.Tensor, NDArray[np.int64]]]:
    """Some pictures, drawn evenly over classes, normalised, with the outputs that their labels mean."""
    model, some = job.model, take(source, min(images, len(source)), job.config.run.seed)
    labels = np.array([entry.label for entry in some.entries()])
    pictures = read_pictures(some, model.preprocess, range(len(some)), workers=worker_count("auto"), ahead=_BATCH)
    good = [(picture.pixels, labels[picture.index]) for picture in pictures if picture.pixels is not None]
    found = []
    for start in range(0, len(good), _BATCH):
        pixels, own = zip(*good[start : start + _BATCH], strict=True)
        batch = model.preprocess.normalise(model.preprocess.stack(pixels).to(model.device))
        found.append((batch, _as_outputs(np.array(own), job.label_to_output)))
    return found


def _as_outputs(labels: NDArray[np.int64], table: NDArray[np.int32] | None) -> NDArray[np.int64]:
    if table is None:
        return np.full(len(labels), -1)
    return np.where(labels >= 0, table[labels], -1).astype(np.int64)


def _second(
    job: Job,
    manifest: Path,
    trained: bool,
    tallies: dict[str, _Tally],
    labels: NDArray[np.int64],
    images: int,
    probe: bool,
    progress: Progress,
) -> tuple[Other, dict[str, Gap | None]]:
    """The same pass over a second dataset, and each block's gap between the two."""
    whole = load_manifest(expand_path(str(manifest), Path.cwd()))
    known = {name: index for index, name in enumerate(job.source.classes)}
    own = np.array([known.get(name, -1) for name in whole.classes], np.int64)
    if not (own >= 0).any():
        raise DataError(f"{manifest} has no class in common with {job.source.name}, so there is no gap to tell")
    others = {name: _Tally(tally.shape) for name, tally in tallies.items()}
    source = take(whole, min(images, len(whole)), job.config.run.seed)
    table = job.label_to_output
    there = None if table is None else np.where(own >= 0, table[own], -1).astype(np.int32)
    given, right = _run(job, source, others, there, progress, "other pictures")
    given = np.where(given >= 0, own[given], -1)
    gaps: dict[str, Gap | None] = {}
    for number, name in enumerate(tallies):
        progress("gaps", number, len(tallies))
        sides = [(tallies[name].rows, labels), (others[name].rows, given)]
        first, last = reversed(sides) if trained else sides
        gaps[name] = separability_gap(*first, *last, probe=probe, seed=job.config.run.seed)
    progress("gaps", len(tallies), len(tallies))
    return Other(whole.name, len(given), right, trained), gaps


def _run(
    job: Job,
    source: ImageSource,
    tallies: dict[str, _Tally],
    outputs: NDArray[np.int32] | None,
    progress: Progress,
    stage: str = "pictures",
) -> tuple[NDArray[np.int64], float | None]:
    """One pass. Returns the labels of the pictures that could be read, and the accuracy on them.

    outputs: for each label the network's output that means it, -1 for none.
    """
    model = job.model
    entries, hits, known = source.entries(), 0, 0
    labels: list[int] = []
    workers = worker_count("auto")
    pictures = read_pictures(source, model.preprocess, range(len(source)), workers=workers, ahead=_BATCH, bursts=True)
    good = (picture for picture in pictures if picture.pixels is not None)
    with torch.inference_mode(), _Watching(model.network, tallies):
        while batch := list(itertools.islice(good, _BATCH)):
            progress(stage, len(labels), len(source))
            pixels = model.preprocess.stack([picture.pixels for picture in batch if picture.pixels is not None])
            output = model.network(model.preprocess.normalise(pixels.to(model.device)))
            truth = np.array([entries[picture.index].label for picture in batch])
            labels += truth.tolist()
            wanted = _as_outputs(truth, outputs)
            if model.is_classifier and (wanted >= 0).any():
                said = model.check_logits(output).argmax(1).cpu().numpy()
                hits += int((said == wanted)[wanted >= 0].sum())
                known += int((wanted >= 0).sum())
    if not labels:
        raise DataError(f"none of the pictures of {source.name} can be read, so there is nothing to judge by")
    progress(stage, len(source), len(source))
    return np.array(labels, np.int64), hits / known if known else None


class _Watching:
    """Hooks that time each block and hand its output to its tally; gone when the block ends."""

    def __init__(self, network: nn.Module, tallies: dict[str, _Tally]) -> None:
        self._network, self._tallies = network, tallies
        self._handles: list[Any] = []

    def __enter__(self) -> None:
        for name, tally in self._tallies.items():
            module = find_module(self._network, name)

            def before(_module: nn.Module, _args: Any, tally: _Tally = tally) -> None:
                tally.started = time.perf_counter()

            def after(_module: nn.Module, _args: Any, output: Any, tally: _Tally = tally) -> None:
                tally.seconds += time.perf_counter() - tally.started
                tensor = first_tensor(output)
                assert tensor is not None
                tally.add(tensor)

            self._handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]

    def __exit__(self, *_: object) -> None:
        while self._handles:
            self._handles.pop().remove()


def blocks_of(model: Model, calls: Sequence[Call], shapes: dict[str, LayerShape | None]) -> list[str]:
    """Names of a network's blocks, in the order in which they run, none inside another.

    Containers (Sequential, ModuleList) are opened, but a Sequential of at most 6 plain layers is one block; any other
    module with parameters is a block. Only what runs once and has units is listed.
    """
    order = {call.layer: number for number, call in enumerate(calls)}
    found: list[str] = []

    def visit(prefix: str, module: nn.Module) -> None:
        for name, child in module.named_children():
            full = f"{prefix}{name}"
            plain = not any(True for part in child.children() for _ in part.children())
            opened = isinstance(child, nn.Sequential | nn.ModuleList | nn.ModuleDict) and not (
                isinstance(child, nn.Sequential) and plain and 1 < len(child) <= _BLOCK
            )
            if opened or full not in order or shapes.get(full) is None:
                visit(f"{full}.", child)
            elif any(True for _ in child.parameters()):
                found.append(full)

    visit("", model.network)
    if not found:
        raise LayerError(f"{model.name} has no blocks that run once and have units: name layers with --layer")
    return sorted(found, key=order.__getitem__)
