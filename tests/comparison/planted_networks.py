"""Planted networks: a store and the atlas built from it, of rows that a test makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.layouts import bin_into_cells, compute_layout, describe_cells
from atlas.records import Icons, LayerShape
from atlas.storage import AtlasWriter, StoreHeader, StoreWriter, open_store
from atlas.storage.parts import Effects, ImageTable, LayerRows, LayerSpec, Part

Floats = NDArray[np.floating]
ICON = 24
SIDE = 8  # cells of the layer's map


@dataclass(frozen=True)
class Pictures:
    """What all networks see: ids, labels (an index into `classes`, -1: none), and places of their positions."""

    ids: Sequence[str]
    labels: NDArray[np.int64]
    classes: tuple[str, ...] = ("ant", "bee", "cat", "dog")
    positions: int = 1
    name: str = "planted"

    @classmethod
    def of(cls, count: int = 160, *, classes: int = 4, positions: int = 1, name: str = "planted") -> Pictures:
        names = ("ant", "bee", "cat", "dog", "elk", "fox")[:classes]
        labels = np.arange(count) % classes
        return cls([f"{name}/{names[c]}/{i:04d}.jpg" for i, c in enumerate(labels)], labels, names, positions, name)

    @property
    def uv(self) -> NDArray[np.float32]:
        """A place for each position, drawn from its number, in the middle of a cell of the map."""
        rows = np.arange(len(self.ids) * self.positions)
        cell = np.stack([rows * 7 % SIDE, rows * 5 % SIDE], axis=1)
        return ((cell + 0.5) / SIDE).astype(np.float32)


@dataclass(frozen=True)
class Made:
    """How a planted network is to be made."""

    layer: str = "layer3"
    kind: str = "positions"
    weights: str = "weights of the first"
    outputs: tuple[str, ...] | None = None
    order: NDArray[np.int64] | None = None
    uv: NDArray[np.float32] | None = None
    settings: dict[str, str] = field(default_factory=dict)


def clouds(labels: NDArray[np.int64], channels: int, *, seed: int, apart: float = 4.0) -> NDArray[np.float32]:
    """Rows in a cloud for each label, all positive."""
    rng = np.random.default_rng(seed)
    centre = apart * rng.random((int(labels.max()) + 1, channels))
    return (np.abs(centre[labels] + 0.7 * rng.normal(size=(len(labels), channels)))).astype(np.float32)


def write_network(
    folder: Path,
    name: str,
    rows: Floats,
    pictures: Pictures,
    predictions: NDArray[np.int64] | None = None,
    **told: object,
) -> Path:
    """Write NAME.store and NAME.atlas; rows (images * positions, channels) are in the order of `pictures`."""
    made = Made(**told)  # type: ignore[arg-type]
    store = write_store(folder / f"{name}.store", rows, pictures, predictions, made)
    return _write_atlas(folder / f"{name}.atlas", store, made)


def write_store(
    path: Path, rows: Floats, pictures: Pictures, predictions: NDArray[np.int64] | None = None, made: Made | None = None
) -> Path:
    """Write NAME.store alone."""
    made = made or Made()
    images, p = len(pictures.ids), pictures.positions
    order = np.arange(images) if made.order is None else made.order
    shaped = rows.reshape(images, p, -1)[order]
    uv = (pictures.uv if made.uv is None else made.uv).reshape(images, p, 2)[order].reshape(-1, 2)
    outputs = pictures.classes if made.outputs is None else made.outputs
    said = np.full(images, -1) if predictions is None or not outputs else predictions[order]
    n = len(outputs)
    values = np.eye(max(n, 1), dtype=np.float32)[said.clip(0)] * 3
    effects = Effects(np.arange(images) * p, np.tile(np.arange(n, dtype=np.int32), (images, 1)), values[:, :n])
    positions = made.kind == "positions"
    spec = LayerSpec(
        made.layer, LayerShape("map", shaped.shape[2], SIDE, SIDE), "output", ("mean",), p if positions else 0,
        1 if n else 0, n,
    )  # fmt: skip
    if not positions:
        effects = Effects(np.arange(images), effects.classes, effects.values)
    box = np.concatenate([np.maximum(uv - 0.2, 0), np.minimum(uv + 0.2, 1)], axis=1).astype(np.float32)
    layer = LayerRows(
        {"mean": shaped.mean(axis=1).astype(np.float16)},
        shaped.reshape(images * p, -1).astype(np.float16) if positions else None,
        np.repeat(np.arange(images), p) if positions else None,
        uv if positions else None,
        box if positions else None,
        effects if n else None,
    )
    labels = pictures.labels[order].astype(np.int32)
    size = np.full(images, 64, np.int32)
    table = ImageTable(
        [pictures.ids[i] for i in order], np.arange(images), size, size // 2, labels, said.astype(np.int32),
        np.where(said >= 0, 0.9, np.nan).astype(np.float32), np.full((images, 5), -1, np.int32),
        np.full((images, 5), np.nan, np.float32), np.tile(np.array([0, 0, 1, 1], np.float32), (images, 1)),
    )  # fmt: skip
    provenance = {
        "data": {"name": pictures.name, "fingerprint": f"{pictures.name} {images}"},
        "model": {"name": "planted", "weights": made.weights, "preprocess": {"fingerprint": "as it is"}},
    }
    header = StoreHeader(
        pictures.name, f"{path.stem} {float(shaped.sum())}", (spec,), "here", pictures.classes, outputs,
        outputs == pictures.classes, provenance,
    )  # fmt: skip
    writer = StoreWriter(path, header, images, images)
    writer.write(0, Part(0, images, table, [layer], []))
    writer.finish(writer.join())
    return path


def _write_atlas(path: Path, place: Path, made: Made) -> Path:
    store = open_store(place)
    layer, images = store.layers[made.layer], store.images
    kind = made.kind
    image_of = layer.image_of(kind)  # type: ignore[arg-type]
    writer = AtlasWriter(
        path, name=path.stem, fingerprint=f"atlas of {store.fingerprint}", classes=store.classes, outputs=store.outputs,
        aligned=store.aligned,
        provenance={"store": {"path": f"../{place.name}/index.h5", "fingerprint": store.fingerprint}},
    )  # fmt: skip
    writer.write_images(images.ids, images.label, images.prediction, images.confidence, images.width, images.height)
    writer.write_thumbnails(lambda i: Image.new("RGB", (64, 32), (40 * int(images.label[i] + 1), i % 255, 90)))
    layout = compute_layout(store, layer=made.layer, kind=kind, method="pca")  # type: ignore[arg-type]
    writer.write_layer_samples(
        0, name=made.layer, kind=kind, channels=layer.shape.channels, layout=layout,  # type: ignore[arg-type]
        image_of=image_of, uv=layer.uv(kind), box=layer.box(kind),  # type: ignore[arg-type]
        settings={"method": "pca", "metric": "cosine", "seed": 0, **made.settings}, icon_size=ICON, patch_size=ICON,
    )  # fmt: skip
    level = bin_into_cells(layout, image_of, level=0, min_images=2)
    told = describe_cells(
        level, layer.rows(kind), image_of, images.label, images.prediction, images.confidence, layer.effects(kind),  # type: ignore[arg-type]
        len(store.classes),
    )  # fmt: skip
    shown = np.unique(told.patches[told.patches >= 0])
    writer.write_patches(0, shown, lambda k: np.full((ICON, ICON, 3), int(shown[k]) % 255, np.uint8))
    kept = int(level.kept.sum())
    pictures = np.broadcast_to((np.arange(kept) * 3 % 255)[:, None, None, None], (kept, ICON, ICON, 3))
    score = np.full(kept, 0.8, np.float32)
    writer.write_level(0, level, told, Icons(pictures.astype(np.uint8), score, score, score, 3 * score), believe=0.5)
    return writer.finish().path
