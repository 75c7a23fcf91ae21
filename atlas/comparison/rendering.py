"""Icons of the shared map's own cells, rendered in each network by the pipelines that are named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.comparison.networks import Network
from atlas.errors import ConfigError, StoreError
from atlas.records import CellStatistics, Layout, Level, Progress
from atlas.storage import AtlasWriter

if TYPE_CHECKING:  # what renders takes torch, which a comparison does without
    from atlas.job import Job


def open_jobs(
    pipelines: Sequence[str | Path], networks: Sequence[Network], *, deterministic: bool = False
) -> tuple[Job, ...]:
    """Open a pipeline for each network, in order; () for none at all. deterministic: whatever they say of it.

    Raises ConfigError for another number of them, StoreError for a pipeline of another network than the atlas's.
    """
    if not pipelines:
        return ()
    if len(pipelines) != len(networks):
        raise ConfigError(
            f"{len(pipelines)} pipelines for {len(networks)} atlases: name one for each, in the same order"
        )
    from atlas.job import open_job

    overrides = ("run.deterministic=true",) if deterministic else ()
    jobs = tuple(open_job(pipeline, overrides) for pipeline in pipelines)
    for job, network in zip(jobs, networks, strict=True):
        _check(job, network)
    return jobs


def _check(job: Job, network: Network) -> None:
    identity = network.identity
    if identity is None:
        raise StoreError(
            f"{network.store.path} does not say which network it is of, so {job.path} cannot be held against it: leave "
            "the pipelines out"
        )
    weights, preprocess, _, tap = identity
    for what, ours, theirs in (
        ("other weights", job.model.weights_hash, weights),
        ("another preprocessing", job.model.preprocess.fingerprint, preprocess),
        ("another extract.tap", job.config.extract.tap, tap),
        ("another icons.size", job.config.icons.size, None if network.mapped is None else network.mapped.icon_size),
    ):
        if ours != theirs:
            raise StoreError(
                f"{job.path} has {what} than {network.path} was made with: name the pipelines that the atlases were "
                "made with, in the same order"
            )


def render_network(
    writer: AtlasWriter,
    index: int,
    job: Job,
    network: Network,
    layout: Layout,
    levels: Sequence[Level],
    statistics: Sequence[CellStatistics],
    progress: Progress,
) -> None:
    """Render an icon for each cell of these levels, by what the cell holds in this network, coarsest first.

    Finished icons are kept in NAME.work beside the comparison, so that a run that was stopped goes on.
    """
    from atlas.mapping import MappedLayer
    from atlas.pipeline import write_icons

    for level, told in zip(levels, statistics, strict=True):
        if not writer.has_level(index, level.level):
            writer.write_level(index, level, told)
    mapped = MappedLayer(index, network.layer.name, layout, tuple(levels), tuple(statistics))
    write_icons(job, writer, [mapped], len(levels), writer.path.with_suffix(".work"), progress)
