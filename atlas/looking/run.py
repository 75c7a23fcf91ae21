"""The chain behind `atlas look`: a pipeline's network, one picture, and all that can be said of it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from atlas.attribution import (
    METHODS,
    ActivationMaps,
    Attention,
    Attribution,
    Filters,
    Method,
    Sanity,
    activation_maps,
    attention_maps,
    attribute,
    first_filters,
    sanity_check,
)
from atlas.datasets import decode
from atlas.datasets.sampling import whole_of
from atlas.errors import AttributionError, DataError, PictureError, nearest
from atlas.job import Job, open_job
from atlas.looking.grids import ACROSS, ActivationGrid, activation_grids
from atlas.models import resolve_device
from atlas.records import Progress, silent
from atlas.storage import Atlas
from atlas.workshop.bench import Bench
from atlas.workshop.requests import LocateRequest

SHOWN_CLASSES = 5
SHOWN_NEIGHBORS = 6


@dataclass(frozen=True)
class Place:
    """Where a picture falls on one layer's map.

    spots: float64 (n, 2), one for each of its positions. nearest: ids of the images whose samples they fall on, with
    how many positions do, most first.
    """

    layer: str
    number: int
    spots: NDArray[np.float64]
    nearest: tuple[tuple[str, int], ...]
    cosine: float


@dataclass(frozen=True)
class Look:
    """All that was found of one picture.

    seen: uint8 (height, width, 3), the picture as the network gets it. likeliest: classes with their softmax shares.
    label: the dataset's, None where there is none. grids: one for each layer, empty where none were asked for.
    attributions, refusals: by method; one or the other. places: empty without an atlas.
    """

    title: str
    network: str
    size: tuple[int, int]
    seen: NDArray[np.uint8]
    likeliest: tuple[tuple[str, float], ...]
    label: str | None
    explained: str | None
    layers: tuple[ActivationMaps, ...]
    grids: tuple[ActivationGrid, ...]
    filters: Filters | None
    attention: Attention | None
    attributions: dict[Method, Attribution]
    refusals: dict[Method, str]
    sanity: dict[Method, Sanity]
    places: tuple[Place, ...]
    atlas: Atlas | None


def look(
    pipeline: str | Path,
    image: str,
    *,
    atlas: str | Path | None = None,
    target: str | None = None,
    sanity: bool = False,
    layers: Sequence[str] = (),
    across: int = ACROSS,
    cache: Path | None = None,
    overrides: Sequence[str] = (),
    progress: Progress = silent,
) -> Look:
    """Run one picture through a pipeline's network.

    image: a file, or an id of the dataset. atlas: made with this pipeline; says where the picture falls. target: the
    class that attributions explain; by default the one predicted. sanity: also how far each method depends on the
    weights. layers: by default the pipeline's. across: icons along a side of an activation grid, 0 for none. cache:
    a folder where finished icons are kept. Raises DataError for a picture that is not there or cannot be read,
    ConfigError, ModelError, LayerError, and StoreError where the atlas was made with other weights.
    """
    bench = Bench(Path(pipeline), Path(atlas)) if atlas is not None else None
    job = bench.job if bench is not None and not overrides else open_job(pipeline, overrides)
    title, picture, label = _opened(job, image)
    return look_with(
        job,
        picture,
        title=title,
        label=label,
        bench=bench,
        target=target,
        sanity=sanity,
        layers=layers,
        across=across,
        cache=cache,
        progress=progress,
    )


def look_with(
    job: Job,
    picture: Image.Image,
    *,
    title: str,
    label: str | None = None,
    bench: Bench | None = None,
    target: str | None = None,
    sanity: bool = False,
    layers: Sequence[str] = (),
    across: int = ACROSS,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Look:
    """Run one opened picture through an opened pipeline's network; as `look`, which says what the options are."""
    config = job.config
    model = job.model.to(resolve_device(config.run.device))
    pixels = torch.from_numpy(model.preprocess.picture(picture))
    size = (int(pixels.shape[0]), int(pixels.shape[1]), int(pixels.shape[2]))
    stages = len(METHODS) + 2
    progress("look", 0, stages)
    likeliest = _likeliest(job, pixels)
    chosen = list(layers) or config.model.layers
    maps = activation_maps(model, pixels, chosen, tap=config.extract.tap)
    progress("look", 1, stages)
    found, refusals, checks = _explained(job, pixels, target, sanity, progress)
    progress("look", stages, stages)
    grids: tuple[ActivationGrid, ...] = ()
    if across:
        grids = activation_grids(
            model,
            pixels,
            chosen,
            across=across,
            seed=config.run.seed,
            device=config.run.device,
            tap=config.extract.tap,
            cache=cache,
            progress=progress,
        )
    return Look(
        title,
        model.name,
        picture.size,
        np.broadcast_to(pixels.permute(1, 2, 0).numpy(), (*size[1:], 3)).copy(),
        likeliest,
        label,
        (target or likeliest[0][0]) if model.is_classifier else None,
        maps,
        grids,
        _filters(job, size),
        _attention(job, pixels),
        found,
        refusals,
        checks,
        () if bench is None else _places(bench, picture, progress),
        None if bench is None else bench.atlas,
    )


