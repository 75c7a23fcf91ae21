from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from atlas.errors import ModelError
from atlas.models import Model, Preprocess, layer_shapes, patch_box, patch_field, receptive_field
from atlas.models.patches import effective_size, photographic_noise
from atlas.records import LayerShape


class Net(nn.Module):
    def __init__(self, blocks: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.body = nn.Sequential(*[nn.Conv2d(4, 4, 3, padding=1) for _ in range(blocks)])
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.pool(self.body(self.stem(x))).flatten(1))


def model_of(network: nn.Module, size: int | None = 32) -> Model:
    preprocess = Preprocess((0.5,), (0.25,), crop=None if size is None else (size, size))
    return Model(network.eval().requires_grad_(False), "test", preprocess, (), "")


def test_a_small_theoretical_field_is_the_patch() -> None:
    model = model_of(Net(1), 32)
    shape = layer_shapes(model, ["body"])["body"]
    assert shape == LayerShape("map", 4, 16, 16)
    assert receptive_field(model, "body").size == (7, 7)
    assert receptive_field(model, "body", tap="input").size == (3, 3)
    field = patch_field(model, "body", shape)
    assert not field.measured
    # Position 8 of stride 2: the middle pixel is 16, three on either side.
    assert np.allclose(field.boxes([8 * 16 + 8])[0] * 32, [13, 13, 20, 20])
    # At the border the patch keeps its size and moves inside.
    assert np.allclose(field.boxes([0, 15, 240])[:] * 32, [[0, 0, 7, 7], [25, 0, 32, 7], [0, 25, 7, 32]])
    assert np.allclose(patch_box(model, "body", shape, 4, 10), field.boxes([4 * 16 + 10])[0])


def test_boxes_hold_their_position_and_are_not_swapped() -> None:
    model = model_of(Net(1), None)
    shape = layer_shapes(model, ["body"], (3, 32, 64))["body"]
    assert (shape.height, shape.width) == (16, 32)
    index = np.arange(16 * 32)
    boxes = patch_field(model, "body", shape, input_shape=(3, 32, 64)).boxes(index)
    y, x = (index // 32 + 0.5) / 16, (index % 32 + 0.5) / 32
    assert boxes.dtype == np.float32
    assert (boxes[:, 0] <= x).all()
    assert (x <= boxes[:, 2]).all()
    assert (boxes[:, 1] <= y).all()
    assert (y <= boxes[:, 3]).all()
    assert np.allclose(boxes[:, 2] - boxes[:, 0], 7 / 64)
    assert np.allclose(boxes[:, 3] - boxes[:, 1], 7 / 32)
    with pytest.raises(ModelError, match="fixes no input size"):
        patch_field(model, "body", shape)


def test_a_large_theoretical_field_is_replaced_by_the_measured_one() -> None:
    network = Net(7)
    for conv in network.body:
        # All the weight on the middle: the field is 31 px in theory and 3 px in effect.
        conv.weight.data.mul_(1e-3)
        conv.weight.data[:, :, 1, 1] = torch.eye(4)
    model = model_of(network, 32)
    shape = layer_shapes(model, ["body"])["body"]
    assert receptive_field(model, "body").size == (31, 31)
    field = patch_field(model, "body", shape)
    assert field.measured
    assert 2 / 32 <= field.y.length <= 5 / 32
    assert field.y.length == field.x.length


def test_the_box_holds_the_share_of_energy() -> None:
    """Against a plain search for the smallest square around the middle."""
    torch.manual_seed(0)
    model = model_of(Net(6), 32)
    shape = layer_shapes(model, ["body"])["body"]
    batch = photographic_noise(model, (3, 32, 32), 3)
    pixels = batch.clone().requires_grad_()
    h = model.network.body(model.network.stem(pixels))[:, :, 8, 8]
    (slope,) = torch.autograd.grad(h.square().sum() / 2, pixels)
    energy = slope.double().square().sum(1)
    energy = (energy / energy.sum((1, 2), keepdim=True)).mean(0)
    for share in (0.5, 0.8, 0.95):
        for radius in np.arange(0.5, 20, 0.5):
            inside = np.abs(np.arange(32) + 0.5 - 17) + 0.5 <= radius
            if energy[np.ix_(inside, inside)].sum() >= share:
                break
        assert effective_size(model, "body", shape, batch, energy=share) == (2 * radius / 32, 2 * radius / 32)


def test_tokens_have_their_square_and_vectors_the_whole_input() -> None:
    model = model_of(Net(), 32)
    tokens = patch_field(model, "body", LayerShape("tokens", 4, 4, 8, prefix=1))
    assert np.allclose(tokens.boxes([8 + 2]), [[2 / 8, 1 / 4, 3 / 8, 2 / 4]])
    assert np.allclose(patch_field(model, "head", LayerShape("vector", 2)).boxes([0, 0]), [[0, 0, 1, 1]] * 2)
    assert np.allclose(patch_field(model, "pool", LayerShape("map", 4)).boxes([0]), [[0, 0, 1, 1]])


def test_a_dead_layer_is_explained() -> None:
    network = Net(8)
    network.body[-1].weight.data.zero_()
    network.body[-1].bias.data.zero_()
    model = model_of(network, 32)
    with pytest.raises(ModelError, match="layer 'body' does not answer to its input"):
        patch_field(model, "body", LayerShape("map", 4, 16, 16))


def test_measuring_is_the_same_each_time_and_with_given_pictures() -> None:
    model = model_of(Net(9), 32)
    shape = layer_shapes(model, ["body"])["body"]
    with torch.inference_mode():
        assert patch_field(model, "body", shape) == patch_field(model, "body", shape)
        given = patch_field(model, "body", shape, pictures=photographic_noise(model, (3, 32, 32)))
    assert given == patch_field(model, "body", shape)
