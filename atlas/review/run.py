"""The chain behind `atlas report`: what is at hand is gathered, the rest is said to be absent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from atlas import __version__
from atlas.errors import StoreError
from atlas.explorer.marks import Marks, read_marks
from atlas.findings.health_record import Health
from atlas.layout_quality import tell_quality
from atlas.records import Progress, silent
from atlas.review.page import report_html
from atlas.storage import Atlas, open_atlas
from atlas.storage.diff import Diff, open_diff
from atlas.storage.files import write_bytes
from atlas.storage.suspects import Suspects, read_suspects

__all__ = ["Review", "report_html", "write_report"]


@dataclass(frozen=True)
class Review:
    """All that a report is made from; None for what is not at hand.

    quality: what `atlas quality` says. blocks: rows of the network's layer table, with the number of its parameters.
    made: when, and with which version.
    """

    atlas: Atlas
    quality: dict[str, Any] | None
    health: Health | None
    blocks: tuple[list[dict[str, Any]], int] | None
    suspects: Suspects | None
    marks: Marks
    diff: Diff | None
    made: str


def write_report(
    atlas: str | Path,
    out: str | Path,
    *,
    health: str | Path | None = None,
    pipeline: str | Path | None = None,
    diff: str | Path | None = None,
    images: int = 2000,
    progress: Progress = silent,
) -> Path:
    """Write a report for a model review: one HTML file that needs no other, asks for nothing and prints.

    health: what `atlas health --json` printed. pipeline: the one that the atlas was made with; adds the network's
    architecture and, without `health`, its layer health on at most `images` pictures. diff: a comparison to tell of.
    Raises StoreError for what is no atlas or comparison, or where the pipeline has other weights than the atlas was
    made with; DataError for what is no health; ConfigError and ModelError for the pipeline.
    """
    found = gather(atlas, health=health, pipeline=pipeline, diff=diff, images=images, progress=progress)
    target = Path(out)
    if target.is_dir():
        raise StoreError(f"{target} is a folder: name the report's file, such as {target / 'report.html'}")
    write_bytes(target, report_html(found).encode())
    return target


def gather(
    atlas: str | Path,
    *,
    health: str | Path | None,
    pipeline: str | Path | None,
    diff: str | Path | None,
    images: int,
    progress: Progress,
) -> Review:
    """Read and compute what a report tells; see `write_report`."""
    opened = open_atlas(atlas)
    told = Health.read(health) if health is not None else None
    blocks = None
    if pipeline is not None:
        from atlas.layer_health import health as judge_health
        from atlas.models import layer_table
        from atlas.workshop.bench import Bench

        model = Bench(Path(pipeline), opened.path).job.model
        if told is None:
            told = judge_health(pipeline, images=images, progress=progress)
        names = {layer.name for layer in told.layers}
        parameters = sum(weights.numel() for weights in model.network.parameters())
        blocks = [row.to_dict() for row in layer_table(model) if row.name in names], parameters
    progress("report", 0, 1)
    measured = bool(opened.layers) and all(layer.quality for layer in opened.layers)
    review = Review(
        opened,
        tell_quality(opened.path, second_seed=False) if measured else None,
        told,
        blocks,
        read_suspects(opened),
        read_marks(opened.marks_path),
        None if diff is None else open_diff(diff),
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, activation-atlas {__version__}",
    )
    progress("report", 1, 1)
    return review
