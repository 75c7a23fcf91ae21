"""Every method against its definition, written out slowly in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_networks import Functional, Gated, Reused, Vit, dense, model_of, pictures, plain, pooled, seeded

from atlas.attribution import METHODS, attribute
from atlas.errors import AttributionError, ModelError
from atlas.models import capture

CLOSE = {"rtol": 1e-6, "atol": 1e-9}


def slopes(network: torch.nn.Module, batch: torch.Tensor, target: int) -> np.ndarray:
    """Central differences, one pixel at a time."""
    found = np.zeros(tuple(batch.shape))
    for place in np.ndindex(*batch.shape[1:]):
        bump = torch.zeros_like(batch)
        bump[(slice(None), *place)] = 1e-6
        up, down = network(batch + bump), network(batch - bump)
        found[(slice(None), *place)] = ((up - down)[:, target] / 2e-6).numpy()
    return found


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return pictures()


def test_saliency_and_gradient_input_are_slopes(batch: torch.Tensor) -> None:
    network = seeded(Functional)
    expected = slopes(network, batch, 1)
    found = attribute(model_of(network), batch, method="saliency", target=1)
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    np.testing.assert_allclose(found.maps, np.abs(expected).max(1), atol=1e-6)
    times = attribute(model_of(network), batch, method="gradient_input", target=1)
    np.testing.assert_allclose(times.maps, (expected * batch.numpy()).sum(1), atol=1e-6)


def test_smoothgrad_is_the_mean_slope_of_noisy_copies(batch: torch.Tensor) -> None:
    network = seeded(Functional)
    draw = torch.Generator().manual_seed(3)
    total = np.zeros(tuple(batch.shape))
    for _ in range(2):
        noise = torch.randn(batch.shape, generator=draw, dtype=torch.float64)
        for i, picture in enumerate(batch):
            wide = float(picture.max() - picture.min())
            total[i] += slopes(network, (picture + 0.2 * wide * noise[i])[None], 2)[0]
    found = attribute(model_of(network), batch, method="smoothgrad", target=2, samples=2, noise=0.2, seed=3)
    np.testing.assert_allclose(found.values, total / 2, atol=1e-6)


class Squared(torch.nn.Module):
    """One neuron, (w.x + b)²."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(192, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1)) ** 2


def test_integrated_gradients_of_one_neuron_are_known_exactly() -> None:
    """The slope on the way from 0 is 2 (t w.x + b) w_i, whose mean over t is (w.x + 2 b) w_i."""
    network, picture = seeded(Squared), pictures(1)
    weight, bias = network.linear.weight[0].view(3, 8, 8).numpy(), float(network.linear.bias)
    reached = float((weight * picture[0].numpy()).sum())
    found = attribute(model_of(network, 1), picture, method="integrated_gradients", target=0, steps=4)
    np.testing.assert_allclose(found.values[0], weight * picture[0].numpy() * (reached + 2 * bias), **CLOSE)
    assert found.balance.error.max() < 1e-9


def test_integrated_gradients_take_more_steps_where_the_sum_is_missed(batch: torch.Tensor) -> None:
    model = model_of(seeded(Functional))
    coarse = attribute(model, batch, method="integrated_gradients", target=1, steps=1, batch_size=5)
    assert coarse.balance.error.max() <= 0.01
    fine = attribute(model, batch, method="integrated_gradients", target=1, steps=400)
    assert np.abs(coarse.values - fine.values).max() < 0.05 * np.abs(fine.values).max()


def test_cam_is_the_map_weighted_by_the_classifiers_row(batch: torch.Tensor) -> None:
    network = seeded(pooled)
    maps = torch.relu(network[0](batch))
    expected = torch.einsum("nchw,c->nhw", maps, network[4].weight[2]) / 64
    found = attribute(model_of(network), batch, method="cam", target=2)
    np.testing.assert_allclose(found.coarse, expected.detach().numpy(), **CLOSE)
    np.testing.assert_allclose(found.coarse.sum((1, 2)) + float(network[4].bias[2]), found.logits, **CLOSE)


