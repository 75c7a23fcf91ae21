"""What is kept of finished icons: found again, never confused, whole or absent, the same bits after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rendering_networks import real_directions, tiny_model

from atlas.errors import StoreError
from atlas.models import Model
from atlas.records import Icons
from atlas.rendering import icons as icons_module
from atlas.rendering import render_icons

Render = Callable[..., Icons]


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many icons each call of the engine rendered."""
    counts: list[int] = []
    whole = icons_module.optimise

    def counted(target: Any, vectors: NDArray[np.float32], *rest: Any, **options: Any) -> Any:
        counts.append(len(vectors))
        return whole(target, vectors, *rest, **options)

    monkeypatch.setattr(icons_module, "optimise", counted)
    return counts


@pytest.fixture
def render(model: Model, directions: NDArray[np.float32], tmp_path: Path) -> Render:
    def call(model: Model = model, directions: NDArray[np.float32] = directions, **options: Any) -> Icons:
        settings: dict[str, Any] = {"size": 32, "steps": 2, "device": "cpu", "cache": tmp_path / "icons", **options}
        return render_icons(model, "second", directions, **settings)

    return call


def same(a: Icons, b: Icons) -> bool:
    names = ("images", "centre", "robust", "windowed", "strength")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_second_call_renders_nothing(render: Render, rendered: list[int], deterministic: bool) -> None:
    first = render(deterministic=deterministic)
    seen: list[tuple[str, int, int]] = []
    again = render(deterministic=deterministic, progress=lambda *a: seen.append(a))
    assert rendered == [4]
    assert same(first, again)
    assert seen == [("icons", 4, 4)]


def test_only_what_is_new_is_rendered(render: Render, rendered: list[int], directions: NDArray[np.float32]) -> None:
    first = render()
    changed = directions.copy()
    changed[1] *= 1.5
    second = render(directions=np.concatenate([changed, directions[:1]]))
    assert rendered == [4, 1]
    np.testing.assert_array_equal(second.images[[0, 2, 3, 4]], first.images[[0, 2, 3, 0]])


def test_everything_that_decides_an_icon_is_in_its_key(
    render: Render, rendered: list[int], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    render()
    starts = np.full((4, 32, 32, 3), 100, np.uint8)
    other_preprocess = replace(model.preprocess, mean=(0.4, 0.4, 0.4))
    changes: list[dict[str, Any]] = [
        {"seed": 1},
        {"steps": 3},
        {"size": 24},
        {"deterministic": True},
        {"mean": np.full(12, 0.1)},
        {"starts": starts},
        {"starts": starts + 1},
        {"model": replace(model, weights_hash="another")},
        {"model": replace(model, preprocess=other_preprocess)},
    ]
    for count, change in enumerate(changes, start=2):
        render(**change)
        assert len(rendered) == count, change
    monkeypatch.setattr(icons_module, "ENGINE_VERSION", -1)
    render()
    monkeypatch.undo()
    for change in [{}, *changes]:
        render(**change)
    assert len(rendered) == len(changes) + 2


def test_every_setting_of_the_recipe_is_in_the_key(
    monkeypatch: pytest.MonkeyPatch, render: Render, rendered: list[int]
) -> None:
    render()
    recipe = icons_module.Recipe(steps=2)
    changes = [
        *({name: getattr(recipe, name) * 0.9} for name in ("rate", "rise", "deviation", "decay", "gain")),
        *({"wobble": replace(recipe.wobble, **{name: 0.01})} for name in ("shift", "rotation", "scale")),
        *(
            {"objective": replace(recipe.objective, **{name: 1.0})}
            for name in ("strength", "angle", "contrast", "knee")
        ),
    ]
    for count, change in enumerate(changes, start=2):
        changed = replace(recipe, **change)
        monkeypatch.setattr(icons_module, "Recipe", lambda steps, changed=changed: changed)
        render()
        assert len(rendered) == count, change


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 torn", b"not an archive"])
def test_a_damaged_file_is_rendered_again(render: Render, rendered: list[int], tmp_path: Path, damage: bytes) -> None:
    first = render(batch=1, deterministic=True)
    victim = sorted((tmp_path / "icons").glob("*.npz"))[0]
    whole = victim.read_bytes()
    victim.write_bytes(damage)
    assert same(render(batch=1, deterministic=True), first)
    assert rendered == [1] * 5
    assert len(victim.read_bytes()) == len(whole)


def test_a_file_holds_arrays_and_no_pickles(render: Render, tmp_path: Path) -> None:
    icons = render()
    files = sorted((tmp_path / "icons").iterdir())
    assert len(files) == 4
    images = []
    for file in files:
        assert len(file.stem) == 64
        with np.load(file, allow_pickle=False) as stored:
            assert sorted(stored) == ["image", "pooled", "scores"]
            images.append(stored["image"])
    assert {image.tobytes() for image in images} == {image.tobytes() for image in icons.images}


def test_ctrl_c_keeps_finished_batches(render: Render, rendered: list[int]) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(batch=1, progress=interrupt)
    render(batch=1)
    assert rendered == [1, 1, 1, 1]


@pytest.mark.parametrize("layer", ["first", "second", "head"])
def test_deterministic_icons_have_the_same_bits_each_time(model: Model, layer: str) -> None:
    directions = real_directions(model, layer, 5)
    a, b = (
        render_icons(model, layer, directions, size=32, steps=6, device="cpu", deterministic=True, batch=2)
        for _ in "ab"
    )
    assert same(a, b)


_KILLED = """
import sys; sys.path[:0] = [{here!r}]
import torch; torch.set_num_threads(1)
from rendering_networks import real_directions, tiny_model
from pathlib import Path
from atlas.rendering import render_icons
model = tiny_model()
render_icons(model, "second", real_directions(model, "second", 12), size=32, steps=12, deterministic=True, batch=2,
             cache=Path({cache!r}), progress=lambda stage, done, total: print(done, flush=True))
"""


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path, rendered: list[int]) -> None:
    here = str(Path(__file__).parent)
    cache = tmp_path / "icons"
    script = _KILLED.format(here=here, cache=str(cache))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if int(line) >= 4:
                break
        run.send_signal(signal.SIGKILL)
    kept = len(list(cache.glob("*.npz")))
    assert 4 <= kept < 12, "the run ended before it could be killed"
    model = tiny_model()
    directions = real_directions(model, "second", 12)
    settings: dict[str, Any] = {"size": 32, "steps": 12, "deterministic": True, "batch": 2}
    resumed = render_icons(model, "second", directions, cache=cache, **settings)
    assert len(rendered) <= 6 - kept // 2
    untouched = render_icons(model, "second", directions, **settings)
    assert same(resumed, untouched)


def test_a_cache_that_cannot_be_made_is_named(render: Render, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"the icon cache .*file cannot be made"):
        render(cache=tmp_path / "file")


def test_deterministic_runs_on_the_processor(model: Model, directions: NDArray[np.float32]) -> None:
    place = icons_module._place
    options = icons_module._Options(32, 1, 0, True, "batched", None, None, "output", None, None)
    assert place("auto", options) == torch.device("cpu")
