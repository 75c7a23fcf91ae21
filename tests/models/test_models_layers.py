from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig

from atlas.config import PreprocessConfig
from atlas.errors import LayerError, ModelError
from atlas.models import Model, Preprocess, as_grid, describe_layers, layer_shapes, layer_table, prefix_tokens
from atlas.models.fields import FieldTracker, field_of
from atlas.records import LayerShape


def model_of(network: nn.Module, size: int | None, outputs: int = 0, channels: int = 3) -> Model:
    preprocess = Preprocess((0.5,), (0.5,), crop=None if size is None else (size, size), channels=channels)
    return Model(network.eval().requires_grad_(False), "python:test:net", preprocess, tuple("abcdefghij"[:outputs]), "")


class Permuted(nn.Module):
    """A map that is as wide as it has channels, turned to channels last, in tokens, and pooled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 4, stride=4)
        self.turned = nn.Identity()
        self.norm = nn.LayerNorm(channels)
        self.tokens = nn.Identity()
        self.registers = nn.Identity()
        self.windows = nn.Identity()
        self.partition = nn.Identity()
        self.swapped = nn.Identity()
        self.odd = nn.Identity()

    def forward(self, x):
        x = self.turned(self.conv(x).permute(0, 2, 3, 1))
        x = self.norm(x)
        self.windows(x.flatten(0, 1))
        self.partition(x.reshape(len(x), x.shape[1], x.shape[2] // 4, 4, -1).flatten(1, 2))
        x = self.tokens(x.flatten(1, 2))
        self.odd(x[:, :5][:, :, None, None, :])
        self.swapped(x[:, :3])
        x = self.registers(torch.cat([x[:, :5], x], 1))
        return x[:, 0]


class Grey(nn.Module):
    """Accepts one size only, so that shapes and modules alone must tell."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, stride=2, padding=1)
        self.last = nn.Identity()
        self.head = nn.Linear(6 * 49, 10)

    def forward(self, x):
        x = self.conv(x)
        x = self.last(x.permute(0, 2, 3, 1))
        return self.head(x.reshape(len(x), 6 * 49))


@pytest.mark.parametrize("channels", [8, 6])
def test_channels_are_told_from_space_even_in_a_cube(channels) -> None:
    model = model_of(Permuted(channels), 32)  # 8 x 8 positions
    names = ["conv", "turned", "norm", "tokens", "registers"]
    assert layer_shapes(model, names) == {
        "conv": LayerShape("map", channels, 8, 8),
        "turned": LayerShape("map_last", channels, 8, 8),
        "norm": LayerShape("map_last", channels, 8, 8),
        "tokens": LayerShape("tokens", channels, 8, 8),
        "registers": LayerShape("tokens", channels, 8, 8, prefix=5),
    }
    oblong = layer_shapes(model, names, (3, 16, 32))
    assert oblong["conv"] == LayerShape("map", channels, 4, 8)
    assert oblong["norm"] == LayerShape("map_last", channels, 4, 8)
    assert oblong["registers"] == LayerShape("tokens", channels, 4, 8, prefix=5)
    assert layer_shapes(model, ["norm"], tap="input")["norm"] == LayerShape("map_last", channels, 8, 8)
    for layer in ("windows", "partition", "odd", "swapped"):
        with pytest.raises(LayerError, match=f"'{layer}'.*is neither a map, tokens on a grid, nor a vector"):
            layer_shapes(model, [layer])


def test_a_network_of_one_size_is_read_from_its_shapes() -> None:
    model = model_of(Grey(), 14, channels=1)
    assert layer_shapes(model, ["last", "head"]) == {
        "last": LayerShape("map_last", 6, 7, 7), "head": LayerShape("vector", 10)
    }  # fmt: skip
    assert layer_shapes(model, ["head"], tap="input")["head"] == LayerShape("vector", 294)


def swin() -> nn.Module:
    return models.SwinTransformer([4, 4], 24, [2, 1], [2, 2], [7, 7])


def convnext() -> nn.Module:
    return models.ConvNeXt([CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 1)])


def vit() -> nn.Module:
    return models.VisionTransformer(image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)