class LateRelu(torch.nn.Module):
    """As DenseNet ends: the last module's map is rectified by a function before it is pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.nn.functional.relu(self.features(x), inplace=True).mean((2, 3)))


def test_cam_sees_a_relu_that_is_no_module(batch: torch.Tensor) -> None:
    network = seeded(LateRelu)
    found = attribute(model_of(network), batch, method="cam", target=0)
    expected = torch.einsum("nchw,c->nhw", torch.relu(network.features(batch)), network.head.weight[0]) / 64
    np.testing.assert_allclose(found.coarse, expected.numpy(), **CLOSE)


def test_grad_cam_equals_cam_where_both_are_defined(batch: torch.Tensor) -> None:
    model = model_of(seeded(pooled))
    cam = attribute(model, batch, method="cam", target=2)
    found = attribute(model, batch, method="grad_cam", target=2)
    np.testing.assert_allclose(found.coarse, cam.coarse.clip(0), **CLOSE)


def test_grad_cam_is_its_formula_at_any_layer(batch: torch.Tensor) -> None:
    network = seeded(Functional)
    leaf = torch.relu(network.bn1(network.conv1(batch)))
    leaf = network.conv1(batch).detach().requires_grad_()
    x = torch.nn.functional.max_pool2d(torch.relu(network.bn1(leaf)), 2)
    network.linear(torch.relu(network.bn2(network.conv2(x)) + x).mean((2, 3)))[:, 0].sum().backward()
    expected = torch.einsum("nchw,nc->nhw", leaf, leaf.grad.mean((2, 3))).clamp(min=0)
    found = attribute(model_of(network), batch, method="grad_cam", target=0, layer="conv1")
    np.testing.assert_allclose(found.coarse, expected.detach().numpy(), **CLOSE)


def test_guided_gradients_pass_only_what_is_positive(batch: torch.Tensor) -> None:
    network = seeded(pooled)
    kernel, row = network[0].weight.detach(), network[4].weight.detach()[1]
    before = network[0](batch).detach()
    back = (row[None, :, None, None] / 64).clamp(min=0) * (before > 0)
    expected = torch.nn.functional.conv_transpose2d(back, kernel, padding=1)
    cam = attribute(model_of(network), batch, method="grad_cam", target=1)
    found = attribute(model_of(network), batch, method="guided_grad_cam", target=1)
    np.testing.assert_allclose(found.values, (expected.numpy() * cam.values), **CLOSE)


def test_lrp_on_two_linear_layers_is_epsilon_by_hand(batch: torch.Tensor) -> None:
    network = seeded(dense)
    x = batch.flatten(1).numpy()
    first, second = (network[i].weight.detach().numpy() for i in (1, 3))
    bias = network[1].bias.detach().numpy()
    hidden = np.maximum(x @ first.T + bias, 0)
    logits = network(batch).detach().numpy()
    shares = hidden * second[2]
    relevance = shares / shares.sum(1, keepdims=True) * logits[:, [2]]
    expected = np.zeros_like(x)
    for j in range(5):
        contributions = x * first[j]
        expected += contributions / contributions.sum(1, keepdims=True) * relevance[:, [j]]
    found = attribute(model_of(network), batch, method="lrp", target=2)
    np.testing.assert_allclose(found.values.reshape(3, -1), expected, rtol=1e-6, atol=1e-6)
    assert found.balance.error.max() < 1e-6


def test_lrp_on_a_convolution_is_z_plus_by_hand(batch: torch.Tensor) -> None:
    """With a norm behind it whose sign turns some channels, the kernel that counts is the folded one."""
    network = seeded(Functional)
    found = attribute(model_of(network), batch, method="lrp", target=0)
    assert found.balance.error.max() < 1e-6
    norm = network.bn1
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
    kernel = network.conv1.weight.detach() * scale[:, None, None, None]
    # Relevance at the first norm's output, from the same rules on the rest of the network.
    start = norm(network.conv1(batch)).detach()

    class Rest(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = network

        def forward(self, y: torch.Tensor) -> torch.Tensor:
            x = torch.nn.functional.max_pool2d(torch.relu(y), 2)
            y = self.whole.bn2(self.whole.conv2(x)) + x
            return self.whole.linear(torch.relu(y).mean((2, 3)))

    rest = attribute(model_of(Rest()), start, method="lrp", target=0).values
    expected = np.zeros(tuple(batch.shape))
    padded = torch.nn.functional.pad(batch, (1, 1, 1, 1)).numpy()
    grown = np.zeros(padded.shape)
    for n, o, y, x in np.ndindex(*rest.shape):
        patch = padded[n, :, y : y + 3, x : x + 3]
        raising = np.maximum(patch * kernel[o].numpy(), 0)
        if raising.sum():
            grown[n, :, y : y + 3, x : x + 3] += raising / raising.sum() * rest[n, o, y, x]
    expected = grown[:, :, 1:-1, 1:-1]
    np.testing.assert_allclose(found.values, expected, rtol=1e-6, atol=1e-7)


def test_deeplift_on_two_linear_layers_by_hand(batch: torch.Tensor) -> None:
    network = seeded(dense)
    base = pictures(1, seed=9)[0]
    x, x0 = batch.flatten(1).numpy(), base.flatten().numpy()[None]
    first, second = (network[i].weight.detach().numpy() for i in (1, 3))
    bias = network[1].bias.detach().numpy()
    z, z0 = x @ first.T + bias, x0 @ first.T + bias
    ratio = (np.maximum(z, 0) - np.maximum(z0, 0)) / (z - z0)
    expected = (x - x0) * ((ratio * second[1]) @ first)
    found = attribute(model_of(network), batch, method="deeplift", target=1, baseline=base)
    np.testing.assert_allclose(found.values.reshape(3, -1), expected, **CLOSE)


@pytest.mark.parametrize("make", [Functional, Reused, plain, lambda: plain(norm=True)])
def test_deeplift_and_lrp_add_up_however_a_network_is_written(make, batch: torch.Tensor) -> None:
    model = model_of(seeded(make))
    for method in ("deeplift", "lrp"):
        found = attribute(model, batch, method=method)
        assert found.balance.binding
        assert found.balance.error.max() < 1e-6
        np.testing.assert_allclose(found.values.sum((1, 2, 3)), found.balance.found, rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "method", "words"),
    [
        (Gated, "lrp", "products of activations"),
        (Gated, "deeplift", "products of activations"),
        (Vit, "lrp", "attention"),
        (Vit, "deeplift", "attention"),
        (Vit, "guided_grad_cam", "gelu"),
        (Gated, "guided_grad_cam", "silu"),
        (Vit, "cam", "global average pooling"),
        (plain, "cam", "global average pooling"),
    ],
)
def test_what_does_not_hold_is_refused(make, method, words: str, batch: torch.Tensor) -> None:
    with pytest.raises(AttributionError, match=words) as raised:
        attribute(model_of(seeded(make)), batch, method=method)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("method", ["saliency", "gradient_input", "smoothgrad", "integrated_gradients", "grad_cam"])
def test_transformers_where_it_is_defined(method, batch: torch.Tensor) -> None:
    found = attribute(model_of(seeded(Vit)), batch, method=method)
    assert np.isfinite(found.values).all()
    assert found.maps.any(axis=(1, 2)).all()


def test_tokens_that_no_longer_count_are_refused(batch: torch.Tensor) -> None:
    with pytest.raises(AttributionError, match="only CLS goes on"):
        attribute(model_of(seeded(Vit)), batch, method="grad_cam", layer="blocks.1")


@pytest.mark.parametrize("method", METHODS)
def test_batches_change_nothing_and_the_network_is_left_alone(method, batch: torch.Tensor) -> None:
    network = seeded(pooled)
    model = model_of(network)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    extra = {"target": [0, 1, 2]}
    whole = attribute(model, batch, method=method, **extra)
    if method != "smoothgrad":  # its noise is drawn batch by batch
        one = attribute(model, batch, method=method, batch_size=1, **extra)
        np.testing.assert_allclose(one.values, whole.values, atol=1e-12)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    with capture(network, ["0"]) as run:
        run(batch)


def test_a_picture_that_does_not_add_up_is_nan_and_told() -> None:
    """A logit of exactly 0 has nothing to share out."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2, bias=False)).double()
    network[1].weight.data[0] = 1.0
    batch = torch.stack([torch.ones(3, 8, 8), pictures(1)[0] - pictures(1)[0].mean() + 1e-20]).double()
    found = attribute(model_of(network, 2), batch, method="lrp", target=0)
    assert found.refused[0] is None
    if found.balance.error[1] > 0.01:
        assert np.isnan(found.values[1]).all()
        assert "does not add up" in str(found.refused[1])


def test_wrong_use_is_one_sentence(batch: torch.Tensor) -> None:
    model = model_of(seeded(pooled))
    for options, words in (
        ({"method": "grad_cams"}, "did you mean 'grad_cam'"),
        ({"method": "saliency", "layer": "0"}, "reads no chosen layer"),
        ({"method": "saliency", "target": 3}, "outputs 0 to 2"),
        ({"method": "saliency", "target": [0, 1]}, "2 targets"),
        ({"method": "grad_cam", "layer": "4"}, "no positions"),
        ({"method": "smoothgrad", "samples": 0}, "1 or more"),
    ):
        with pytest.raises(AttributionError, match=words):
            attribute(model, batch, **options)
    encoder = model_of(seeded(pooled), classes=0)
    with pytest.raises(ModelError, match="no class names"):
        attribute(encoder, batch, method="saliency")
