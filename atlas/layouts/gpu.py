"""t-SNE and UMAP on a GPU by cuML, where it can be imported and a GPU is there; the neighbours are already found.

cuML and not TorchDR, since cuML takes neighbours that were found before: every method and every figure of quality is
about the same ones. It comes from its own index for each CUDA version, so it is no extra of this package.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import LayoutError
from atlas.layouts.descending import MIN_DIST
from atlas.layouts.neighbors import Neighbors

EARLY = 12.0
"""cuML's early exaggeration; the rate is rows over this, Belkina et al. 2019."""

FAILURES = (RuntimeError, MemoryError, OSError, ImportError, AttributeError, TypeError, ValueError)
"""What CUDA, cupy and RMM raise, and what another version of cuML would: the map can be made without."""


def gpu_of(device: str) -> int | None:
    """The number of the GPU that a [run] device asks for and cuML can use, None for the processor.

    "auto" takes the first GPU when cuML is installed and there is one, "cuda" and "cuda:1" that one; "cpu" and "mps"
    never. Raises LayoutError for "cuda:N" when there are fewer, and for another name.
    """
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdecimal())):
        raise LayoutError(f"device '{device}' is not known: use auto, cpu, cuda or cuda:N")
    if kind not in ("auto", "cuda") or importlib.util.find_spec("cuml") is None:
        return None
    count, wanted = _gpus(), int(number or 0)
    if not count:
        return None
    if wanted >= count:
        raise LayoutError(f"there is no GPU {wanted} for '{device}': set the device to one below cuda:{count}")
    return wanted


def place_on_gpu(
    points: NDArray[np.float32],
    neighbors: Neighbors,
    method: str,
    *,
    gpu: int,
    seed: int,
    start: NDArray[np.float32],
) -> tuple[NDArray[np.float64], str] | None:
    """Embed by cuML's t-SNE or UMAP. (rows, components) -> ((rows, 2), what ran), None after a warning where it fails.

    start (rows, 2) is where UMAP begins, in its own unit; cuML's t-SNE begins from the principal components alone. Its
    units are those of the descent on the processor, so that other points can be placed against the result.
    """
    rows, k = neighbors.indices.shape
    # As in umap-learn a point is the first of its own neighbours.
    indices = np.concatenate([np.arange(rows)[:, None], neighbors.indices], axis=1)
    distances = np.concatenate([np.zeros((rows, 1), np.float32), neighbors.distances], axis=1)
    told: dict[str, Any] = {
        "n_components": 2,
        "n_neighbors": k + 1,
        "metric": "euclidean",
        "random_state": seed,
        "precomputed_knn": (indices.astype(np.int64), distances),
        "output_type": "numpy",
    }
    if method == "tsne":
        # Perplexity k over k neighbours is uniform affinities; "adaptive" would take more neighbours than are given.
        told |= {"method": "fft", "init": "pca", "perplexity": float(k), "early_exaggeration": EARLY}
        told |= {"learning_rate_method": "none", "learning_rate": max(rows / EARLY, 50.0)}
    else:
        told |= {"init": np.asarray(start, np.float32), "min_dist": MIN_DIST}
    try:
        cuml = importlib.import_module("cuml")
        with _on(gpu):
            made = getattr(importlib.import_module("cuml.manifold"), {"tsne": "TSNE", "umap": "UMAP"}[method])(**told)
            plane = np.asarray(made.fit_transform(np.ascontiguousarray(points, np.float32)), np.float64)
        if plane.shape != (rows, 2) or not np.isfinite(plane).all():
            raise ValueError(f"it gave places {plane.shape} that are not all finite")
    except FAILURES as error:
        warnings.warn(
            f"cuML's {method} failed on GPU {gpu} ({type(error).__name__}: {error}): laid out on the processor instead",
            stacklevel=2,
        )
        return None
    return plane, f"cuML {cuml.__version__}, GPU {gpu}"


def _gpus() -> int:
    """How many GPUs there are for cuML, 0 without a driver."""
    cupy = importlib.import_module("cupy")
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError:
        return 0


def _on(gpu: int) -> AbstractContextManager[Any]:
    device: AbstractContextManager[Any] = importlib.import_module("cupy").cuda.Device(gpu)
    return device
