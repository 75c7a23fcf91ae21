"""Networks small enough to compute by hand, in float64, written in the ways that networks are written."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from atlas.models import Model, Preprocess


def model_of(network: nn.Module, classes: int = 3, channels: int = 3) -> Model:
    names = tuple(f"class {i}" for i in range(classes))
    kept = Preprocess(mean=(0.0,), std=(1.0,), channels=channels, crop=(8, 8))
    return Model(network.eval().requires_grad_(False), "tiny", kept, names, "")


def seeded(make, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make().double()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight)  # some negative: their sign decides what z+ keeps
                nn.init.normal_(module.bias, std=0.3)
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2)
        return network.eval().requires_grad_(False)


def pictures(count: int = 3, channels: int = 3, side: int = 8, seed: int = 5) -> torch.Tensor:
    return torch.randn(
        (count, channels, side, side), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


class Functional(nn.Module):
    """Convolution, norm, F.relu, maximum, a shortcut, pooling, linear: nothing that a module hook could see."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.linear = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        y = self.bn2(self.conv2(x))
        y += x
        return self.linear(F.relu(y).mean((2, 3)))


def plain(norm: bool = False) -> nn.Module:
    """Modules only, each used once and not in place: what captum and zennit can read."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        *([nn.BatchNorm2d(6)] if norm else []),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(5 * 16, 16),
        nn.ReLU(),
        nn.Linear(16, 3),
    )


def dense() -> nn.Module:
    """Two linear layers over the pixels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5), nn.ReLU(), nn.Linear(5, 3))


def pooled() -> nn.Module:
    """What CAM is defined for."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )


class Reused(nn.Module):
    """One ReLU module three times, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.layers = nn.ModuleList([nn.Linear(3 * 64, 6), nn.Linear(6, 6), nn.Linear(6, 6)])
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        for layer in self.layers:
            x = self.relu(layer(x))
        return self.head(x)


class Gated(nn.Module):
    """Squeeze and excitation: a product of activations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.silu(self.conv(x))
        return self.head((x * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]).mean((2, 3)))


class Vit(nn.Module):
    """Two blocks of torch's own encoder over 4 x 4 patches and CLS, which alone is read."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 2, 2)
        self.cls = nn.Parameter(torch.randn(1, 1, 8))
        self.blocks = nn.ModuleList(
            [nn.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", batch_first=True, norm_first=True) for _ in range(2)]
        )
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.cls.expand(len(x), -1, -1), self.patches(x).flatten(2).transpose(1, 2)], 1)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])