TORCHVISION = {
    "swin": (swin, 64, {
        "features.0": LayerShape("map_last", 24, 16, 16), "features.1.0.attn": LayerShape("map_last", 24, 16, 16),
        "features.1.0.mlp.0": LayerShape("map_last", 96, 16, 16), "features.2": LayerShape("map_last", 48, 8, 8),
        "features.0.0": LayerShape("map", 24, 16, 16), "permute": LayerShape("map", 48, 8, 8),
        "flatten": LayerShape("vector", 48),
    }),
    "convnext": (convnext, 64, {
        "features.1": LayerShape("map", 16, 16, 16), "features.1.0.block.2": LayerShape("map_last", 16, 16, 16),
        "features.1.0.block.3": LayerShape("map_last", 64, 16, 16), "features.2.0": LayerShape("map", 16, 16, 16),
        "features.0.1": LayerShape("map", 16, 16, 16), "features.1.0.block.6": LayerShape("map", 16, 16, 16),
    }),
    "vit": (vit, 32, {
        "conv_proj": LayerShape("map", 16, 4, 4), "encoder.layers.encoder_layer_1": LayerShape("tokens", 16, 4, 4, 1),
        "encoder.layers.encoder_layer_1.self_attention": LayerShape("tokens", 16, 4, 4, 1),
        "encoder.dropout": LayerShape("tokens", 16, 4, 4, 1), "heads": LayerShape("vector", 1000),
    }),
    "squeezenet": (models.squeezenet1_1, 64, {
        "features.12": LayerShape("map", 512, 3, 3), "classifier.3": LayerShape("map", 1000, 1, 1),
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(TORCHVISION))
def test_shapes_of_torchvisions_networks(name) -> None:
    make, size, expected = TORCHVISION[name]
    assert layer_shapes(model_of(make(), size), list(expected)) == expected


TIMM = {
    "test_vit": (160, {}, {
        "blocks.2": LayerShape("tokens", 64, 10, 10, 1), "blocks.2.attn.qkv": LayerShape("tokens", 192, 10, 10, 1),
    }),
    "test_convnext": (64, {}, {
        "stages.1": LayerShape("map", 32, 8, 8), "stages.1.blocks.0.mlp.fc1": LayerShape("map_last", 128, 8, 8),
    }),
    "vit_tiny_patch16_dinov3_qkvb": (64, {"depth": 1}, {"blocks.0": LayerShape("tokens", 192, 4, 4, 5)}),
    "swin_tiny_patch4_window7_224": (112, {"depths": (1, 1), "num_heads": (3, 3), "img_size": 112}, {
        "layers.0": LayerShape("map_last", 96, 28, 28), "layers.1": LayerShape("map_last", 192, 14, 14),
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(TIMM))
def test_shapes_of_timms_networks(name) -> None:
    timm = pytest.importorskip("timm")
    size, options, expected = TIMM[name]
    if not timm.is_model(name):
        pytest.skip(f"this timm has no {name}")
    assert layer_shapes(model_of(timm.create_model(name, **options), size), list(expected)) == expected


@pytest.mark.parametrize(
    "shape",
    [
        LayerShape("map", 3, 4, 5),
        LayerShape("map_last", 3, 4, 5),
        LayerShape("tokens", 3, 4, 5, 2),
        LayerShape("vector", 3),
    ],
)
def test_as_grid_keeps_positions_in_reading_order(shape) -> None:
    positions = shape.height * shape.width
    truth = torch.randn(2, positions, 3)
    prefix = torch.randn(2, shape.prefix, 3)
    tensor = {
        "map": truth.reshape(2, 4, 5, 3).permute(0, 3, 1, 2) if positions > 1 else truth,
        "map_last": truth.reshape(2, 4, 5, 3) if positions > 1 else truth,
        "tokens": torch.cat([prefix, truth], 1),
        "vector": truth[:, 0],
    }[shape.kind]
    assert torch.equal(as_grid(tensor, shape), truth)
    assert torch.equal(prefix_tokens(tensor, shape), prefix)


def test_the_table_lists_every_call() -> None:
    table = {info.name: info for info in describe_layers("torchvision:resnet18", input_size=64)}
    assert list(table)[:3] == ["conv1", "bn1", "relu"]
    stem = table["conv1"]
    assert (stem.kind, stem.output, stem.parameters) == ("Conv2d", (64, 32, 32), 9408)
    assert (stem.kernel, stem.stride, stem.padding, stem.field, stem.bytes) == ((7, 7), (2, 2), (3, 3), (7, 7), 262144)
    assert "layer1.0.relu" not in table
    assert table["layer1.0.relu#0"].calls == table["layer1.0.relu#1"].calls == 2
    assert table["layer1.0.relu#0"].field == (19, 19)
    assert table["layer1.0.relu#1"].field == (27, 27)
    # The published receptive fields of ResNet-18: 43, 99, 211, 435 (Araujo et al. 2019).
    assert [table[f"layer{i}"].field[0] for i in (1, 2, 3, 4)] == [43, 99, 211, 435]
    assert table["avgpool"].field is None
    assert table["fc"].shape == LayerShape("vector", 1000)
    json.dumps([info.to_dict() for info in table.values()])
    assert len(table) == len(list(models.resnet18().modules())) - 1 + 8


def test_the_table_takes_the_librarys_own_size() -> None:
    table = {info.name: info for info in describe_layers("torchvision:squeezenet1_1")}
    assert table["features.0"].output == (64, 111, 111)
    with pytest.raises(ModelError, match="give --input-size N"):
        layer_table(Grey())


def test_a_table_of_a_grey_network() -> None:
    assert {info.name: info.output for info in layer_table(Grey(), 14)}["conv"] == (6, 7, 7)
    with pytest.raises(ModelError, match=r"Grey cannot run on an input of 1x20x20.*give the size it was made for"):
        layer_table(Grey(), 20)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            "layer5",
            r"torchvision:resnet18 has no layer 'layer5'; did you mean 'layer\d'\? 'atlas layers torchvision:res",
        ),
        ("layer1.0.relu#2", r"layer 'layer1.0.relu#2' runs 2 times in one pass"),
    ],
)
def test_wrong_layers_are_explained(layer, message) -> None:
    network = models.resnet18().eval()
    model = Model(network, "torchvision:resnet18", Preprocess((0.5,), (0.5,), crop=(64, 64)), (), "")
    with pytest.raises(LayerError, match=message):
        layer_shapes(model, [layer])


def test_a_size_must_be_known() -> None:
    with pytest.raises(ModelError, match="fixes no input size: add crop, or give input_shape"):
        layer_shapes(model_of(Grey(), None), ["conv"])


def test_config_preprocessing_is_enough() -> None:
    config = PreprocessConfig(mean=(0.5,), std=(0.5,), resize=14, crop=14, channels=1)
    assert Preprocess.from_config(config).input_shape == (1, 14, 14)


# Receptive fields, against what a pixel's gradient reaches


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 2, 3, stride=2, padding=1)
        self.b = nn.Conv2d(1, 2, 5, stride=2, padding=2, dilation=1)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.c = nn.Conv2d(4, 2, (3, 1), dilation=2, padding="same")

    def forward(self, x):
        x = torch.cat([self.a(x), self.b(x)], 1)
        return self.c(nn.functional.pad(self.pool(x), (1, 0, 2, 0)))


