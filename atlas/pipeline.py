"""The only module that chains the stages: reads a pipeline file, resumes, reports progress.

Beside NAME.atlas stand NAME.store (the activations) and NAME.work (layouts and icons already made).
The working folder may be deleted at any time: what it held is then made again.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.errors import ConfigError, PictureError, StoreError
from atlas.extraction import extract
from atlas.extraction.reading import worker_count
from atlas.job import Job, open_job, origin_of, provenance_of
from atlas.layout_quality import judge_layer
from atlas.mapping import MappedLayer, map_layers, mean_of
from atlas.pictures import PatchCutter
from atlas.records import Icons, Layout, Progress, prefixed, silent
from atlas.rendering import faded, most_alike, render_icons
from atlas.storage import ActivationStore, Atlas, AtlasWriter, open_atlas
from atlas.storage.atlas_header import HEADER, read_header

if TYPE_CHECKING:
    from PIL.Image import Image

    from atlas.datasets import ImageSource


def build(
    pipeline: str | Path,
    out: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    force: bool = False,
    progress: Progress = silent,
) -> Atlas:
    """Run a whole pipeline file and return the finished atlas.

    out is the atlas folder, NAME.atlas; by default the pipeline's name in the current folder. A
    build that was stopped goes on; a whole atlas of the same configuration is returned as it is.
    Raises StoreError when out was made from another configuration, unless force.
    """
    target = atlas_target(pipeline, out)
    job = open_job(pipeline, overrides)
    if is_finished(target, job, force=force):
        return open_atlas(target)
    work = target.with_suffix(".work")
    store = _extract(job, target.with_suffix(".store"), force=force, progress=progress)
    # Before the atlas is begun: what cannot be laid out must not leave an atlas of that configuration behind.
    mapped = map_layers(job, store, work, progress, () if force else _layouts_there(target, job))
    writer = AtlasWriter(
        target,
        name=target.stem,
        fingerprint=job.fingerprint,
        classes=store.classes,
        outputs=store.outputs,
        aligned=store.aligned,
        skipped=store.skipped,
        notes=store.notes,
        provenance=provenance_of(job, store, target),
        force=force,
    )
    _write_samples(job, store, writer, mapped, progress)
    for layer in mapped:
        for level, statistics in zip(layer.levels, layer.statistics, strict=True):
            if not writer.has_level(layer.index, level.level):
                writer.write_level(layer.index, level, statistics)
    _write_quality(job, store, writer, mapped, progress)
    write_icons(job, writer, mapped, job.config.icons.levels, work, progress)
    return writer.finish()


def extract_store(
    pipeline: str | Path,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    force: bool = False,
    progress: Progress = silent,
) -> ActivationStore:
    """Run a pipeline's dataset through its network and keep the activations. Raises as `build` does."""
    target = Path(out)
    if target.suffix != ".store":
        raise ConfigError(f"{target} is not the name of a store: end it in .store")
    return _extract(open_job(pipeline, overrides), target, force=force, progress=progress)


def render_levels(
    pipeline: str | Path,
    out: str | Path | None = None,
    *,
    levels: int | None = None,
    overrides: Sequence[str] = (),
    progress: Progress = silent,
) -> Atlas:
    """Render the icons that a built atlas still lacks, of its `levels` coarsest levels.

    Raises StoreError when the atlas is absent, unfinished, or made from another configuration, ConfigError when it has
    fewer levels than are asked for.
    """
    target = atlas_target(pipeline, out)
    job = open_job(pipeline, overrides)
    existing = open_atlas(target)
    if existing.fingerprint != job.fingerprint:
        raise StoreError(f"{target} was made from another configuration: build it with this pipeline first")
    if not existing.complete:
        raise StoreError(f"{target} is not finished: 'atlas build' goes on with it, then render")
    deepest = max(len(layer.levels) for layer in existing.layers)
    if levels is not None and levels > deepest:
        raise ConfigError(f"{target} has {deepest} levels, not {levels}: ask for fewer, or build with grid.levels set")
    mapped = [
        MappedLayer(
            layer.index,
            layer.name,
            layer.layout,
            tuple(level.level for level in layer.levels),
            tuple(level.statistics for level in layer.levels),
        )
        for layer in existing.layers
    ]
    writer = AtlasWriter.resume(target)
    wanted = job.config.icons.levels if levels is None else levels
    write_icons(job, writer, mapped, wanted, target.with_suffix(".work"), progress)
    return writer.finish()


def atlas_target(pipeline: str | Path, out: str | Path | None) -> Path:
    """Return the atlas folder that `build` writes.

    Raises ConfigError when out does not end in .atlas, or the pipeline is a folder.
    """
    if Path(pipeline).is_dir():
        raise ConfigError(f"{pipeline} is a folder: name a pipeline file, such as birds.toml")
    target = Path(out) if out is not None else Path(Path(pipeline).stem + ".atlas")
    if target.suffix != ".atlas":
        raise ConfigError(f"{target} is not the name of an atlas: end it in .atlas")
    return target


def is_finished(target: Path, job: Job, *, force: bool = False) -> bool:
    """Whether the job's atlas stands there whole. Raises StoreError for one of another configuration, unless force."""
    if not (target / HEADER).is_file():
        return False
    header = read_header(target)  # refused here where it is no atlas of ours, before hours of work
    if force:
        return False
    if header.fingerprint != job.fingerprint:
        raise StoreError(f"{target} was made from another configuration: use --force to replace it, or another --out")
    # One that has lost files is not refused here: building again makes them anew.
    return header.complete and all((target / name).is_file() for name in header.files)


