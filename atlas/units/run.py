"""The chain behind `atlas render --unit`: pictures of single channels, and a page of all of a layer's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.errors import ConfigError, LayerError, StoreError
from atlas.extraction.spectrum import spectrum_of
from atlas.job import Job, open_job
from atlas.models import layer_shapes
from atlas.records import LayerShape, Progress, prefixed, silent
from atlas.rendering.aims import channel, reached, render_aims
from atlas.rendering.maco import fine_size, render_fine
from atlas.storage import ActivationStore, open_store
from atlas.storage.files import make_folder, write_bytes, written_beside
from atlas.units.evidence import study_units
from atlas.units.page import units_html

TOGETHER = 32


@dataclass(frozen=True)
class Unit:
    """A channel of a layer; number None stands for all of them."""

    layer: str
    number: int | None

    @classmethod
    def parse(cls, text: str) -> Unit:
        """Read LAYER:CHANNEL, or LAYER alone. Raises ConfigError."""
        layer, mark, number = text.rpartition(":")
        if not mark:
            return cls(text, None)
        if not layer or not number.isdecimal():
            raise ConfigError(f"unit '{text}' is not LAYER:CHANNEL: give a number after the colon, or the layer alone")
        return cls(layer, int(number))


def render_units(
    pipeline: str | Path,
    units: Sequence[str],
    out: str | Path | None = None,
    *,
    fine: bool = False,
    images: int = 1000,
    overrides: Sequence[str] = (),
    progress: Progress = silent,
) -> list[Path]:
    """Render what raises units the most (activation maximisation) into a folder; return the files.

    units: LAYER:CHANNEL gives `LAYER_CHANNEL.png`; LAYER alone gives `LAYER.html`, a page of all its channels. fine:
    single units in high quality, with the spectrum of the pipeline's pictures. images: the page says what so many of
    the pipeline's pictures do to each channel: which patches excite it, how it answers, what it feeds; 0 leaves that
    out. out: by default the pipeline's name with .units, here. Raises ConfigError, DataError, LayerError, ModelError
    or RenderError.
    """
    wanted = [Unit.parse(text) for text in units]
    folder = Path(out) if out is not None else Path(Path(pipeline).stem + ".units")
    if fine and any(unit.number is None for unit in wanted):
        raise ConfigError("a page of all channels is not rendered finely: name single units as LAYER:CHANNEL")
    if folder.suffix in (".atlas", ".store"):
        raise ConfigError(f"{folder} is the name of an atlas or a store: give a folder of its own for the pictures")
    job = open_job(pipeline, overrides)
    if job.config.icons.backend != "batched":
        raise ConfigError(f"{pipeline}: units are rendered by the project's own engine: set icons.backend to 'batched'")
    input_shape = job.model.preprocess.input_shape or (job.model.preprocess.channels, 224, 224)
    layers = list(dict.fromkeys(unit.layer for unit in wanted))
    shapes = layer_shapes(job.model, layers, input_shape, tap=job.config.extract.tap)
    for unit in wanted:
        wide = shapes[unit.layer].channels
        if unit.number is not None and unit.number >= wide:
            raise LayerError(
                f"layer '{unit.layer}' of {job.model.name} has channels 0 to {wide - 1}, not {unit.number}"
            )
    make_folder(folder)
    written = []
    for layer in layers:
        single = sorted({unit.number for unit in wanted if unit.layer == layer and unit.number is not None})
        if fine:
            written += _write_fine(job, layer, shapes[layer], single, folder, progress)
        elif single:
            pictures = _rendered(job, layer, single, progress)
            written += [
                _write_png(folder / _file_name(layer, n), image) for n, image in zip(single, pictures, strict=True)
            ]
        if any(unit.layer == layer and unit.number is None for unit in wanted):
            written.append(_write_page(job, layer, shapes[layer], images, folder, progress))
    return written


def _rendered(job: Job, layer: str, numbers: Sequence[int], progress: Progress) -> NDArray[np.uint8]:
    config, parts = job.config, []
    for start in range(0, len(numbers), TOGETHER):
        progress(f"{layer}: units", start, len(numbers))
        some = numbers[start : start + TOGETHER]
        parts.append(
            render_aims(
                job.model,
                layer,
                [channel(number) for number in some],
                size=config.icons.size,
                steps=config.icons.steps,
                device=config.run.device,
                seeds=[config.run.seed * 1_000_003 + number for number in some],
                tap=config.extract.tap,
            )
        )
    progress(f"{layer}: units", len(numbers), len(numbers))
    return np.concatenate(parts)


def _write_fine(
    job: Job, layer: str, shape: LayerShape, numbers: Sequence[int], folder: Path, progress: Progress
) -> list[Path]:
    spectrum = spectrum_of(_store_of(job, folder), job.source, job.model.preprocess)
    written = []
    for number in numbers:
        icon = render_fine(
            job.model,
            layer,
            channel(number),
            spectrum,
            width=shape.channels,
            size=fine_size(job.model),
            device=job.config.run.device,
            seed=job.config.run.seed,
            tap=job.config.extract.tap,
            progress=prefixed(progress, f"{layer}:{number} "),
        )
        pixels = np.dstack([icon.image, icon.importance])
        written.append(_write_png(folder / _file_name(layer, number), pixels))
    return written


def _store_of(job: Job, folder: Path) -> ActivationStore | None:
    """The store beside the folder that was made with this network; None where there is none."""
    try:
        store = open_store(folder.with_suffix(".store"))
    except StoreError:
        return None
    made = store.provenance.get("model", {})
    return store if made.get("weights") == job.model.weights_hash else None


def _write_page(job: Job, layer: str, shape: LayerShape, images: int, folder: Path, progress: Progress) -> Path:
    """One page with all channels: no script, no other file."""
    numbers = list(range(shape.channels))
    evidence = study_units(job, layer, images=images, progress=progress) if images else None
    pictures = _rendered(job, layer, numbers, progress)
    levels = reached(job.model, layer, pictures, numbers, tap=job.config.extract.tap, device=job.config.run.device)
    page = units_html(job.model.name, job.source.name, layer, pictures, levels, evidence)
    target = folder / f"{_safe(layer)}.html"
    write_bytes(target, page.encode())
    return target


def _write_png(target: Path, pixels: NDArray[np.uint8]) -> Path:
    with written_beside(target) as beside:
        Image.fromarray(pixels).save(beside, "PNG")
    return target


def _file_name(layer: str, number: int) -> str:
    return f"{_safe(layer)}_{number}.png"


def _safe(layer: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "._-" else "~" if sign == "#" else "_" for sign in layer)
