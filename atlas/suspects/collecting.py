"""What candidates are found from: an atlas's stored samples, or with the network at hand its maps tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

from atlas.errors import StoreError
from atlas.findings.suspect_candidates import Samples
from atlas.models import as_grid
from atlas.models.capture import Watch
from atlas.models.effects import plain_attention
from atlas.records import Progress, RowKind
from atlas.storage.tables import read_arrays, write_arrays
from atlas.suspects.probe import Probe
from atlas.suspects.sameness import colours
from atlas.suspects.subject import Subject

TILES = 8
"""Tiles a side whose means are kept of a map: a mark that is an eighth of a picture wide fills one."""
EFFECTS = 32
"""Classes up to which the effect of every tile on every class is computed: each takes a pass back from the logits."""
READERS = 4
LARGEST = 65504  # of float16, as in a store


def stored_samples(subject: Subject) -> Samples:
    """The samples of the atlas's layer as they are in its store."""
    layer = subject.store.layer(subject.layer.name)
    kind: RowKind = "positions" if "positions" in layer.kinds else "mean"
    rows = np.asarray(layer.rows(kind)[:], np.float32)
    pooled = np.asarray(layer.rows("mean")[:], np.float32) if "mean" in layer.kinds else _mean_rows(subject, rows)
    peak = np.asarray(layer.rows("max")[:], np.float32) if "max" in layer.kinds else pooled
    known = layer.effects(kind)
    effects = None
    if known is not None and len(known.sample_rows) == len(rows) and known.classes.shape[1] >= len(subject.classes):
        effects = np.zeros((len(rows), len(subject.store.outputs)), np.float32)
        np.put_along_axis(effects, known.classes, known.values, axis=1)
    return _samples(subject, rows, layer.image_of(kind), layer.uv(kind), pooled, peak, effects)


