"""The process that holds the network: it answers one request after the other."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TextIO, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from atlas.datasets import decode
from atlas.errors import AtlasError, StoreError
from atlas.extraction.spectrum import spectrum_of
from atlas.job import Job, open_job
from atlas.layouts.neighbors import find_among
from atlas.mapping import mean_of
from atlas.models import Model, as_grid, capture, layer_shapes, prefix_tokens
from atlas.records import LayerShape, Progress, RowKind, Spectrum
from atlas.rendering.maco import fine_size, render_fine
from atlas.rendering.objective import Objective
from atlas.storage import ActivationStore, Atlas, open_atlas
from atlas.storage.diff import is_diff, open_diff
from atlas.storage.remembered import store_of
from atlas.workshop.requests import (
    Fine,
    FineRequest,
    Located,
    LocateRequest,
    LookRequest,
    Message,
    Place,
    Ready,
    Refused,
    Working,
    from_line,
    to_line,
)

NEIGHBORS = 5
MOST_ROWS = 200_000
"""Samples that a picture's positions are compared with: 200,000 x 512 take 400 MB."""
_SHOWN_CLASSES = 5
_FADES = 0.02  # of cosine: a neighbour that is so much less alike counts for a third


class Bench:
    """A pipeline's network, and the atlas made with it. Raises AtlasError in one sentence when they do not belong.

    shown: what the user sees, the atlas itself or a comparison. atlas: made with this network alone. title: its name in
    the comparison, empty for an atlas.
    """

    def __init__(self, pipeline: Path, atlas: Path) -> None:
        self.shown: Atlas = open_atlas(atlas)
        self.job: Job = open_job(pipeline)
        self.atlas, self.title = self.shown, ""
        if is_diff(atlas):
            self.atlas, self.title = self._compared(pipeline, atlas)
        made = self.atlas.provenance.get("model", {})
        if made.get("weights_hash") != self.job.model.weights_hash:
            raise StoreError(
                f"{pipeline} has other weights than {atlas} was made with: name the pipeline that it was made with"
            )
        if made.get("preprocess") != self.job.model.preprocess.fingerprint:
            raise StoreError(
                f"{pipeline} has another preprocessing than {atlas} was made with: name the pipeline that it was made "
                "with"
            )

    def _compared(self, pipeline: Path, diff: Path) -> tuple[Atlas, str]:
        """The atlas of the network that was compared, and its title."""
        for network in open_diff(diff).document["networks"]:
            if network.get("weights") == self.job.model.weights_hash:
                return open_atlas((diff / network["atlas"]).resolve()), str(network["title"])
        raise StoreError(f"{pipeline} has the weights of no network in {diff}: name a pipeline that was compared")

    def fine(self, request: FineRequest, progress: Progress) -> Fine:
        """Render the fine icon of a cell's mean activation."""
        layer, statistics = self.atlas.layers[request.layer], self._statistics(request.layer, request.level)
        if not 0 <= request.cell < len(statistics.mean):
            raise StoreError(f"level {request.level} has cells 0 to {len(statistics.mean) - 1}, not {request.cell}")
        direction = torch.from_numpy(np.asarray(statistics.mean[request.cell], np.float32))[None]
        coarsest = layer.levels[0]
        mean, objective = torch.from_numpy(mean_of(coarsest.level, coarsest.statistics)), Objective()

        def value(found: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            here = found.device
            return objective(found, direction.to(here).expand(len(found), -1), weights, mean.to(here))

        run = self.job.config.run
        icon = render_fine(
            self.job.model,
            layer.name,
            value,
            self._spectrum,
            width=layer.channels,
            size=request.size or fine_size(self.job.model),
            tap=self._tap(request.layer),
            seed=run.seed,
            device=run.device,
            progress=progress,
        )
        return Fine(_png(icon.image), _png(np.dstack([icon.image, icon.importance])))

    def locate(self, request: LocateRequest, progress: Progress) -> Located:
        """Run a picture through the network and place each of its positions at one of its nearest samples."""
        progress("locate", 0, 1)
        layer, model = self.atlas.layers[request.layer], self.job.model
        picture = decode(request.picture)
        pixels = model.preprocess.picture(picture)
        tap = self._tap(request.layer)
        shape = layer_shapes(model, [layer.name], pixels.shape, tap=tap)[layer.name]
        batch = model.preprocess.normalise(torch.from_numpy(pixels[None]).to(model.device))
        with (
            torch.inference_mode(),
            capture(model.network, [layer.name], tap=tap, stop=False) as run,
        ):
            found = run(batch)[layer.name]
            classes = _likeliest(model, run.output) if model.is_classifier else ()
        rows = _rows_of(found, shape, layer.pool)
        u, v = np.array([0.5]), np.array([0.5])
        if len(rows) > 1:
            number = np.arange(len(rows))
            u, v = (number % shape.width + 0.5) / shape.width, (number // shape.width + 0.5) / shape.height
        middles = model.preprocess.to_picture_boxes(
            np.stack([u, v, u, v], 1).astype(np.float32), *(np.full(len(rows), side) for side in picture.size)
        )
        places = self._place(request.layer, rows, middles[:, :2])
        progress("locate", 1, 1)
        return Located(places, classes, *picture.size)

    def _place(self, layer: int, found: NDArray[np.float32], middles: NDArray[np.float32]) -> tuple[Place, ...]:
        """Of each position's nearest samples take the one in their midst on the map: never between two clusters.

        A sample counts by how near it is: one that is the position itself outweighs all others.
        """
        rows, directions = self._directions(layer)
        samples = self.atlas.layers[layer].samples
        wanted = _unit(found)
        near = find_among(directions, wanted, min(NEIGHBORS, len(rows)))
        cosines = np.einsum("pkc,pc->pk", directions[near], wanted)
        weights = np.exp((cosines - cosines.max(1, keepdims=True)) / _FADES)
        spots = samples.positions[rows[near]]
        apart = np.linalg.norm(spots[:, :, None] - spots[:, None], axis=3)
        best = np.einsum("pij,pj->pi", apart, weights).argmin(1)[:, None]
        chosen, likeness = (np.take_along_axis(values, best, 1)[:, 0] for values in (rows[near], cosines))
        return tuple(
            Place(
                float(x),
                float(y),
                float(middles[i, 0]),
                float(middles[i, 1]),
                float(likeness[i]),
                int(row),
                int(samples.image[row]),
            )
            for i, (row, (x, y)) in enumerate(zip(chosen, samples.positions[chosen], strict=True))
        )

    @functools.lru_cache(maxsize=2)  # noqa: B019 - one Bench lives as long as its process
    def _directions(self, layer: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Samples on the map, at most MOST_ROWS evenly spread: rows ascending, and their unit vectors."""
        laid = self.atlas.layers[layer]
        rows = np.flatnonzero(np.isfinite(laid.samples.positions).all(1))
        if not len(rows):
            raise StoreError(f"layer '{laid.name}' of {self.atlas.path} has no sample on its map")
        rows = rows[:: -(-len(rows) // MOST_ROWS)]
        stored = self._store.layer(laid.name).rows(self._kind(layer))
        return rows, _unit(np.asarray(stored[rows], np.float32))

    def _kind(self, layer: int) -> RowKind:
        """The store's kind of rows that the atlas' samples are, whatever the pipeline has become since."""
        pool = self.atlas.layers[layer].pool
        return cast(RowKind, "positions" if pool == "sample" else pool)

    def _tap(self, layer: int) -> Literal["output", "input"]:
        return cast(Literal["output", "input"], self._store.layer(self.atlas.layers[layer].name).tap)

    @functools.cached_property
    def _store(self) -> ActivationStore:
        return store_of(self.atlas, "the network has nothing to compare with", "bring it back")

    @functools.cached_property
    def _spectrum(self) -> Spectrum:
        return spectrum_of(self._store, self.job.source, self.job.model.preprocess)

    def _statistics(self, layer: int, level: int) -> Any:
        return self.atlas.layers[layer].levels[level].statistics


Answer = Callable[[Bench, Message, Progress], Message | None]
"""Answers a request, or gives None where it is not made for it."""


def serve(pipeline: str, atlas: str, requests: TextIO, answers: TextIO, also: Answer | None = None) -> None:
    """Answer requests until there are no more: Ready once, then for each some Working and one answer or Refused.

    also: asked first, so that a room above this one can answer more.
    """

    def say(message: Message) -> None:
        answers.write(to_line(message))
        answers.flush()

    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))  # the explorer must stay quick
    try:
        bench = Bench(Path(pipeline), Path(atlas))
    except AtlasError as error:
        say(Refused(str(error)))
        return
    say(Ready())
    for line in requests:
        request = from_line(line)
        try:
            say(_answer(bench, request, lambda stage, done, total: say(Working(stage, done, total)), also))
        except IndexError:
            say(Refused(f"{atlas} has no such layer or level"))
        except (AtlasError, MemoryError) as error:
            say(Refused(str(error) or "memory ran out while the network ran: try again with less running beside it"))


def _answer(bench: Bench, request: Message, progress: Progress, also: Answer | None) -> Message:
    further = None if also is None else also(bench, request, progress)
    if further is not None:
        return further
    if isinstance(request, LookRequest):
        return Refused("this process of the network cannot look inside a picture: start it as atlas.looking.launch")
    if bench.atlas is not bench.shown:
        return Refused("beside a comparison the network looks inside pictures alone: open its own atlas for the rest")
    if isinstance(request, FineRequest):
        return bench.fine(request, progress)
    assert isinstance(request, LocateRequest)
    return bench.locate(request, progress)


def _likeliest(model: Model, output: Any) -> tuple[tuple[int, float], ...]:
    shares = model.check_logits(output)[0].softmax(0)
    best = shares.topk(min(_SHOWN_CLASSES, len(shares)))
    return tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def _rows_of(found: torch.Tensor, shape: LayerShape, pool: str) -> NDArray[np.float32]:
    """A picture's vectors as the atlas' samples were taken: all positions, or one that is pooled. (rows, channels)"""
    grid = as_grid(found, shape)[0].float()
    if pool == "max":
        grid = grid.amax(0, keepdim=True)
    elif pool == "center":
        grid = grid[[shape.height // 2 * shape.width + shape.width // 2]]
    elif pool == "cls":
        grid = prefix_tokens(found, shape)[0, :1].float()
    elif pool == "mean":
        grid = grid.mean(0, keepdim=True)
    rows: NDArray[np.float32] = grid.cpu().numpy()
    return rows


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return found


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
