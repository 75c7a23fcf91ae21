"""What a build will take: images, bytes, icons and minutes, told without building anything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import nbinom

from atlas.extraction import plan_extraction
from atlas.job import Job, open_job
from atlas.layouts import choose_levels
from atlas.layouts.grid import MAX_LEVELS
from atlas.mapping import check_rows
from atlas.models import layer_shapes
from atlas.pipeline import atlas_target, is_finished
from atlas.rendering import render_icons
from atlas.rendering.icons import DEFAULT_STEPS

# Seconds that a thousand samples take on two cores, neighbours included: t-SNE as seen at 8,000 and 20,000 samples;
# UMAP and PCA are rougher, and UMAP's first call compiles besides.
SECONDS_PER_THOUSAND = {"tsne": 0.4, "umap": 0.5, "pacmap": 0.5, "pca": 0.01}
# A thumbnail and a patch are JPEGs of about so many bytes, an icon a lossless picture of about so many a pixel.
BYTES_PER_THUMBNAIL, BYTES_PER_PATCH = 2_800, 1_200
BYTES_PER_PIXEL = 2.4
PATCHES_OF_A_CELL = 16
FINER = 0.56  # of a first level's icon: what a finer one takes, which starts from a coarser cell's
# A map covers so much of its square, and its cells' counts scatter as a negative binomial of this shape: the demo's and
# the digits' maps, 12 levels of 8 to 32 cells a side, had 0.7 to 1.2 of the icons that this foretells.
COVERED, SHAPE = 0.72, 1.5


@dataclass(frozen=True)
class Plan:
    """What a build would do; icons, the atlas's bytes and minutes are estimates, the first two for a usual map."""

    built: bool
    images: int
    samples: dict[str, int]
    store_bytes: int
    atlas_bytes: int
    icons: int
    minutes: float

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The same for a person, a line each."""
        samples = ", ".join(f"{name} {count:,}" for name, count in self.samples.items())
        return [
            *(["the atlas is built already: there is nothing to do"] if self.built else []),
            f"{self.images:,} images",
            f"samples: {samples}",
            f"on disk: store about {_megabytes(self.store_bytes)}, atlas about {_megabytes(self.atlas_bytes)}",
            f"about {self.icons:,} icons",
            f"about {self.minutes:.1f} minutes on this machine",
        ]


def plan(
    pipeline: str | Path, out: str | Path | None = None, *, overrides: Sequence[str] = (), force: bool = False
) -> Plan:
    """Read and run a few pictures, render a few icons, and say what the whole build takes; write nothing.

    Raises as `build` with the same arguments does before it begins.
    """
    target = atlas_target(pipeline, out)
    job = open_job(pipeline, overrides)
    built = is_finished(target, job, force=force)
    config = job.config
    extraction = plan_extraction(
        job.source,
        job.model,
        config.model.layers,
        positions=config.extract.positions,
        effects=config.extract.effects,
        tap=config.extract.tap,
        predictions=config.extract.predictions,
        batch=config.extract.batch,
        part=config.extract.part,
        workers=config.run.workers,
        device=config.run.device,
    )
    for name, kinds in extraction.rows.items():
        check_rows(job, name, list(kinds))
    samples = {name: kinds[config.layout.rows] for name, kinds in extraction.rows.items()}
    cells = {name: _cells(job, count) for name, count in samples.items()}
    rendered = sum(sum(levels[: config.icons.levels]) for levels in cells.values())
    patches = sum(min(PATCHES_OF_A_CELL * sum(levels), samples[name]) for name, levels in cells.items())
    layout = sum(samples.values()) / 1000 * SECONDS_PER_THOUSAND[config.layout.method]
    first = sum(sum(levels[: min(1, config.icons.levels)]) for levels in cells.values())
    finer = FINER if config.icons.backend == "batched" else 1.0
    seconds = extraction.seconds * 2 + layout + (first + (rendered - first) * finer) * _seconds_per_icon(job)
    return Plan(
        built=built,
        images=extraction.images,
        samples=samples,
        store_bytes=extraction.bytes,
        atlas_bytes=int(
            extraction.images * BYTES_PER_THUMBNAIL
            + patches * BYTES_PER_PATCH
            + rendered * config.icons.size**2 * BYTES_PER_PIXEL
        ),
        icons=rendered,
        minutes=seconds / 60,
    )


def _cells(job: Job, samples: int) -> list[int]:
    """About how many cells of each level hold the images that an icon needs, on a usual map of so many samples."""
    grid, images = job.config.grid, len(job.source)
    # A layout's own count of images may carry one level more than the number of pictures foretells.
    auto = min(choose_levels(images, min_images=grid.min_images) + 1, MAX_LEVELS)
    levels = auto if grid.levels == "auto" else grid.levels
    return [_kept(samples, (8 * 2**z) ** 2, grid.min_images) for z in range(levels)]


def _kept(samples: int, cells: int, min_images: int) -> int:
    covered = COVERED * cells
    chance = SHAPE / (SHAPE + samples / covered)
    # A cell's samples are nearly all of different images: at the finest level of the demo 11 samples of 10 images.
    return min(round(covered * nbinom.sf(min_images - 1, SHAPE, chance)), samples // min_images)


def _seconds_per_icon(job: Job) -> float:
    """Time four icons of random directions for a few steps, and scale it to the pipeline's steps."""
    config = job.config
    tried, count = 8, 4
    steps = DEFAULT_STEPS[config.icons.backend] if config.icons.steps == "auto" else config.icons.steps
    if config.icons.levels == 0:
        return 0.0
    name = config.model.layers[0]
    shape = layer_shapes(job.model, [name], tap=config.extract.tap)[name]
    directions = np.abs(np.random.default_rng(0).normal(size=(count, shape.channels))).astype(np.float32)

    def render(number: int) -> float:
        start = time.perf_counter()
        render_icons(
            job.model,
            name,
            directions,
            tap=config.extract.tap,
            size=config.icons.size,
            steps=number,
            backend=config.icons.backend,
            device=config.run.device,
        )
        return time.perf_counter() - start

    render(1)  # the first call loads libraries and kernels
    once = render(1)
    return (once + (render(tried + 1) - once) / tried * steps) / count


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
