from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rendering_networks import FilterNetwork, real_directions, tiny_model, wrap

from atlas.errors import LayerError, RenderError
from atlas.models import Model
from atlas.rendering import icons as icons_module
from atlas.rendering import render_icons
from atlas.rendering.target import bytes_per_icon, open_target


def filters(count: int, channels: int = 3, side: int = 32) -> torch.Tensor:
    """Smooth filters (count, channels, side, side), each of mean 0 and norm 1."""
    coarse = torch.randn(count, channels, 4, 4, generator=torch.Generator().manual_seed(3))
    drawn = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    drawn -= drawn.mean((1, 2, 3), keepdim=True)
    return drawn / drawn.square().sum((1, 2, 3), keepdim=True).sqrt()


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("size", [32, 64])
def test_an_icon_of_a_filter_shows_the_filter(channels: int, size: int) -> None:
    planted = filters(6, channels)
    # Each filter beside its negative: a direction of one channel alone is reached best by the filter itself.
    model = wrap(FilterNetwork(torch.cat([planted, -planted])), channels=channels)
    icons = render_icons(model, "rectified", np.eye(12)[:6], size=size, device="cpu", steps=48)
    pictures = torch.from_numpy(icons.images).permute(0, 3, 1, 2).float()[:, :channels]
    shown = torch.nn.functional.interpolate(pictures, size=(32, 32), mode="area").flatten(1)
    likeness = torch.corrcoef(torch.cat([planted.flatten(1), shown]))[:6, 6:]
    assert likeness.diagonal().min() > 0.4
    assert likeness.diagonal().mean() > 0.55
    assert likeness.argmax(1).tolist() == list(range(6))
    assert icons.centre.min() > 0.7


@pytest.mark.parametrize(
    ("kind", "layer"),
    [("map", "first"), ("map", "second"), ("map", "head"), ("grey", "second"), ("last", "norm"), ("tokens", "block")],
)
@pytest.mark.parametrize("size", [16, 32, 48])
def test_icons_of_every_kind_of_layer_point_along_their_directions(kind: str, layer: str, size: int) -> None:
    model = tiny_model(kind)
    directions = real_directions(model, layer)
    icons = render_icons(model, layer, directions, size=size, device="cpu", steps=24)
    noise = np.random.default_rng(0).integers(0, 256, icons.images.shape, dtype=np.uint8)
    random = icons_module.score_icons(model, layer, directions, noise, device="cpu")
    assert icons.images.shape == (4, size, size, 3)
    assert np.median(icons.centre) > max(0.65, float(np.median(random.centre)) - 0.01)  # a head of 4 is easy to please
    assert np.median(icons.robust) > 0.7
    assert np.median(icons.strength) > 0.7
    if kind == "grey":
        np.testing.assert_array_equal(icons.images[..., 0], icons.images[..., 1])


def test_the_scores_are_those_of_the_stored_pictures(model: Model, directions: NDArray[np.float32]) -> None:
    icons = render_icons(model, "second", directions, size=32, device="cpu", steps=8)
    again = icons_module.score_icons(model, "second", directions, icons.images, device="cpu")
    for name in ("centre", "robust", "windowed", "strength"):
        np.testing.assert_allclose(getattr(icons, name), getattr(again, name), atol=1e-6)