def _layouts_there(target: Path, job: Job) -> list[Layout]:
    """Layouts that an unfinished atlas of this job holds: the rest of it must be of the same map."""
    try:
        there = open_atlas(target)
    except StoreError:  # nothing yet, or files are lost: their stages are made anew
        return []
    return [layer.layout for layer in there.layers] if there.fingerprint == job.fingerprint else []


def _extract(job: Job, out: Path, *, force: bool, progress: Progress) -> ActivationStore:
    config = job.config
    return extract(
        job.source,
        job.model,
        config.model.layers,
        out,
        positions=config.extract.positions,
        effects=config.extract.effects,
        tap=config.extract.tap,
        predictions=config.extract.predictions,
        batch=config.extract.batch,
        part=config.extract.part,
        label_to_output=job.label_to_output,
        max_unreadable=config.data.max_unreadable,
        workers=config.run.workers,
        device=config.run.device,
        force=force,
        provenance=origin_of(job, out),
        progress=progress,
    )


def _write_samples(
    job: Job, store: ActivationStore, writer: AtlasWriter, mapped: Sequence[MappedLayer], progress: Progress
) -> None:
    """Write images, thumbnails, samples and patches, whatever of them is not there yet."""
    config = job.config
    images = store.images
    if not writer.has_images():
        writer.write_images(images.ids, images.label, images.prediction, images.confidence, images.width, images.height)
    read = functools.partial(_read, job.source, images.index)
    workers = worker_count(config.run.workers)
    if not writer.has_thumbnails():
        writer.write_thumbnails(read, workers, progress)
    kind = config.layout.rows
    for layer in mapped:
        stored = store.layers[layer.name]
        image_of, box = stored.image_of(kind), stored.box(kind)
        if not writer.has_samples(layer.index):
            settings = {**config.layout.model_dump(mode="json"), "seed": config.run.seed, "engine": layer.layout.engine}
            writer.write_layer_samples(
                layer.index,
                name=layer.name,
                kind=kind,
                channels=stored.shape.channels,
                layout=layer.layout,
                image_of=image_of,
                uv=stored.uv(kind),
                box=box,
                settings=settings,
                icon_size=config.icons.size,
                patch_size=config.icons.size,
            )
        if not writer.has_patches(layer.index):
            rows = layer.patch_rows()
            cut = PatchCutter(read, image_of[rows], box[rows], config.icons.size, workers)
            writer.write_patches(layer.index, rows, cut, workers, prefixed(progress, f"{layer.name}: "))


def _read(source: ImageSource, index: NDArray[np.int64], image: int) -> Image | None:
    """Read one picture of the store; one that has become unreadable since leaves its slots grey."""
    try:
        return source.read(int(index[image]))
    except PictureError:
        return None


def _write_quality(
    job: Job, store: ActivationStore, writer: AtlasWriter, mapped: Sequence[MappedLayer], progress: Progress
) -> None:
    for layer in mapped:
        if not writer.has_quality(layer.index):
            quality = judge_layer(
                store,
                layer.name,
                job.config.layout.rows,
                layer.layout,
                layer.levels,
                metric=job.config.layout.metric,
                seed=job.config.run.seed,
                progress=prefixed(progress, f"{layer.name}: "),
            )
            writer.write_quality(layer.index, quality)


def write_icons(
    job: Job, writer: AtlasWriter, mapped: Sequence[MappedLayer], levels: int, work: Path, progress: Progress
) -> None:
    """Render icons, coarse levels of every layer first, so that the explorer is useful early.

    Levels must have been written without icons; those that have them are left. work: its `icons` keeps finished ones.
    """
    config = job.config
    for z in range(levels):
        for layer in mapped:
            if z >= len(layer.levels) or writer.has_level(layer.index, z, icons=True):
                continue
            level, statistics = layer.levels[z], layer.statistics[z]
            if not level.kept.any():
                continue
            # lucent is the reference: every icon from its own noise, as lucent draws it.
            warm = z > 0 and config.icons.backend == "batched"
            icons: Icons = render_icons(
                job.model,
                layer.name,
                statistics.mean[level.kept],
                tap=config.extract.tap,
                size=config.icons.size,
                steps=config.icons.steps,
                backend=config.icons.backend,
                device=config.run.device,
                seed=config.run.seed,
                deterministic=config.run.deterministic,
                cache=work / "icons",
                mean=mean_of(layer.levels[0], layer.statistics[0]) if config.icons.backend == "batched" else None,
                memory=config.icons.memory,
                starts=_coarser_icons(writer.path, layer, z) if warm else None,
                progress=prefixed(progress, f"{layer.name} level {z}: "),
            )
            writer.write_level(layer.index, level, statistics, icons, config.icons.believe)


def _coarser_icons(atlas: Path, layer: MappedLayer, z: int) -> NDArray[np.uint8] | None:
    """For each kept cell of level z the icon one level up of the cell most like it, to start from; None without any.

    On the first two levels of the demo's honest atlas that is the cell above for 78 of 100 cells, and of icons that
    start from it 0.63 are nearest to their own cell, where 0.58 are from the cell above.
    """
    above = open_atlas(atlas).layers[layer.index].levels[z - 1]
    drawn = np.flatnonzero(above.has_icon)
    if not len(drawn):
        return None
    icons = faded(np.stack([above.icon(int(cell)) for cell in drawn]))
    means, others = layer.statistics[z].mean[layer.levels[z].kept], layer.statistics[z - 1].mean[drawn]
    return icons[most_alike(means, others, mean_of(layer.levels[0], layer.statistics[0]))]