def test_theoretical_fields_are_what_gradients_reach() -> None:
    net = Branches().requires_grad_(False)
    for parameter in net.parameters():
        parameter.fill_(1.0)
    net.pool = nn.AvgPool2d(3, 2, 1)  # every pixel counts, not the largest alone
    tracker = FieldTracker()
    x = torch.zeros(1, 1, 65, 65)
    with tracker:
        field = field_of(net(tracker.mark(x)))
    for y, x_ in [(8, 8), (9, 7)]:
        pixels = torch.ones(1, 1, 65, 65, requires_grad=True)
        (slope,) = torch.autograd.grad(net(pixels)[0, 0, y, x_], pixels)
        for extent, index, axis in [(field.y, y, 1), (field.x, x_, 0)]:
            reached = slope[0, 0].abs().sum(axis).nonzero().flatten()
            assert reached.min() == extent.low + index * extent.jump
            assert reached.max() + 1 == extent.high + index * extent.jump


def test_attention_and_global_pooling_reach_the_whole_picture() -> None:
    table = {info.name: info for info in layer_table(vit().eval(), 32)}
    assert table["conv_proj"].field == (8, 8)
    assert table["encoder.layers.encoder_layer_0.ln_1"].field == (8, 8)
    assert table["encoder.layers.encoder_layer_0"].field is None
    gated = {info.name: info for info in layer_table(models.mobilenet_v3_small().eval(), 64)}
    assert gated["features.0"].field == (3, 3)
    assert gated["features.1"].field is None  # squeeze and excitation
