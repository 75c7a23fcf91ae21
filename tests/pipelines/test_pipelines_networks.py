"""The shipped networks: their shapes, the residual blocks against a plain oracle, published accuracy."""

from __future__ import annotations

import io
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from pipelines import networks

FACTORIES = {
    "shapes_cnn": ((3, 64, 64), 16),
    "digits_cnn": ((1, 32, 32), 10),
    "cifar_resnet20": ((3, 32, 32), 10),
    "cifar_resnet56": ((3, 32, 32), 10),
    "cifar_resnet20_encoder": ((3, 32, 32), 64),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_every_factory_builds_a_network_that_runs(name: str):
    shape, outputs = FACTORIES[name]
    network = getattr(networks, name)().eval()
    with torch.no_grad():
        assert network(torch.randn(2, *shape)).shape == (2, outputs)


@pytest.mark.parametrize(
    ("name", "shape", "channels", "side"), [("shapes_cnn", (3, 64, 64), 128, 8), ("digits_cnn", (1, 32, 32), 48, 4)]
)
def test_the_last_map_is_as_documented(name: str, shape: tuple[int, ...], channels: int, side: int):
    network = getattr(networks, name)().eval()
    seen: list[torch.Size] = []
    network.block3.register_forward_hook(lambda module, given, output: seen.append(output.shape))
    network(torch.randn(1, *shape))
    assert seen == [(1, channels, side, side)]


def test_the_shapes_network_is_small_enough_to_ship():
    parameters = sum(p.numel() for p in networks.shapes_cnn().parameters())
    assert 100_000 < parameters < 220_000


def test_a_shortcut_takes_every_second_pixel_and_pads_channels_on_both_sides():
    block = networks.CifarBlock(4, 8, 2).eval()
    torch.nn.init.zeros_(block.bn2.weight)  # silences the residual: what remains is the shortcut
    maps = torch.rand(1, 4, 6, 6)
    out = block(maps)
    wanted = torch.zeros(1, 8, 3, 3)
    for channel in range(4):
        for y in range(3):
            for x in range(3):
                wanted[0, 2 + channel, y, x] = maps[0, channel, 2 * y, 2 * x]
    assert torch.equal(out, wanted)


def plain_resnet(state: OrderedDict[str, torch.Tensor], pictures: torch.Tensor, blocks: int) -> torch.Tensor:
    """He et al. 2015 written out over a state dict, without modules."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scale = state[f"{name}.weight"] / torch.sqrt(variance + 1e-5)
        return x * scale[:, None, None] + (state[f"{name}.bias"] - mean * scale)[:, None, None]

    x = norm(functional.conv2d(pictures, state["conv1.weight"], padding=1), "bn1").clamp(min=0)
    for layer in (1, 2, 3):
        for block in range(blocks):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = functional.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = norm(y, f"{name}.bn1").clamp(min=0)
            y = norm(functional.conv2d(y, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2:
                x = x[:, :, ::2, ::2]
                zeros = torch.zeros(len(x), x.shape[1] // 2, *x.shape[2:])
                x = torch.cat([zeros, x, zeros], 1)
            x = (x + y).clamp(min=0)
    return x.mean((2, 3)) @ state["linear.weight"].T + state["linear.bias"]


@pytest.mark.parametrize(("name", "blocks"), [("cifar_resnet20", 3), ("cifar_resnet56", 9)])
def test_cifar_networks_equal_the_network_written_out(name: str, blocks: int):
    torch.manual_seed(0)
    network = getattr(networks, name)()
    network(torch.randn(8, 3, 32, 32))  # moves the norms' running statistics
    network.eval()
    pictures = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            network(pictures), plain_resnet(network.state_dict(), pictures, blocks), rtol=1e-4, atol=1e-4
        )


def test_the_encoder_is_the_classifier_without_its_head():
    classifier, encoder = networks.cifar_resnet20().eval(), networks.cifar_resnet20_encoder().eval()
    encoder.load_state_dict(classifier.state_dict(), strict=True)
    pictures = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(classifier.linear(encoder(pictures)), classifier(pictures))


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "file", "published"), [("cifar_resnet20", "resnet20", 0.810), ("cifar_resnet56", "resnet56", 0.832)]
)
def test_cifar_networks_reach_their_accuracy(test_data: Path, name: str, file: str, published: float):
    network = getattr(networks, name)().eval()
    state = torch.load(test_data / "weights" / f"{file}_cifar10.pt", weights_only=True)
    network.load_state_dict(state, strict=True)
    pictures, labels = [], []
    with zipfile.ZipFile(test_data / "cifar10" / "test.zip") as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".jpg"))
        classes = sorted({n.split("/")[1] for n in names})
        for n in names[::20]:
            pictures.append(np.asarray(Image.open(io.BytesIO(archive.read(n))).convert("RGB")))
            labels.append(classes.index(n.split("/")[1]))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    inputs = ((torch.from_numpy(np.stack(pictures)) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        accuracy = (network(inputs).argmax(1) == torch.tensor(labels)).float().mean().item()
    # 500 pictures: two standard errors are 3.5 %.
    assert accuracy == pytest.approx(published, abs=0.035)
