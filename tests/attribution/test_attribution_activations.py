"""Activation maps, filters and attention against what the layers are known to give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_networks import Functional, Vit, model_of, pictures, pooled, seeded

from atlas.attribution import activation_maps, attention_maps, first_filters
from atlas.errors import AttributionError, LayerError


def test_maps_are_read_before_an_in_place_relu_changes_them() -> None:
    network, picture = seeded(pooled), pictures(1)[0]
    raw, after = activation_maps(model_of(network), picture, ["0", "1"], strongest=6)
    expected = torch.nn.functional.conv2d(picture[None], network[0].weight, network[0].bias, padding=1)[0].numpy()
    assert not raw.rectified
    assert after.rectified
    np.testing.assert_allclose(raw.values, expected[raw.channels], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after.values, expected[after.channels].clip(0), rtol=1e-5, atol=1e-6)
    assert raw.channels.tolist() == np.argsort(-expected.clip(0).mean((1, 2))).tolist()


def test_the_picture_stays_upright() -> None:
    """A picture with one bright corner, top right, through a convolution that copies it."""
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 1, bias=False), torch.nn.AdaptiveAvgPool2d(1))
    torch.nn.init.ones_(network[0].weight)
    picture = torch.zeros(3, 6, 8)
    picture[:, 0, 7] = 1
    (found,) = activation_maps(model_of(network), picture, ["0"])
    assert np.unravel_index(found.values[0].argmax(), (6, 8)) == (0, 7)


def test_chosen_channels_come_in_the_order_asked_for() -> None:
    model = model_of(seeded(pooled))
    (found,) = activation_maps(model, pictures(1)[0], ["1"], channels=[4, 0])
    assert found.channels.tolist() == [4, 0]
    with pytest.raises(LayerError, match="channels 0 to 5, not 6"):
        activation_maps(model, pictures(1)[0], ["1"], channels=[6])


def test_filters_are_the_kernels_as_they_lie() -> None:
    network = seeded(pooled)
    network[0].weight.data.zero_()
    network[0].weight.data[2, 0, 0, 2] = 3.0  # red, top right
    network[0].weight.data[1, 2, 1, 0] = -3.0  # less blue, middle left
    found = first_filters(model_of(network))
    assert found.layer == "0"
    assert found.images[2, 0, 2].tolist() == [255, 128, 128]
    assert found.images[1, 1, 0].tolist() == [128, 128, 0]


def test_attention_is_the_softmax_of_the_blocks_own_products() -> None:
    network, picture = seeded(Vit), pictures(1)[0]
    found = attention_maps(model_of(network), picture)
    assert found.weights.shape == (2, 2, 17, 17)
    assert (found.height, found.width, found.prefix) == (4, 4, 1)
    np.testing.assert_allclose(found.weights.sum(-1), 1, rtol=1e-5)
    block = network.blocks[0]
    x = torch.cat([network.cls, network.patches(picture[None]).flatten(2).transpose(1, 2)], 1)
    x = block.norm1(x)[0]
    attention = block.self_attn
    q, k, _ = (x @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, 1)
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        expected = (q[:, part] @ k[:, part].T / 2).softmax(1).numpy()
        np.testing.assert_allclose(found.weights[0, head], expected, rtol=1e-5)
    np.testing.assert_allclose(found.maps[1, 1].ravel(), found.weights[1, 1, 0, 1:], rtol=1e-6)


def test_rollout_by_hand() -> None:
    found = attention_maps(model_of(seeded(Vit)), pictures(1)[0])
    first, second = (0.5 * w.mean(0) + 0.5 * np.eye(17) for w in found.weights.astype(np.float64))
    np.testing.assert_allclose(found.rollout.ravel(), (second @ first)[0, 1:], rtol=1e-5)


def test_networks_of_torchvision_and_timm_are_heard(repository) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=3)
    found = attention_maps(model_of(network), torch.randn(3, 32, 32))
    assert found.weights.shape == (2, 3, 17, 17)
    from pipelines.random_networks import vit_small

    found = attention_maps(model_of(vit_small(), 16), torch.randn(3, 64, 64))
    assert found.weights.shape == (4, 4, 65, 65)


def test_a_network_without_attention_is_refused() -> None:
    with pytest.raises(AttributionError, match="no attention"):
        attention_maps(model_of(seeded(Functional)), pictures(1)[0])
