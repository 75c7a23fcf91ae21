"""What suspects are looked for in: an atlas at its layers, its store, and the network where a pipeline names it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from atlas.datasets import ImageSource
from atlas.errors import DataError, StoreError
from atlas.job import Job, open_job
from atlas.models import Model, layer_shapes, layer_table, resolve_device
from atlas.models.capture import Tap
from atlas.records import LayerShape
from atlas.storage import ActivationStore, Atlas, open_atlas
from atlas.storage.atlas import AtlasLayer
from atlas.storage.remembered import store_of
from atlas.storage.store import is_store
from atlas.suspects.probe import Probe

LEAST = 50
"""Images of one class that are needed: a cluster of 25 must leave as many outside."""


@dataclass(frozen=True)
class Subject:
    """An atlas whose suspects are looked for, at one of its layers.

    label, prediction: int64 (images,), indices into `classes`, -1: none. probes: the network at the layers that are
    looked at, the atlas's own last; () without a pipeline.
    """

    atlas: Atlas
    layer: AtlasLayer
    store: ActivationStore
    classes: tuple[str, ...]
    label: NDArray[np.int64]
    prediction: NDArray[np.int64]
    confidence: NDArray[np.float32]
    job: Job | None = None
    probes: tuple[Probe, ...] = ()

    @property
    def ids(self) -> list[str]:
        """The images' ids."""
        return list(self.store.images.ids)

    @property
    def probe(self) -> Probe | None:
        """The network at the atlas's own layer; None without a pipeline."""
        return self.probes[-1] if self.probes else None

    @property
    def weights(self) -> str:
        """The hash of the network's weights; "" without a pipeline."""
        return "" if self.job is None else self.job.model.weights_hash


def open_subject(given: Atlas | str | Path, layer: str | None, pipeline: str | Path | None) -> Subject:
    """Open an atlas with its store, and the network of a pipeline.

    layer: by default the last. Raises StoreError for an atlas that is unfinished or whose store is missing or changed,
    and for a pipeline of another network; DataError where labels or images do not suffice; ModelError for an encoder.
    """
    atlas = _atlas(given)
    if not atlas.complete:
        raise StoreError(f"{atlas.path} is not finished: 'atlas build' goes on with it")
    if not atlas.layers:
        raise StoreError(f"{atlas.path} has no layer: build it again")
    chosen = atlas.layer(layer) if layer is not None else atlas.layers[-1]
    store = store_of(atlas, "suspects cannot be looked for", "restore it: suspects are found in the raw activations")
    images = store.images
    label = images.label.astype(np.int64)
    prediction = images.prediction.astype(np.int64) if store.aligned else np.full(len(store), -1, np.int64)
    confidence = np.where(prediction >= 0, images.confidence, np.nan).astype(np.float32)
    _check_labels(atlas, label)
    subject = Subject(atlas, chosen, store, tuple(store.classes), label, prediction, confidence)
    return subject if pipeline is None else _with_network(subject, Path(pipeline))


def _atlas(given: Atlas | str | Path) -> Atlas:
    if isinstance(given, Atlas):
        return given
    if is_store(given):
        raise StoreError(f"{given} is a store: name the atlas that was built from it, or build one")
    return open_atlas(given)


def _check_labels(atlas: Atlas, label: NDArray[np.int64]) -> None:
    if not (label >= 0).any():
        raise DataError(
            f"the images of {atlas.path} have no labels, and suspects are looked for within classes: "
            "give the manifest labels and build the atlas again"
        )
    largest = int(np.bincount(label[label >= 0]).max())
    if largest < LEAST:
        raise DataError(
            f"the largest class of {atlas.path} has {largest} images, too few to find a part of it: "
            f"build the atlas from {LEAST} or more of a class"
        )


def _with_network(subject: Subject, pipeline: Path) -> Subject:
    job, atlas = open_job(pipeline), subject.atlas
    made = atlas.provenance.get("model", {})
    if made.get("weights_hash") != job.model.weights_hash:
        raise StoreError(
            f"{pipeline} has other weights than {atlas.path} was made with: name the pipeline that it was made with"
        )
    if made.get("preprocess") != job.model.preprocess.fingerprint:
        raise StoreError(
            f"{pipeline} has another preprocessing than {atlas.path} was made with: name the pipeline that it was made "
            "with"
        )
    if not job.model.is_classifier:
        raise DataError(
            f"the network of {pipeline} is an encoder without class names, so nothing tells what it uses: "
            "give model.classes, or leave the pipeline out"
        )
    if not subject.store.aligned:
        raise DataError(
            f"the labels of {atlas.path} are not its network's classes, so nothing tells what a cue does to them: "
            "give model.classes that match, or leave the pipeline out"
        )
    probes = _probes(subject, job)
    return Subject(**{**vars(subject), "job": job, "probes": probes})


def _probes(subject: Subject, job: Job) -> tuple[Probe, ...]:
    """The network at an early, a middle and the atlas's own layer: colours show early, marks late."""
    model = job.model.to(resolve_device(job.config.run.device))
    source, own = job.source, subject.layer.name
    size = model.preprocess.input_shape
    if size is None:
        raise DataError(
            f"the pictures of {subject.atlas.path} enter the network in different sizes: add model.preprocess.crop "
            "and build the atlas again, or leave the pipeline out"
        )
    tap = cast(Tap, subject.store.layer(own).tap)
    index = _places(source, subject.ids)

    def read(image: int) -> NDArray[np.uint8]:
        return model.preprocess.picture(source.read(index[image]))

    shape = layer_shapes(model, [own], size, tap=tap)[own]
    earlier = _earlier(model, own, shape, size)
    shapes = layer_shapes(model, earlier, size) if earlier else {}
    others = tuple(Probe(model, name, shapes[name], read) for name in earlier)
    return (*others, Probe(model, own, shape, read, tap))


def _earlier(model: Model, own: str, shape: LayerShape, size: tuple[int, int, int]) -> list[str]:
    """At most two layers before the atlas's own: of its siblings the last of each size of map, else evenly spread."""
    depth, place = own.count("."), own.partition("#")[0]
    rows = [row for row in layer_table(model, size) if row.shape is not None and row.name.count(".") == depth]
    names = [row.name for row in rows]
    if place not in names:
        return []
    rows = [row for row in rows[: names.index(place)] if row.shape is not None and row.calls == 1]
    wide = [row for row in rows if row.shape is not None and row.shape.height * row.shape.width > 1]
    last_of_size = {(row.shape.height, row.shape.width): row.name for row in wide if row.shape is not None}
    last_of_size.pop((shape.height, shape.width), None)
    found = list(last_of_size.values()) or [row.name for row in wide]
    spread = np.linspace(0, len(found), 4).round().astype(int)[1:3] if len(found) > 2 else range(len(found))
    return [found[min(int(i), len(found) - 1)] for i in dict.fromkeys(spread)]


def _places(source: ImageSource, ids: Sequence[str]) -> list[int]:
    """Where each image of the atlas is in the pipeline's dataset."""
    known = {entry.id: index for index, entry in enumerate(source.entries())}
    missing = [name for name in ids if name not in known]
    if missing:
        raise StoreError(
            f"the pipeline's dataset has no image '{missing[0]}', which the atlas has: name the pipeline that it was "
            "made with"
        )
    return [known[name] for name in ids]