def test_an_icon_does_not_depend_on_the_others(
    model: Model, directions: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas.rendering.target._fast_type", lambda _: torch.float32)
    together = render_icons(model, "second", directions, size=32, device="cpu", steps=8)
    alone = render_icons(model, "second", directions[2:3], size=32, device="cpu", steps=8)
    turned = render_icons(model, "second", directions[::-1], size=32, device="cpu", steps=8, batch=3)
    assert np.abs(together.images[2].astype(int) - alone.images[0]).max() <= 2  # rounding alone
    assert np.abs(together.images.astype(int) - turned.images[::-1]).max() <= 2
    other = render_icons(model, "second", directions[2:3], size=32, device="cpu", steps=8, seed=1)
    assert np.abs(other.images[0].astype(int) - alone.images[0]).max() > 50


def test_a_mean_makes_icons_easier_to_tell_apart() -> None:
    torch.manual_seed(0)
    model = wrap(FilterNetwork(filters(8, side=9)))
    shared = np.ones(8, np.float32) * 2
    directions = shared + np.eye(8, dtype=np.float32)
    mean = directions.mean(0)

    def own_contrast(icons: icons_module.Icons) -> float:
        """How far each icon's pooled activation, less the mean, points along its own direction, less the mean."""
        pictures = torch.from_numpy(icons.images).permute(0, 3, 1, 2)
        with torch.no_grad():
            pooled = model.network(model.preprocess.normalise(pictures)).numpy() - mean
        own = directions - mean
        return float(np.mean((pooled * own).sum(1) / np.linalg.norm(pooled, axis=1) / np.linalg.norm(own, axis=1)))

    plain = render_icons(model, "rectified", directions, size=32, device="cpu", steps=32)
    apart = render_icons(model, "rectified", directions, size=32, device="cpu", steps=32, mean=mean)
    assert own_contrast(apart) > own_contrast(plain) + 0.05
    assert plain.nearest is not None
    assert apart.nearest is not None
    assert (apart.nearest == np.arange(8)).all()
    assert (plain.nearest == np.arange(8)).sum() <= 6


def test_a_start_is_where_an_icon_begins(model: Model, directions: NDArray[np.float32]) -> None:
    first = render_icons(model, "second", directions, size=32, device="cpu", steps=32)
    near = render_icons(model, "second", directions, size=32, device="cpu", steps=1, starts=first.images)
    cold = render_icons(model, "second", directions, size=32, device="cpu", steps=1)
    moved, far = (np.abs(icons.images.astype(int) - first.images).mean() for icons in (near, cold))
    assert moved < far / 2
    assert np.median(near.centre) > np.median(cold.centre)
    other_size = render_icons(
        model, "second", directions, size=32, device="cpu", steps=1, starts=first.images[:, ::2, ::2]
    )
    assert np.median(other_size.centre) > np.median(cold.centre)


def test_the_network_is_left_as_it_was(model: Model, directions: NDArray[np.float32]) -> None:
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    model.network.train()
    render_icons(model, "second", directions[:1], size=32, device="cpu", steps=1)
    assert model.network.training
    assert all(not module._forward_hooks for module in model.network.modules())
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.is_contiguous()


def test_icons_come_out_under_no_grad_and_for_a_network_without_a_fixed_size() -> None:
    model = tiny_model(size=None)
    with torch.no_grad():
        icons = render_icons(model, "second", np.ones((1, 12)), size=40, device="cpu", steps=2)
    assert icons.images.shape == (1, 40, 40, 3)


def test_a_flattened_layer_is_fed_at_its_own_size_alone() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.ReLU(), torch.nn.Flatten())
    icons = render_icons(wrap(network), "2", np.ones((2, 4 * 16 * 16)), size=24, device="cpu", steps=2)
    assert icons.images.shape == (2, 24, 24, 3)


def test_the_input_of_a_layer_can_be_the_target(model: Model) -> None:
    directions = real_directions(model, "first")
    icons = render_icons(model, "second", directions, size=32, device="cpu", steps=16, tap="input")
    assert np.median(icons.centre) > 0.7


def test_no_directions_give_no_icons(model: Model) -> None:
    icons = render_icons(model, "second", np.zeros((0, 12)), size=32, device="cpu")
    assert len(icons) == 0
    assert icons.images.shape == (0, 32, 32, 3)


def test_progress_counts_icons(model: Model, directions: NDArray[np.float32]) -> None:
    seen: list[tuple[str, int, int]] = []
    render_icons(
        model, "second", directions, size=32, device="cpu", steps=1, batch=3, progress=lambda *a: seen.append(a)
    )
    assert seen == [("icons", 0, 4), ("icons", 3, 4), ("icons", 4, 4)]


