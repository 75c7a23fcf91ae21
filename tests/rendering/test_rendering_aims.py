"""Any aim: raised where it is planted, against what a picture of noise or of another aim gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rendering_networks import FilterNetwork, real_directions, tiny_model, wrap

from atlas.errors import RenderError
from atlas.models import Model, as_grid, capture, layer_shapes
from atlas.rendering import aims
from atlas.rendering.aims import Aim, render_aims


def activations(model: Model, layer: str, images: NDArray[np.uint8]) -> torch.Tensor:
    """What a layer gives for stored pictures: (n, positions, channels)."""
    batch = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    with torch.no_grad(), capture(model.network, [layer]) as run:
        found = run(model.preprocess.normalise(batch))[layer]
    return as_grid(found, layer_shapes(model, [layer], tuple(batch.shape[1:]))[layer])  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["channel", "neuron", "logit"])
def test_each_unit_is_highest_in_its_own_picture(kind: str) -> None:
    torch.manual_seed(0)
    filters = torch.nn.functional.interpolate(torch.randn(5, 3, 4, 4), size=(9, 9), mode="bicubic")
    filters -= filters.mean((1, 2, 3), keepdim=True)
    model = wrap(FilterNetwork(filters))
    layer = "rectified" if kind != "logit" else "convolution"
    make = {"channel": aims.channel, "neuron": aims.neuron, "logit": aims.logit}[kind]
    pictures = render_aims(model, layer, [make(unit) for unit in range(5)], size=32, device="cpu", steps=32)
    found = activations(model, layer, pictures)
    centre = 12 * 24 + 12
    reached = found[:, centre] if kind == "neuron" else found.mean(1)
    assert reached.argmax(0).tolist() == list(range(5))


@pytest.mark.parametrize("make", [aims.direction, aims.direction_at_centre])
@pytest.mark.parametrize(("kind", "layer"), [("map", "second"), ("last", "norm"), ("tokens", "block"), ("map", "head")])
def test_directions_are_followed_in_every_kind_of_layer(make: type[aims.Aim], kind: str, layer: str) -> None:
    model = tiny_model(kind)
    directions = real_directions(model, layer)
    pictures = render_aims(model, layer, [make(vector) for vector in directions], size=32, device="cpu", steps=24)
    noise = np.random.default_rng(0).integers(0, 256, pictures.shape, dtype=np.uint8)
    wanted = torch.from_numpy(directions)[:, None]

    def dots(images: NDArray[np.uint8]) -> float:
        return float((activations(model, layer, images) * wanted).sum(2).mean(1).median())

    assert dots(pictures) > dots(noise)


def test_an_aim_of_ones_own() -> None:
    def dark(found: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return -found.mean((1, 2))

    model = wrap(torch.nn.Sequential(torch.nn.Identity()), channels=1)
    own: Aim = dark
    assert render_aims(model, "0", [own], size=32, device="cpu", steps=16).mean() < 90


def test_the_same_call_gives_the_same_pictures_and_another_seed_others() -> None:
    model = tiny_model()
    first, again, other = (
        render_aims(model, "second", [aims.channel(0)], size=32, device="cpu", steps=4, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).max() > 20


def test_what_cannot_be_aimed_at_is_refused() -> None:
    model = tiny_model()
    with pytest.raises(RenderError, match="there is no channel 12: the layer has channels 0 to 11"):
        render_aims(model, "second", [aims.channel(12)], size=32, device="cpu", steps=1)
    with pytest.raises(RenderError, match=r"a direction has shape \(2, 3\)"):
        aims.direction(np.ones((2, 3)))
    with pytest.raises(RenderError, match="size is 8"):
        render_aims(model, "second", [aims.channel(0)], size=8, device="cpu")
    assert render_aims(model, "second", [], size=32).shape == (0, 32, 32, 3)
