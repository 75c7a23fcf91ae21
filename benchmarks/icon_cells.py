"""The cells that engines draw icons for: k-means centres of real activations, with the pictures behind them."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from networks import cifar10, imagenet, resnet20, resnet56, squeezenet
from numpy.typing import NDArray

PATCH = 96  # pixels


@dataclass(frozen=True)
class Case:
    """A layer of a network, the pictures it is shown, and the other network that reads its icons."""

    name: str
    layer: str
    positions: int
    images: int | None
    other: str | None = None

    def model(self) -> Any:
        return MODELS[self.name]()

    def reader(self) -> Any:
        return None if self.other is None else MODELS[self.other]()


@dataclass(frozen=True)
class Cells:
    """n cells of a layer; row i of every array belongs to cell i.

    directions: float32 (n, channels), the mean of the cell's samples. other: the same samples' mean in the other
    network, float32 (n, its channels), or None. patches: uint8 (n, 96, 96, 3), the sample nearest to the mean by
    cosine, as cut from its picture; patch_cosine: that cosine. spread: 1 - the samples' mean cosine to the mean.
    """

    directions: NDArray[np.float32]
    other: NDArray[np.float32] | None
    patches: NDArray[np.uint8]
    patch_cosine: NDArray[np.float32]
    spread: NDArray[np.float32]

    @property
    def key(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.directions).tobytes()).hexdigest()[:16]


MODELS = {"squeezenet": squeezenet, "resnet20": resnet20, "resnet56": resnet56}
CASES = {
    "squeezenet": Case("squeezenet", "features.10", 20, None),
    "resnet56": Case("resnet56", "layer2", 5, 3000, other="resnet20"),
    "resnet20": Case("resnet20", "layer2", 5, 3000, other="resnet56"),
}


def find_cells(case: Case, count: int, seed: int, cache: Path) -> Cells:
    """Cluster a layer's activations into `count` cells; kept in `cache`."""
    kept = cache / f"cells-{case.name}-{count}-{seed}.npz"
    if kept.is_file():
        with np.load(kept, allow_pickle=False) as stored:
            arrays: dict[str, Any] = {name: stored[name] for name in stored.files}
        return Cells(**{"other": None, **arrays})
    from sklearn.cluster import KMeans

    from atlas.datasets.sampling import take

    source = take(imagenet() if case.name == "squeezenet" else cifar10(), case.images)
    rows, boxes, image_of = _activations(source, case.model(), case)
    member_of = KMeans(count, n_init=1, random_state=seed).fit_predict(rows)
    means = np.stack([rows[member_of == cell].mean(0) for cell in range(count)])
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    cosine = np.einsum("rc,rc->r", unit, (means / np.linalg.norm(means, axis=1, keepdims=True))[member_of])
    best = [_argbest(cosine, member_of == cell) for cell in range(count)]
    cells = {
        "directions": means,
        "patches": np.stack([_patch(source, int(image_of[row]), boxes[row]) for row in best]),
        "patch_cosine": cosine[best].astype(np.float32),
        "spread": np.array([1 - cosine[member_of == cell].mean() for cell in range(count)], np.float32),
    }
    if case.other is not None:
        read, _, _ = _activations(source, case.reader(), case)
        cells["other"] = np.stack([read[member_of == cell].mean(0) for cell in range(count)])
    cache.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(kept, **cells)
    return find_cells(case, count, seed, cache)


def _activations(source: Any, model: Any, case: Case) -> tuple[NDArray[np.float32], Any, Any]:
    """Sampled positions' activations, their boxes and images; positions are the same for every network."""
    from atlas.extraction import extract

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "cells.store"
        store = extract(source, model, [case.layer], out, positions=case.positions, effects=0, predictions=False)
        stored = store.layers[case.layer]
        image_of = store.images.index[stored.image_of("positions")]
        return stored.rows("positions")[:].astype(np.float32), stored.box("positions"), image_of


def _argbest(values: NDArray[np.float32], among: NDArray[np.bool_]) -> int:
    return int(np.flatnonzero(among)[values[among].argmax()])


def _patch(source: Any, image: int, box: NDArray[np.float32]) -> NDArray[np.uint8]:
    from atlas.pictures import cut_patch

    return cut_patch(source.read(image), box, PATCH)
