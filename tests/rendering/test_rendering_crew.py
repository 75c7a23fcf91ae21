"""Batches drawn at once, each on a thread of its own: the same icons, whatever the number of threads."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rendering_networks import real_directions, tiny_model

from atlas.models import Model
from atlas.rendering import icons as icons_module
from atlas.rendering import render_icons
from atlas.rendering.crew import crew
from atlas.rendering.target import Halted, open_target

COUNT = 12
SETTINGS: dict[str, Any] = {"size": 32, "steps": 4, "device": "cpu", "batch": 2}


@pytest.fixture
def many() -> NDArray[np.float32]:
    return real_directions(tiny_model(), "second", COUNT)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that batches were drawn on, by name, while torch has three."""
    seen: list[str] = []
    whole = icons_module.optimise

    def watched(*given: Any, **options: Any) -> Any:
        seen.append(threading.current_thread().name)
        assert torch.get_num_threads() == (1 if seen[-1].startswith("icons") else 3)
        return whole(*given, **options)

    monkeypatch.setattr(icons_module, "optimise", watched)
    torch.set_num_threads(3)
    return seen


@pytest.mark.parametrize("deterministic", [False, True])
def test_icons_do_not_hang_on_the_number_of_threads(
    model: Model, many: NDArray[np.float32], threads: list[str], deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = render_icons(model, "second", many, deterministic=deterministic, **SETTINGS)
    assert {name.startswith("icons") for name in threads} == {True}
    assert len(set(threads)) > 1
    assert torch.get_num_threads() == 3
    monkeypatch.undo()
    torch.set_num_threads(1)
    in_turn = render_icons(model, "second", many, deterministic=deterministic, **SETTINGS)
    np.testing.assert_array_equal(at_once.images, in_turn.images)
    np.testing.assert_array_equal(at_once.robust, in_turn.robust)


def test_networks_of_a_crew_share_their_weights_and_not_their_hooks(model: Model) -> None:
    with open_target(model, "second", size=32, width=12, device=torch.device("cpu"), crew=3) as target:
        networks = [member._run._network for member in target.crew]
        assert len({id(network) for network in networks}) == 3
        for tensors in zip(*(network.state_dict().values() for network in networks), strict=True):
            assert len({tensor.data_ptr() for tensor in tensors}) == 1
        modules = [network.get_submodule("second") for network in networks]
        assert all(len(module._forward_hooks) == 1 for module in modules)
    assert not any(module._forward_hooks for module in modules)


def test_memory_that_runs_out_on_one_thread_makes_the_others_batches_smaller_too(
    model: Model, many: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, tried = icons_module.optimise, []

    def small_memory(target: object, vectors: NDArray[np.float32], *rest: object, **options: object) -> object:
        tried.append(len(vectors))
        if len(vectors) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return whole(target, vectors, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(icons_module, "optimise", small_memory)
    torch.set_num_threads(3)
    icons = render_icons(model, "second", many, **{**SETTINGS, "batch": 4})
    assert np.isfinite(icons.robust).all()
    assert tried.count(1) == COUNT
    assert 1 <= tried.count(4) <= 3


def test_an_interrupted_call_keeps_what_each_thread_finished(
    model: Model, many: NDArray[np.float32], threads: list[str], tmp_path: Path
) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_icons(model, "second", many, cache=tmp_path, progress=interrupt, **SETTINGS)
    assert torch.get_num_threads() == 3
    kept = len(list(tmp_path.glob("*.npz")))
    assert 4 <= kept < COUNT
    threads.clear()
    render_icons(model, "second", many, cache=tmp_path, **SETTINGS)
    assert len(threads) == (COUNT - kept) // 2


def test_a_halted_target_ends_at_its_next_pass(model: Model) -> None:
    begun, left = threading.Event(), threading.Event()
    passes = []

    def endless(target: Any) -> None:
        while True:
            target.show(torch.full((1, target.channels, 32, 32), 0.5))
            passes.append(target)
            begun.set()
            left.wait(0.01)

    def leave(targets: Any) -> None:
        with crew(targets, alone=True) as submit:
            futures.extend(submit(endless) for _ in range(3))
            assert begun.wait(20)
            raise ZeroDivisionError

    futures: list[Any] = []
    with open_target(model, "second", size=32, width=12, device=torch.device("cpu"), crew=2) as target:
        with pytest.raises(ZeroDivisionError):
            leave(target.crew)
        assert [future.cancelled() for future in futures] == [False, False, True]
        assert all(isinstance(future.exception(), Halted) for future in futures[:2])
    assert passes
