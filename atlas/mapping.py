"""A layer of a store to a layer of a map: laid out, gridded, its cells described."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atlas.config import fingerprint
from atlas.errors import ConfigError
from atlas.job import ENGINE, Job
from atlas.layouts import bin_into_cells, compute_layout, describe_cells, measure_levels
from atlas.records import CellStatistics, Layout, Level, Progress, prefixed
from atlas.storage import ActivationStore
from atlas.storage.files import written_beside


@dataclass(frozen=True)
class MappedLayer:
    """A layer laid out and gridded: one Level with its statistics for each level, coarsest first."""

    index: int
    name: str
    layout: Layout
    levels: tuple[Level, ...]
    statistics: tuple[CellStatistics, ...]

    def patch_rows(self) -> NDArray[np.int64]:
        """Sample rows that some cell shows as a real patch, ascending."""
        rows = np.unique(np.concatenate([s.patches.ravel() for s in self.statistics]))
        return rows[rows >= 0]


def check_rows(job: Job, name: str, kinds: Sequence[str]) -> None:
    """Raise ConfigError where a layer has no rows of the kind that is to be laid out."""
    kind = job.config.layout.rows
    if kind not in kinds:
        known = ", ".join(kinds)
        raise ConfigError(f"layer '{name}' has no rows of kind '{kind}': set layout.rows to one of {known}")


def map_layer(job: Job, store: ActivationStore, index: int, work: Path, progress: Progress) -> MappedLayer:
    """Lay one layer out and grid it; the layout is kept in the working folder."""
    config = job.config
    name = config.model.layers[index]
    stored = store.layers[name]
    kind = config.layout.rows
    check_rows(job, name, stored.kinds)
    key = fingerprint(
        [ENGINE, store.fingerprint, name, config.layout.model_dump(), config.run.seed, config.run.deterministic]
    )
    cached = work / f"layout-{key}.npz"
    layout = _read_layout(cached)
    if layout is None:
        layout = compute_layout(
            store,
            layer=name,
            kind=kind,
            method=config.layout.method,
            neighbors=config.layout.neighbors,
            metric=config.layout.metric,
            fit=config.layout.fit,
            seed=config.run.seed,
            deterministic=config.run.deterministic,
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
            return Layout(arrays["positions"], arrays["state"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _save_layout(path: Path, layout: Layout) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(path) as beside, beside.open("wb") as file:
        np.savez(file, positions=layout.positions, state=layout.state)