def _mean_rows(subject: Subject, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    image = subject.store.layer(subject.layer.name).image_of("positions")
    sums = np.zeros((len(subject.store), rows.shape[1]), np.float64)
    np.add.at(sums, image, rows)
    return (sums / np.maximum(np.bincount(image, minlength=len(sums)), 1)[:, None]).astype(np.float32)


def dense_samples(subject: Subject, memory: float, kept: Path, progress: Progress) -> list[Samples]:
    """Run every image through the network, keep the means of tiles of each probe's layer, and the picture's colours.

    memory: GB that the tiles of all layers may take; there are fewer of them where it does not suffice. kept: a file
    where the result is left, so that a run that was stopped does not read the pictures again.
    """
    sides = _sides(subject, memory)
    if kept.exists():
        names = [f"{number}/{name}" for number in range(len(sides)) for name in ("rows", "pooled", "peak")]
        arrays = read_arrays(kept, [*names, "effects", "plain"])
    else:
        arrays = _run(subject, sides, progress)
        write_arrays(kept, arrays)
    found = []
    for number, (high, wide) in enumerate(sides):
        rows, pooled, peak = (arrays[f"{number}/{name}"].astype(np.float32) for name in ("rows", "pooled", "peak"))
        v, u = np.meshgrid((np.arange(high) + 0.5) / high, (np.arange(wide) + 0.5) / wide, indexing="ij")
        where = np.tile(np.stack([u.ravel(), v.ravel()], axis=1).astype(np.float32), (len(pooled), 1))
        image = np.repeat(np.arange(len(pooled)), high * wide)
        effects = arrays["effects"].astype(np.float32) if number == len(sides) - 1 and len(arrays["effects"]) else None
        plain = arrays["plain"].astype(np.float32) if number == 0 else None
        found.append(_samples(subject, rows, image, where, pooled, peak, effects, plain))
    return found


def _samples(
    subject: Subject,
    rows: NDArray[np.float32],
    image: NDArray[np.int64],
    where: NDArray[np.float32],
    pooled: NDArray[np.float32],
    peak: NDArray[np.float32],
    effects: NDArray[np.float32] | None,
    plain: NDArray[np.float32] | None = None,
) -> Samples:
    return Samples(
        rows=rows,
        image=image,
        where=where,
        pooled=pooled,
        peak=peak,
        label=subject.label,
        prediction=subject.prediction,
        confidence=subject.confidence,
        effects=effects,
        classes=subject.classes,
        plain=plain,
    )


def _sides(subject: Subject, memory: float) -> list[tuple[int, int]]:
    """Tiles each way for each probe: TILES, or the map's own positions, or what the memory allows."""
    images, share = len(subject.store), memory * 1e9 / max(1, len(subject.probes))
    found = []
    for probe in subject.probes:
        room = int(np.sqrt(max(1.0, share / (4 * images * probe.shape.channels))))
        most = max(1, min(TILES, room))
        found.append((min(most, probe.shape.height), min(most, probe.shape.width)))
    return found


def _run(subject: Subject, sides: Sequence[tuple[int, int]], progress: Progress) -> dict[str, NDArray[np.float16]]:
    images = len(subject.store)
    names = [f"{number}/{name}" for number in range(len(sides)) for name in ("rows", "pooled", "peak")]
    parts: dict[str, list[NDArray[np.float16]]] = {name: [] for name in [*names, "effects", "plain"]}
    probe = subject.probes[-1]
    with_effects = len(subject.store.outputs) <= EFFECTS
    progress("activations", 0, images)
    with ThreadPoolExecutor(READERS) as readers:
        for start in range(0, images, probe.batch):
            numbers = range(start, min(images, start + probe.batch))
            pictures = np.stack(list(readers.map(probe.read, numbers)))
            batch = probe.model.preprocess.normalise(torch.from_numpy(pictures).to(probe.model.device))
            seen = _seen(subject, sides, batch, with_effects) | {"plain": colours(pictures)}
            for name, values in seen.items():
                parts[name].append(np.clip(values, -LARGEST, LARGEST).astype(np.float16))
            progress("activations", numbers.stop, images)
    empty = np.empty((0, 0), np.float16)
    return {name: np.concatenate(some) if some else empty for name, some in parts.items()}


def _seen(
    subject: Subject, sides: Sequence[tuple[int, int]], batch: torch.Tensor, with_effects: bool
) -> dict[str, NDArray[np.float32]]:
    """One batch: tiles, mean and maximum of every layer, and the last layer's effects."""
    found: dict[str, NDArray[np.float32]] = {}
    network = subject.probes[-1].model.network
    held: dict[int, torch.Tensor] = {}

    def keep(number: int, _: str, tensor: torch.Tensor) -> torch.Tensor | None:
        if number == len(subject.probes) - 1 and with_effects:
            held[number] = tensor.detach().clone().requires_grad_()
            return held[number].clone()  # the network may change it in place
        held[number] = tensor.detach().clone()
        return None

    with torch.inference_mode(False), torch.set_grad_enabled(with_effects), plain_attention(), ExitStack() as watches:
        for number, probe in enumerate(subject.probes):
            watches.enter_context(Watch(network, [probe.layer], partial(keep, number), tap=probe.tap))
        logits = subject.probes[-1].model.check_logits(network(batch.clone()))
        if with_effects:
            found["effects"] = _effects(subject.probes[-1], held[len(sides) - 1], logits, sides[-1])
    for number, (probe, side) in enumerate(zip(subject.probes, sides, strict=True)):
        maps = _as_map(held[number].detach(), probe)
        found[f"{number}/rows"] = _tiles(maps, side)
        found[f"{number}/pooled"] = maps.mean((2, 3)).float().cpu().numpy()
        found[f"{number}/peak"] = maps.amax((2, 3)).float().cpu().numpy()
    return found


def _effects(probe: Probe, maps: torch.Tensor, logits: torch.Tensor, side: tuple[int, int]) -> NDArray[np.float32]:
    """Of each tile on each class: the sum over its positions of slope times activation. (tiles, classes)"""
    if not logits.requires_grad:
        raise StoreError(f"the logits do not depend on layer '{probe.layer}': choose a layer on the way to the output")
    columns = []
    for index in range(logits.shape[1]):
        (slope,) = torch.autograd.grad(logits[:, index].sum(), maps, retain_graph=True)
        product = _as_map(slope * maps.detach(), probe).sum(1, keepdim=True)
        share = product.shape[2] * product.shape[3] / (side[0] * side[1])
        columns.append(_tiles(product, side)[:, 0] * np.float32(share))
    return np.stack(columns, axis=1)


def _as_map(tensor: torch.Tensor, probe: Probe) -> torch.Tensor:
    grid = as_grid(tensor, probe.shape)
    return grid.transpose(1, 2).reshape(len(grid), -1, probe.shape.height, probe.shape.width)


def _tiles(maps: torch.Tensor, side: tuple[int, int]) -> NDArray[np.float32]:
    """(n, channels, height, width) -> (n * tiles, channels), each image's tiles line by line."""
    tiles = adaptive_avg_pool2d(maps, side).flatten(2).transpose(1, 2).flatten(0, 1)
    found: NDArray[np.float32] = tiles.float().cpu().numpy()
    return found
