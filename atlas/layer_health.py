"""The chain behind `atlas health`: one pass over a dataset, and what it says of every block."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from atlas.datasets import take
from atlas.errors import DataError, LayerError
from atlas.extraction.reading import read_pictures, worker_count
from atlas.findings.health import LayerHealth, Units, judge, unusual
from atlas.job import Job, open_job
from atlas.models import Model, as_grid, resolve_device
from atlas.models.capture import find_module, first_tensor
from atlas.models.layers import Call, classify_calls, record_calls
from atlas.records import LayerShape, Progress, silent

_BATCH = 64
_SOME = 4  # zeros, and values at the end of their range, are counted in every fourth picture of a batch
_BLOCK = 6  # leaves of a Sequential that make one block, as convolution, norm and ReLU do


@dataclass(frozen=True)
class Health:
    """What `atlas health` tells. layers: in the order in which they run. findings: sentences."""

    model: str
    images: int
    accuracy: float | None
    layers: tuple[LayerHealth, ...]
    findings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "model": self.model,
            "images": self.images,
            "accuracy": self.accuracy,
            "layers": [layer.to_dict() for layer in self.layers],
            "findings": list(self.findings),
        }

    def table(self) -> list[dict[str, str]]:
        """A line for each layer, for a person."""

        def share(value: float | None) -> str:
            return "" if value is None else f"{value:.0%}"

        return [
            {
                "layer": layer.name,
                "kind": layer.kind,
                "units": f"{layer.channels:,}",
                "dead": str(layer.dead),
                "stuck": str(layer.stuck),
                "zeros": share(layer.sparsity),
                "norm": f"{layer.norm:.3g}",
                "rank": f"{layer.effective_rank:.1f}",
                "nearest mean": share(layer.separability.centroid if layer.separability else None),
                "probe": share(layer.separability.probe if layer.separability else None),
                "on fitted": share(layer.separability.probe_fitted if layer.separability else None),
                "half": share(layer.half),
                "8 bit": share(layer.eight_bit),
                "kB": f"{layer.bytes / 1000:,.1f}",
                "time": share(layer.time_share),
            }
            for layer in self.layers
        ]


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
    overrides: Sequence[str] = (),
    progress: Progress = silent,
) -> Health:
    """Run a pipeline's pictures once through its network and say how its blocks are.

    images: at most so many, drawn evenly over classes. layers: by default all blocks, found by `blocks_of`. probe:
    also a linear classifier at each block, seconds apiece. Raises DataError where no picture can be read, LayerError
    for a layer that does not exist or has no units, ConfigError and ModelError.
    """
    job = open_job(pipeline, overrides)
    model = job.model.to(resolve_device(job.config.run.device))
    size = model.preprocess.input_shape
    if size is None:
        raise LayerError(f"{model.name}: its preprocessing fixes no input size: add crop to [model.preprocess]")
    calls = record_calls(model.network, size, model.device)
    shapes = classify_calls(model.network, calls, size)
    chosen = list(layers) or blocks_of(model, calls, shapes)
    tallies = {}
    for name in chosen:
        find_module(model.network, name, model.name)
        shape = shapes.get(name)
        if shape is None:
            raise LayerError(
                f"layer '{name}' of {model.name} has no units to judge, or runs several times: choose another"
            )
        tallies[name] = _Tally(shape)
    labels, right = _run(job, model, tallies, images, progress)
    timed = model.device.type == "cpu"
    totals = sum(tally.bytes for tally in tallies.values()), sum(tally.seconds for tally in tallies.values())
    found = []
    for number, (name, tally) in enumerate(tallies.items()):
        progress("judge layers", number, len(tallies))
        pooled: NDArray[np.float32] = torch.cat(tally.pooled).numpy()
        tally.pooled.clear()
        kind = type(find_module(model.network, name)).__name__
        units = tally.units(len(labels), timed)
        found.append(judge(name, kind, units, pooled, labels, totals=totals, probe=probe, seed=job.config.run.seed))
    progress("judge layers", len(tallies), len(tallies))
    return Health(model.name, len(labels), right, tuple(found), tuple(unusual(found)))


def _run(
    job: Job, model: Model, tallies: dict[str, _Tally], images: int, progress: Progress
) -> tuple[NDArray[np.int64], float | None]:
    """One pass. Returns the labels of the pictures that could be read, and the accuracy on them."""
    source = take(job.source, min(images, len(job.source)), job.config.run.seed)
    entries, hits, known = source.entries(), 0, 0
    labels: list[int] = []
    workers = worker_count("auto")
    pictures = read_pictures(source, model.preprocess, range(len(source)), workers=workers, ahead=_BATCH, bursts=True)
    batch: list[NDArray[np.uint8]] = []
    waiting: list[int] = []
    with torch.inference_mode(), _Watching(model.network, tallies):
        for picture in itertools.chain(pictures, [None]):  # None: run what is left
            if picture is not None and picture.pixels is not None:
                batch.append(picture.pixels)
                waiting.append(entries[picture.index].label)
            if not batch or (picture is not None and len(batch) < _BATCH):
                continue
            progress("pictures", len(labels), len(source))
            normal = model.preprocess.normalise(model.preprocess.stack(batch).to(model.device))
            output = model.network(normal)
            truth = np.array(waiting)
            labels += waiting
            if model.is_classifier and job.label_to_output is not None:
                said = model.check_logits(output).argmax(1).cpu().numpy()
                labelled = truth >= 0
                hits += int((said[labelled] == job.label_to_output[truth[labelled]]).sum())
                known += int(labelled.sum())
            batch, waiting = [], []
    if not labels:
        raise DataError(f"none of the pictures of {source.name} can be read, so there is nothing to judge by")
    progress("pictures", len(source), len(source))
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
