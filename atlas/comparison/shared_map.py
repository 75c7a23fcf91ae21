"""The shared map as an atlas: one layout and one grid for all networks, each network a layer of its own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.comparison.borrowed import Borrowed, IconShelf, PatchShelf
from atlas.comparison.figures import Account
from atlas.comparison.pairing import Pair
from atlas.comparison.rendering import render_network
from atlas.findings import cell_trust, measure_quality
from atlas.layouts import bin_into_cells, describe_cells, measure_levels
from atlas.layouts.fusing import fused_layout
from atlas.records import CellStatistics, LayerQuality, Layout, Level, Progress, prefixed
from atlas.storage import AtlasWriter
from atlas.storage.atlas import Atlas
from atlas.storage.sheets import reading_order, sheet_name

if TYPE_CHECKING:
    from atlas.job import Job

MIN_IMAGES = 5
"""Images below which a cell has no icon, as in a pipeline without a word on it."""


@dataclass(frozen=True)
class MappedNetwork:
    """One network on the shared grid: what each cell of each level holds in it, coarsest level first.

    borrowed: each level's icons from the network's own atlas; None where `job` renders the cells' own.
    """

    pair: Pair
    statistics: tuple[CellStatistics, ...]
    borrowed: tuple[Borrowed | None, ...]
    job: Job | None = None


@dataclass(frozen=True)
class SharedMap:
    """The layout of the common samples, float32 (samples, 2) and states, with its levels.

    image_of: int64 (samples,), the image of each; labels int32 (images,) below `classes`, -1 for none: the first
    network's, whose images they are.
    """

    layout: Layout
    levels: tuple[Level, ...]
    image_of: NDArray[np.int64]
    labels: NDArray[np.int32]
    classes: int


def lay_out_together(
    accounts: Sequence[Account],
    image_of: NDArray[np.int64],
    there: Layout | None,
    seed: int,
    progress: Progress,
    *,
    threads: int,
) -> SharedMap:
    """One place for each sample, started from the first network's own map; `there`: a layout already made."""
    network = accounts[0].pair.network
    first = network.mapped
    assert first is not None
    layout = there
    if layout is None:
        rows, graphs = [one.rows for one in accounts], [one.near for one in accounts]
        start = first.layout.positions if np.isfinite(first.layout.positions).any() else None
        layout = fused_layout(rows, graphs, start=start, seed=seed, threads=threads, progress=progress)
    count = measure_levels(layout, image_of, min_images=MIN_IMAGES)
    levels = (bin_into_cells(layout, image_of, level=z, min_images=MIN_IMAGES) for z in range(count))
    store = network.store
    return SharedMap(layout, tuple(levels), image_of, store.images.label, len(store.classes))


def map_network(
    pair: Pair, shared: SharedMap, progress: Progress, job: Job | None = None, rendered: int = 0
) -> MappedNetwork:
    """Describe every cell as one network has it, with icons of its own atlas.

    job, rendered: what renders the icons of so many of the coarsest levels instead.
    """
    network = pair.network
    store = network.store
    statistics = tuple(
        describe_cells(
            level,
            pair.rows,
            shared.image_of,
            labels=shared.labels,
            predictions=pair.predictions if store.aligned else None,
            confidence=pair.confidence,
            effects=pair.effects,
            classes=shared.classes,
            outputs=len(store.outputs) or None,
            progress=prefixed(progress, f"{network.title} level {level.level}: "),
        )
        for level in shared.levels
    )
    assert network.mapped is not None
    shelf = IconShelf(network.mapped, store.layers[network.layer.name].moments_of(network.kind).mean)
    borrowed = tuple(
        shelf.borrow(level, told.mean) if z >= rendered else None
        for z, (level, told) in enumerate(zip(shared.levels, statistics, strict=True))
    )
    return MappedNetwork(pair, statistics, borrowed, job)


def write_images(writer: AtlasWriter, pair: Pair, progress: Progress) -> None:
    """Write the images as the first network saw them, with its atlas's thumbnails."""
    atlas, images = pair.network.atlas, pair.network.store.images
    assert atlas is not None
    if not writer.has_images():
        writer.write_images(images.ids, images.label, images.prediction, images.confidence, images.width, images.height)
    if not writer.has_thumbnails():
        copy_sheets(atlas, writer, len(images.ids))
        writer.write_thumbnails(lambda _: None, progress=progress)


def copy_sheets(atlas: Atlas, writer: AtlasWriter, images: int) -> None:
    """Copy all sheets of thumbnails as they are; `write_thumbnails` leaves sheets that are there."""
    folder = writer.path / "thumbnails"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(-(-images // 256)):
        shutil.copyfile(atlas.path / "thumbnails" / sheet_name(number), folder / sheet_name(number))


def write_network(
    writer: AtlasWriter,
    index: int,
    mapped: MappedNetwork,
    shared: SharedMap,
    settings: dict[str, Any],
    progress: Progress,
    *,
    first_image: int = 0,
) -> None:
    """Write one network as a layer: samples, patches, levels with icons, and what the map keeps of its neighbours.

    first_image: where the network's images begin in the atlas's table.
    """
    network = mapped.pair.network
    at, stored = network.mapped, network.layer
    assert at is not None
    told = prefixed(progress, f"{network.title}: ")
    order = mapped.pair.rows_at
    uv, box = (v if order is None else v[order] for v in (stored.uv(network.kind), stored.box(network.kind)))
    if not writer.has_samples(index):
        writer.write_layer_samples(
            index,
            name=network.title,
            kind=network.kind,
            channels=stored.shape.channels,
            layout=shared.layout,
            image_of=shared.image_of + first_image,
            uv=uv,
            box=box,
            settings={**settings, "metric": network.metric},
            icon_size=at.icon_size,
            patch_size=at.patch_size,
        )
    if not writer.has_patches(index):
        levels = zip(shared.levels, mapped.statistics, strict=True)
        rows = reading_order((level.column, level.row, held.patches) for level, held in levels)
        writer.write_patches(index, rows, PatchShelf(mapped.pair, shared.image_of, rows).read, progress=told)
    if not writer.has_quality(index):
        writer.write_quality(index, _quality(mapped.pair, shared, int(settings["seed"]), told))
    if mapped.job is not None:
        own = slice(mapped.borrowed.count(None))
        render_network(
            writer, index, mapped.job, network, shared.layout, shared.levels[own], mapped.statistics[own], told
        )
    for level, statistics, borrowed in zip(shared.levels, mapped.statistics, mapped.borrowed, strict=True):
        if borrowed is not None and not writer.has_level(index, level.level, icons=True):
            drawn = replace(level, kept=borrowed.drawn)
            writer.write_level(index, drawn, statistics, borrowed.icons if borrowed.drawn.any() else None)


def _quality(pair: Pair, shared: SharedMap, seed: int, progress: Progress) -> LayerQuality:
    """How much of one network's neighbourhoods the shared map keeps."""
    metric: Any = pair.network.metric
    found = measure_quality(
        pair.rows, shared.layout, shared.image_of, shared.labels, classes=shared.classes, metric=metric,
        levels=shared.levels, seed=seed, progress=progress,
    )  # fmt: skip
    return LayerQuality(
        figures=found.figures(),
        anchors=found.anchors,
        recall=found.recall,
        trust=tuple(cell_trust(shared.levels, found.anchors, found.recall)),
        class_spread=found.classes.spread,
        class_spread_map=found.classes.spread_map,
        class_nearest=found.classes.nearest,
    )
