"""The reference backend: lucent's own loop, with nothing left behind."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rendering_networks import real_directions, tiny_model, wrap

from atlas.errors import ModelError, RenderError
from atlas.models import Model
from atlas.rendering import render_icons


def render(model: Model, directions: NDArray[np.float32], layer: str = "second", **options: Any) -> Any:
    settings: dict[str, Any] = {"size": 32, "steps": 12, "backend": "lucent", **options}
    return render_icons(model, layer, directions, **settings)


@pytest.mark.parametrize("kind", ["map", "grey"])
def test_lucent_renders_icons_that_point_along_their_directions(kind: str) -> None:
    model = tiny_model(kind)
    directions = real_directions(model, "first", 3)
    icons, begun = (render(model, directions, "first", steps=steps) for steps in (96, 1))
    assert icons.images.shape == (3, 32, 32, 3)
    assert np.median(icons.windowed) > np.median(begun.windowed) + 0.2
    if kind == "grey":
        np.testing.assert_array_equal(icons.images[..., 0], icons.images[..., 2])


def test_icons_of_any_size_are_shown_at_the_networks_own(model: Model, directions: NDArray[np.float32]) -> None:
    assert render(model, directions[:2], size=24, steps=2).images.shape == (2, 24, 24, 3)
    assert render(model, directions[:2], size=48, steps=2).images.shape == (2, 48, 48, 3)


def test_the_same_call_gives_the_same_bits_whatever_the_others(model: Model, directions: NDArray[np.float32]) -> None:
    first, again = (render(model, directions, deterministic=True) for _ in "ab")
    np.testing.assert_array_equal(first.images, again.images)
    alone = render(model, directions[1:2])
    assert np.abs(alone.images[0].astype(int) - first.images[1]).max() <= 2
    other = render(model, directions, seed=1)
    assert np.abs(other.images.astype(int) - first.images).max() > 20


def test_a_start_is_where_lucent_begins(model: Model, directions: NDArray[np.float32]) -> None:
    starts = np.random.default_rng(0).integers(60, 200, (4, 32, 32, 3), dtype=np.uint8)
    near = render(model, directions, steps=1, starts=starts)
    assert np.abs(near.images.astype(int) - starts).mean() < 12


def test_lucent_leaves_no_hooks_and_no_random_state(model: Model, directions: NDArray[np.float32]) -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(1), np.random.random()  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    render(model, directions, steps=2)
    assert (torch.rand(1), np.random.random()) == expected  # noqa: NPY002
    assert all(not module._forward_hooks for module in model.network.modules())
    assert all(module.inplace for module in model.network.first if isinstance(module, torch.nn.ReLU))


def test_ctrl_c_is_not_swallowed(
    model: Model, directions: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lucent.optvis import objectives

    whole = objectives.direction
    calls: list[None] = []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        inner = whole(*arguments, **options)

        def objective(network: Any) -> Any:
            calls.append(None)
            if len(calls) == 5:
                signal.raise_signal(signal.SIGINT)
            return inner(network)

        return objectives.Objective(objective)

    monkeypatch.setattr(objectives, "direction", interrupted)
    with pytest.raises(KeyboardInterrupt):
        render(model, directions[:1])


@pytest.mark.parametrize(
    ("kind", "layer", "options", "message"),
    [
        ("tokens", "block", {}, "layer 'block' is 'tokens': set backend to 'batched'"),
        ("map", "head", {}, "layer 'head' is 'vector'"),
        ("map", "second", {"tap": "input"}, "reads a layer's output, not its input"),
        ("map", "second", {"mean": True}, "has no objective with the layer's mean"),
        ("map", "second", {"device": "cuda:3"}, "backend 'lucent' runs on cpu alone here, not on cuda:3"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="lucent takes the GPU where there is one")
def test_what_lucent_cannot_do_is_refused(kind: str, layer: str, options: dict[str, Any], message: str) -> None:
    model = tiny_model(kind)
    tap = options.get("tap", "output")
    width = 8 if tap == "input" else 4 if layer == "head" else 12
    if "mean" in options:
        options = {"mean": np.ones(12)}
    with pytest.raises((RenderError, ModelError), match=message):
        render(model, np.ones((1, width), np.float32), layer, **options)


class _Shared(torch.nn.Module):
    """One convolution called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(self.mix(x)).mean((2, 3))


def test_a_layer_that_runs_twice_is_refused() -> None:
    torch.manual_seed(0)
    model = wrap(_Shared())
    for layer in ("mix", "mix#1"):
        with pytest.raises(RenderError, match="runs several times, and lucent cannot tell its calls apart"):
            render(model, np.ones((1, 3), np.float32), layer)


class _Picky(torch.nn.Module):
    """Fails after its layer at every input: what follows is of no use to lucent's loop."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.asked = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.requires_grad:
            raise RuntimeError("no gradients here")
        return self.first(x)


def test_a_pass_that_fails_is_not_overlooked() -> None:
    with pytest.raises(RenderError, match=r"lucent cannot run this network \(no gradients here\)"):
        render(wrap(_Picky()), np.ones((1, 4), np.float32), "first", steps=2)


def test_any_objective_of_lucents_is_rendered_and_reaches_its_channel() -> None:
    from lucent.optvis import objectives
    from rendering_networks import MapNetwork, wrap

    from atlas.rendering.reference import render_lucent_objective

    torch.manual_seed(0)
    model = wrap(MapNetwork(), 32)
    before = torch.random.get_rng_state()

    def reached(objective: object, steps: int) -> float:
        pictures = render_lucent_objective(model, objective, size=32, steps=steps, device="cpu")
        assert pictures.shape == (1, 32, 32, 3)
        with torch.no_grad():
            batch = model.preprocess.normalise(torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()))
            return float(model.network.second(model.network.first(batch))[:, 3].mean())

    assert reached("second:3", 40) > reached("second:3", 1)
    both = objectives.channel("second", 3) - 2 * objectives.channel("second", 4)
    assert reached(both, 40) > reached(both, 1)
    assert torch.equal(before, torch.random.get_rng_state())
