"""A layer of a store to a layer of a map: laid out, gridded, its cells described."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.config import LayoutConfig, fingerprint
from atlas.errors import ConfigError, nearest
from atlas.job import ENGINE, Job
from atlas.layouts import bin_into_cells, compute_layout, describe_cells, layout_between, measure_levels
from atlas.records import STATES, CellStatistics, Layout, Level, Progress, prefixed
from atlas.storage import ActivationStore
from atlas.storage.files import written_beside
from atlas.storage.sheets import reading_order


@dataclass(frozen=True)
class MappedLayer:
    """A layer laid out and gridded: one Level with its statistics for each level, coarsest first."""

    index: int
    name: str
    layout: Layout
    levels: tuple[Level, ...]
    statistics: tuple[CellStatistics, ...]

    def patch_rows(self) -> NDArray[np.int64]:
        """Sample rows that some cell shows as a real patch, those of a cell together."""
        levels = zip(self.levels, self.statistics, strict=True)
        return reading_order((level.column, level.row, statistics.patches) for level, statistics in levels)


def check_rows(job: Job, name: str, kinds: Sequence[str]) -> None:
    """Raise ConfigError where a layer has no rows of the kind that is to be laid out."""
    kind = job.config.layout.rows
    if kind not in kinds:
        known = ", ".join(kinds)
        raise ConfigError(f"layer '{name}' has no rows of kind '{kind}': set layout.rows to one of {known}")


def map_layers(
    job: Job, store: ActivationStore, work: Path, progress: Progress, kept: Sequence[Layout] = ()
) -> list[MappedLayer]:
    """Lay all layers out and grid them, each layout started from the one before and turned onto it.

    kept: layouts of the first layers that an unfinished atlas holds already; what is added must be of the same map.
    """
    mapped: list[MappedLayer] = []
    for index in range(len(job.config.model.layers)):
        before = mapped[-1].layout if mapped else None
        there = kept[index] if index < len(kept) else None
        mapped.append(_map_layer(job, store, index, before, there, work, progress))
    return mapped


def _map_layer(
    job: Job,
    store: ActivationStore,
    index: int,
    before: Layout | None,
    there: Layout | None,
    work: Path,
    progress: Progress,
) -> MappedLayer:
    """Lay one layer out and grid it; the layout is kept in the working folder."""
    config = job.config
    name = config.model.layers[index]
    stored = store.layers[name]
    kind = config.layout.rows
    check_rows(job, name, stored.kinds)
    start = followed(config.layout, before, stored.rows(kind).shape[0])
    key = fingerprint(
        [
            *(ENGINE, store.fingerprint, name, config.layout.model_dump(), config.run.seed, config.run.deterministic),
            None if start is None else blake2b(np.ascontiguousarray(start).tobytes()).hexdigest(),
        ]
    )
    cached = work / f"layout-{key}.npz"
    layout = there if there is not None else _read_layout(cached)
    if layout is None:
        run = job.config.run
        layout = lay_out(
            store,
            name,
            config.layout,
            start,
            seed=run.seed,
            deterministic=run.deterministic,
            device=run.device,
            progress=prefixed(progress, f"{name}: "),
        )
        _save_layout(cached, layout)
    levels = _grid(job, layout, stored.image_of(kind))
    statistics = _describe(job, store, name, levels, progress)
    # A cell of silent positions only (all zero behind a ReLU) has no direction, and so no icon.
    levels = tuple(
        replace(level, kept=level.kept & found.mean.any(axis=1))
        for level, found in zip(levels, statistics, strict=True)
    )
    return MappedLayer(index, name, layout, levels, statistics)


def followed(config: LayoutConfig, before: Layout | None, rows: int) -> NDArray[np.float32] | None:
    """Where a layer's layout starts from: the one before it, where that has the same samples and is to be followed."""
    follows = config.follow and before is not None and len(before.positions) == rows
    # With rows chosen by effect there is a map of its own for each layer.
    return before.positions if before is not None and follows and not config.between else None


def lay_out(
    store: ActivationStore,
    name: str,
    config: LayoutConfig,
    start: NDArray[np.float32] | None,
    *,
    seed: int,
    deterministic: bool,
    device: str,
    progress: Progress,
) -> Layout:
    """The layout that a pipeline asks for; rows of other classes have no place and the state "other"."""
    image_of = store.layers[name].image_of(config.rows)
    told: dict[str, Any] = {
        "layer": name,
        "neighbors": config.neighbors,
        "metric": config.metric,
        "seed": seed,
        "deterministic": deterministic,
        "progress": progress,
    }
    if config.between:
        layout, rows = layout_between(store, config.between[0], config.between[1], **told)
    else:
        rows = rows_of_classes(store, image_of, config.classes)
        begin = None if start is None else start[rows]
        layout = compute_layout(
            store,
            kind=config.rows,
            select=rows,
            method=config.method,
            fit=config.fit,
            start=begin,
            device=device,
            **told,
        )
    if len(rows) == len(image_of):
        return layout
    positions = np.full((len(image_of), 2), np.nan, np.float32)
    state = np.full(len(image_of), STATES.index("other"), np.uint8)
    positions[rows], state[rows] = layout.positions, layout.state
    return replace(layout, positions=positions, state=state)


def mean_of(level: Level, statistics: CellStatistics) -> NDArray[np.float32]:
    """The mean activation of all samples on a level: what icons are told apart by. float32 (channels,)"""
    cells = statistics.mean.astype(np.float64)
    found: NDArray[np.float32] = np.average(cells, axis=0, weights=level.samples).astype(np.float32)
    return found


def rows_of_classes(store: ActivationStore, image_of: NDArray[np.int64], classes: Sequence[str]) -> NDArray[np.int64]:
    """Rows whose images have one of these labels, all rows without any. Raises ConfigError for an unknown class."""
    if not classes:
        return np.arange(len(image_of))
    known = {name: i for i, name in enumerate(store.classes)}
    for name in classes:
        if name not in known:
            raise ConfigError(f"{store.path} has no class '{name}'{nearest(name, known)}")
    return np.flatnonzero(np.isin(store.images.label[image_of], [known[name] for name in classes]))


def _grid(job: Job, layout: Layout, image_of: NDArray[np.int64]) -> tuple[Level, ...]:
    levels, least = job.config.grid.levels, job.config.grid.min_images
    count = measure_levels(layout, image_of, min_images=least) if levels == "auto" else levels
    return tuple(bin_into_cells(layout, image_of, level=z, min_images=least) for z in range(count))


def _describe(
    job: Job, store: ActivationStore, name: str, levels: Sequence[Level], progress: Progress
) -> tuple[CellStatistics, ...]:
    kind = job.config.layout.rows
    stored, images = store.layers[name], store.images
    image_of, effects = stored.image_of(kind), stored.effects(kind)
    return tuple(
        describe_cells(
            level,
            stored.rows(kind),
            image_of,
            labels=images.label,
            predictions=images.prediction if store.aligned else None,
            confidence=images.confidence,
            effects=effects,
            classes=len(store.classes),
            progress=prefixed(progress, f"{name} level {level.level}: "),
        )
        for level in levels
    )


def _read_layout(path: Path) -> Layout | None:
    """Return a kept layout; an absent one is None, and so is one that a crash or a hand has damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Layout(arrays["positions"], arrays["state"], str(arrays["engine"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _save_layout(path: Path, layout: Layout) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(path) as beside, beside.open("wb") as file:
        np.savez(file, positions=layout.positions, state=layout.state, engine=np.array(layout.engine))