def test_a_single_step_and_few_steps_work(model: Model, directions: NDArray[np.float32]) -> None:
    for steps in (1, 2, 3, 5):
        assert len(render_icons(model, "second", directions[:1], size=32, device="cpu", steps=steps)) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"directions": np.zeros((2, 12))}, "direction 0 is all zero, so no picture points along it: leave it out"),
        ({"directions": np.array([np.ones(12), np.full(12, np.nan)])}, "direction 1 holds NaN or infinity"),
        ({"directions": np.ones((2, 7))}, "the directions have 7 channels but layer 'second' of tiny has 12"),
        ({"directions": np.ones(12)}, r"directions have shape \(12,\): give one row per icon"),
        ({"size": 8}, "size is 8: give a whole number of 16 or more"),
        ({"steps": 0}, "steps is 0: give a whole number of 1 or more"),
        ({"steps": "many"}, "steps is 'many': give a whole number"),
        ({"batch": 0}, "batch is 0"),
        ({"memory": 0}, "memory is 0: give gigabytes above 0, or 'auto'"),
        ({"memory": "much"}, "memory is 'much'"),
        ({"backend": "lucid"}, "backend 'lucid' is not known; did you mean 'lucent'"),
        ({"starts": np.zeros((2, 32, 32), np.uint8)}, r"starts are uint8 of shape \(2, 32, 32\): give uint8"),
        ({"mean": np.ones(3)}, r"mean has shape \(3,\): give one finite value for each of the 12 channels"),
    ],
)
def test_what_cannot_be_rendered_is_refused_in_one_sentence(
    model: Model, change: dict[str, object], message: str
) -> None:
    arguments: dict[str, object] = {"directions": np.ones((2, 12)), "size": 32, "device": "cpu", **change}
    with pytest.raises(RenderError, match=message):
        render_icons(model, "second", arguments.pop("directions"), **arguments)  # type: ignore[arg-type]


def test_an_unknown_layer_is_named_with_its_nearest(model: Model) -> None:
    with pytest.raises(LayerError, match=r"secnd.*second"):
        render_icons(model, "secnd", np.ones((1, 12)), size=32, device="cpu")


def test_a_network_that_gives_nan_is_named() -> None:
    model = tiny_model()
    model.network.second[0].weight.data.fill_(torch.nan)
    with pytest.raises(RenderError, match="layer 'second' of tiny gives values that are not finite"):
        render_icons(model, "second", np.ones((1, 12)), size=32, device="cpu", steps=2)


def test_batches_shrink_when_memory_runs_out(
    model: Model, directions: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = icons_module.optimise
    tried: list[int] = []

    def small_memory(target: object, vectors: NDArray[np.float32], *rest: object, **options: object) -> object:
        tried.append(len(vectors))
        if len(vectors) > limit:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")
        return whole(target, vectors, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(icons_module, "optimise", small_memory)
    limit = 1
    icons = render_icons(model, "second", directions, size=32, device="cpu", steps=1)
    assert tried == [4, 2, 1, 1, 1, 1]
    assert (icons.centre != 0).all()
    limit = 0
    with pytest.raises(RenderError, match="memory ran out on cpu with 1 icons of 32 px at a time"):
        render_icons(model, "second", directions[:1], size=32, device="cpu", steps=1)


def test_memory_bounds_a_batch_by_what_one_icon_keeps(model: Model, directions: NDArray[np.float32]) -> None:
    with open_target(model, "second", size=32, width=12, device=torch.device("cpu")) as target:
        needed = bytes_per_icon(target)
    for fits, expected in ((1, [0, 1, 2, 3, 4]), (3, [0, 3, 4])):
        seen: list[tuple[str, int, int]] = []
        memory = needed * (fits + 0.5) / 1e9
        options: dict[str, object] = {"memory": memory, "progress": lambda *a, seen=seen: seen.append(a)}
        render_icons(model, "second", directions, size=32, device="cpu", steps=1, **options)  # type: ignore[arg-type]
        assert [done for _, done, _ in seen] == expected


def test_any_other_failure_is_not_taken_for_a_lack_of_memory(
    model: Model, directions: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(icons_module, "optimise", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        render_icons(model, "second", directions, size=32, device="cpu", steps=1)
