"""Tiny networks of every layer kind that icons are rendered for, and directions that they reach."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.models import Model, Preprocess, as_grid, capture, layer_shapes


class MapNetwork(nn.Module):
    """Convolutions only: a map of any input size."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, 8, 5, 2, 2), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.second = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x)).mean((2, 3)))


class LastNetwork(nn.Module):
    """Channels behind space, normalised, as in Swin and ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, 4)
        self.norm = nn.LayerNorm(12)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.patches(x).permute(0, 2, 3, 1)).mean((1, 2))


class TokenNetwork(nn.Module):
    """Tokens with a CLS token and a table of positions for 32 px, and nothing else, as in ViT."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 8, 8)
        self.positions = nn.Parameter(torch.randn(1, 17, 12) * 0.1)
        self.block = nn.Sequential(nn.Linear(12, 12), nn.GELU())
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.new_zeros(len(tokens), 1, 12), tokens], 1) + self.positions
        return self.head(self.block(tokens)[:, 0])


class FilterNetwork(nn.Module):
    """Convolutions of given filters (n, channels, side, side) and a ReLU: what excites each is known."""

    def __init__(self, filters: Tensor) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(filters.shape[1], len(filters), filters.shape[-1], bias=False)
        self.convolution.weight.data = filters
        self.rectified = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.rectified(self.convolution(x)).mean((2, 3))


def wrap(network: nn.Module, size: int | None = 32, channels: int = 3, name: str = "tiny") -> Model:
    """A Model around a network, with a plain preprocessing."""
    crop = None if size is None else (size, size)
    preprocess = Preprocess(mean=(0.5,), std=(0.25,), resize=size, crop=crop, channels=1 if channels == 1 else 3)
    return Model(network.eval().requires_grad_(False), name, preprocess, (), f"hash of {name}")


def tiny_model(kind: str = "map", size: int | None = 32) -> Model:
    """A seeded network of one kind: map, grey, last or tokens."""
    torch.manual_seed(0)
    if kind == "grey":
        return wrap(MapNetwork(1), size, channels=1)
    network = {"map": MapNetwork, "last": LastNetwork, "tokens": TokenNetwork}[kind]()
    return wrap(network, size)


def real_directions(model: Model, layer: str, count: int = 4, seed: int = 0) -> NDArray[np.float32]:
    """What the layer gives for random smooth pictures: directions that some picture does reach."""
    generator = torch.Generator().manual_seed(seed)
    shape = model.preprocess.input_shape or (model.preprocess.channels, 32, 32)
    coarse = torch.rand(count, shape[0], 6, 6, generator=generator)
    batch = torch.nn.functional.interpolate(coarse, size=shape[1:], mode="bicubic").clamp(0, 1)
    with torch.no_grad(), capture(model.network, [layer]) as run:
        found = run(model.preprocess.normalise((batch * 255).to(torch.uint8)))[layer]
    rows = as_grid(found, layer_shapes(model, [layer], shape)[layer])
    return rows[:, rows.shape[1] // 2].numpy()
