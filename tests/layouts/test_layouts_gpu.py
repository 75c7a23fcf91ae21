"""Layouts by cuML, with a cuML that is not there: when it is asked, with what, and what becomes of what it says."""

from __future__ import annotations

import sys
import warnings
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from atlas.errors import LayoutError
from atlas.layouts import compute_layout
from atlas.layouts.gpu import gpu_of
from atlas.layouts.neighbors import find_neighbors
from atlas.layouts.reduce import reduce_rows, survey_rows


class NoDriver(RuntimeError):
    """What cupy raises without a driver."""


class Machine:
    """A cuML whose maps are the first two components, 7 and 3 times as wide, and a count of GPUs."""

    def __init__(self) -> None:
        self.gpus = 2
        self.asked: list[tuple[str, dict[str, Any], NDArray[np.float32]]] = []
        self.on: list[int] = []
        self.error: Exception | None = None
        self.broken = False

    def count(self) -> int:
        if not self.gpus:
            raise NoDriver("cudaErrorNoDevice")
        return self.gpus

    def device(self, number: int) -> Any:
        self.on.append(number)
        return nullcontext()

    def maker(self, name: str) -> Any:
        def make(**told: Any) -> Any:
            return SimpleNamespace(fit_transform=lambda points: self.place(name, told, points))

        return make

    def place(self, name: str, told: dict[str, Any], points: NDArray[np.float32]) -> NDArray[np.float32]:
        self.asked.append((name, told, points))
        if self.error is not None:
            raise self.error
        plane = (points[:, :2] * (7, 3) + 100).astype(np.float32)
        if self.broken:
            plane[0] = np.nan
        return plane


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    runtime = SimpleNamespace(getDeviceCount=machine.count, CUDARuntimeError=NoDriver)
    manifold = SimpleNamespace(TSNE=machine.maker("TSNE"), UMAP=machine.maker("UMAP"))
    modules = {
        "cuml": {"__version__": "26.08", "manifold": manifold},
        "cuml.manifold": vars(manifold),
        "cupy": {"cuda": SimpleNamespace(runtime=runtime, Device=machine.device)},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        module.__spec__ = SimpleNamespace(name=name)  # type: ignore[assignment]
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return machine


def rows(count: int = 300) -> NDArray[np.float32]:
    """Of components that fall off, so that the first two are sure."""
    return (np.random.default_rng(0).normal(size=(count, 12)) * 0.7 ** np.arange(12)).astype(np.float32)


def test_tsne_is_asked_for_with_our_neighbours_and_its_map_fills_the_square(machine: Machine) -> None:
    x = rows()
    layout = compute_layout(x, metric="euclidean", seed=5)
    assert layout.engine == "cuML 26.08, GPU 0"
    assert machine.on == [0]
    ((name, told, points),) = machine.asked
    assert name == "TSNE"
    expected = reduce_rows(x, survey_rows(x), metric="euclidean", seed=5)
    np.testing.assert_array_equal(points, expected)
    found = find_neighbors(expected, 15, seed=5)
    indices, distances = told.pop("precomputed_knn")
    np.testing.assert_array_equal(indices[:, 0], np.arange(300))
    np.testing.assert_array_equal(indices[:, 1:], found.indices)
    np.testing.assert_array_equal(distances[:, 1:], found.distances)
    assert not distances[:, 0].any()
    assert told == {
        "n_components": 2, "n_neighbors": 16, "metric": "euclidean", "random_state": 5, "output_type": "numpy",
        "method": "fft", "init": "pca", "perplexity": 15.0, "early_exaggeration": 12.0, "learning_rate": 50.0,
        "learning_rate_method": "none",
    }  # fmt: skip
    inside = layout.positions[layout.state == 0]
    np.testing.assert_allclose((inside.min(axis=0)[0], inside.max(axis=0)[0]), (0, 1), atol=1e-6)
    # Isotropic: y keeps its share of x, and neither is turned or mirrored.
    plane = expected[:, :2] * (7, 3)
    scale = np.ptp(plane[layout.state == 0][:, 0])
    np.testing.assert_allclose(layout.positions - layout.positions[0], (plane - plane[0]) / scale, atol=1e-5)


def test_umap_starts_where_ours_does_and_follows_a_start(machine: Machine) -> None:
    x = rows()
    start = np.random.default_rng(1).uniform(size=(300, 2)).astype(np.float32)
    followed = compute_layout(x, method="umap", start=start, device="cuda:1")
    ((name, told, _),) = machine.asked
    assert (name, followed.engine, machine.on) == ("UMAP", "cuML 26.08, GPU 1", [1])
    assert told["min_dist"] == 0.01
    centred = (start - start.mean(axis=0)) / start.std(axis=0).max()
    assert told["init"].dtype == np.float32
    np.testing.assert_allclose(told["init"], 2.5 * centred, atol=0.15)
    # Turned onto the start: the cross-covariance is symmetric and positive, as Procrustes leaves it.
    flat = followed.positions - followed.positions.mean(axis=0)
    cross = flat.T.astype(np.float64) @ centred
    np.testing.assert_allclose(cross[0, 1], cross[1, 0], atol=1e-3 * np.abs(cross).max())
    assert np.linalg.eigvalsh((cross + cross.T) / 2).min() > -1e-6


def test_the_rest_is_placed_against_what_the_gpu_fitted(machine: Machine) -> None:
    layout = compute_layout(rows(3000), fit=2000)
    assert len(machine.asked[0][2]) == 2000
    assert layout.counts()["placed"] + layout.counts()["outlier"] >= 900


@pytest.mark.parametrize(
    "told",
    [
        {"device": "cpu"},
        {"device": "mps"},
        {"deterministic": True},
        {"method": "pca"},
        {"line": True},
        {"start": np.random.default_rng(1).uniform(size=(300, 2))},
    ],
)
def test_what_is_left_to_the_processor(machine: Machine, told: dict[str, Any]) -> None:
    assert compute_layout(rows(), **told).engine == "processor"
    assert not machine.asked


def test_without_a_gpu_or_without_cuml_nothing_is_asked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.gpus = 0
    assert gpu_of("auto") is None
    assert compute_layout(rows(), device="cuda").engine == "processor"
    machine.gpus = 1
    assert gpu_of("auto") == 0
    for name in ("cuml", "cuml.manifold"):
        monkeypatch.delitem(sys.modules, name)
    assert gpu_of("auto") is None


@pytest.mark.parametrize("failure", [RuntimeError("out of memory"), TypeError("unexpected keyword"), None])
def test_a_failure_is_told_and_the_processor_takes_over(machine: Machine, failure: Exception | None) -> None:
    machine.error, machine.broken = failure, failure is None
    with pytest.warns(UserWarning, match=r"cuML's tsne failed on GPU 0 \(.*\): laid out on the processor instead"):
        layout = compute_layout(rows())
    assert layout.engine == "processor"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(layout.positions, compute_layout(rows(), device="cpu").positions)


def test_a_gpu_that_is_not_there_and_an_unknown_device_are_told(machine: Machine) -> None:
    with pytest.raises(LayoutError, match=r"no GPU 2 for 'cuda:2': set the device to one below cuda:2"):
        compute_layout(rows(), device="cuda:2")
    for device in ("gpu", "cuda:x", "cpu:1"):
        with pytest.raises(LayoutError, match=f"device '{device}' is not known"):
            compute_layout(rows(), device=device)