def _likeliest(job: Job, pixels: torch.Tensor) -> tuple[tuple[str, float], ...]:
    model = job.model
    if not model.is_classifier:
        return ()
    with torch.no_grad():
        logits = model.check_logits(model.network(model.preprocess.normalise(pixels[None].to(model.device))))
    shares, order = logits[0].softmax(0).sort(descending=True)
    return tuple(
        (model.outputs[i], float(share))
        for share, i in zip(shares[:SHOWN_CLASSES].tolist(), order[:SHOWN_CLASSES].tolist(), strict=True)
    )


def _opened(job: Job, image: str) -> tuple[str, Image.Image, str | None]:
    """The picture with its name and its label's."""
    path = Path(image)
    try:
        if path.is_file():
            return path.name, decode(path.read_bytes()), None
        source = whole_of(job.source)  # data.limit is of what is mapped, not of what can be looked at
        try:
            index = source.index_of(image)
        except DataError as error:
            close = nearest(image, (entry.id for entry in list(source.entries()[:2000])))
            raise DataError(f"'{image}' is neither a file nor an id of {source.name}{close}") from error
        label = source.entries()[index].label
        return image, source.read(index), source.classes[label] if label >= 0 else None
    except PictureError as error:
        raise DataError(f"'{image}' cannot be read: {error}") from error


def _explained(
    job: Job, pixels: torch.Tensor, target: str | None, sanity: bool, progress: Progress
) -> tuple[dict[Method, Attribution], dict[Method, str], dict[Method, Sanity]]:
    model = job.model
    found: dict[Method, Attribution] = {}
    refusals: dict[Method, str] = {}
    checks: dict[Method, Sanity] = {}
    if not model.is_classifier:
        return found, refusals, checks
    wanted = None
    if target is not None:
        if target not in model.outputs:
            raise DataError(f"{model.name} has no class '{target}'{nearest(target, model.outputs)}")
        wanted = model.outputs.index(target)
    for number, method in enumerate(METHODS):
        try:
            found[method] = attribute(model, pixels[None], method=method, target=wanted)
            if sanity:
                checks[method] = sanity_check(model, pixels[None], method=method, target=wanted, stages=4)
        except AttributionError as error:
            refusals[method] = str(error)
        progress("look", 2 + number, len(METHODS) + 2)
    return found, refusals, checks


def _places(bench: Bench, picture: Image.Image, progress: Progress) -> tuple[Place, ...]:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    found = []
    for number, layer in enumerate(bench.atlas.layers):
        located = bench.locate(LocateRequest(number, buffer.getvalue()), progress)
        spots = np.array([(place.x, place.y) for place in located.places])
        counts = Counter(place.image for place in located.places).most_common(SHOWN_NEIGHBORS)
        nearest_ids = tuple((str(bench.atlas.images.ids[image]), count) for image, count in counts)
        found.append(
            Place(layer.name, number, spots, nearest_ids, float(np.mean([place.cosine for place in located.places])))
        )
    return tuple(found)


def _filters(job: Job, size: tuple[int, int, int]) -> Filters | None:
    """What a network does not have is left out, not refused."""
    try:
        return first_filters(job.model, size)
    except AttributionError:
        return None


def _attention(job: Job, pixels: torch.Tensor) -> Attention | None:
    try:
        return attention_maps(job.model, pixels)
    except AttributionError:
        return None
