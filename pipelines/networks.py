"""The networks of the shipped pipelines: zero-argument factories with random weights."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional


def _convolution(inside: int, outside: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation and ReLU; not in place, so that each can be looked at."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(inside, outside, size, stride, size // 2, bias=False),
            norm=nn.BatchNorm2d(outside),
            relu=nn.ReLU(),
        )
    )


class PlainNetwork(nn.Module):
    """A stem, three blocks of one convolution, global average pooling and a linear head.

    (n, channels, h, w) -> (n, classes). The stem has `stride`; `block1` and `block2` each begin by
    halving the map.
    """

    def __init__(self, channels: int, widths: tuple[int, int, int, int], classes: int, *, stride: int) -> None:
        super().__init__()
        stem, first, second, third = widths
        self.stem = _convolution(channels, stem, 5, stride)
        self.block1 = nn.Sequential(OrderedDict(pool=nn.MaxPool2d(2), **_named(_convolution(stem, first))))
        self.block2 = nn.Sequential(OrderedDict(pool=nn.MaxPool2d(2), **_named(_convolution(first, second))))
        self.block3 = _convolution(second, third)
        self.head = nn.Linear(third, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the logits."""
        maps = self.block3(self.block2(self.block1(self.stem(pictures))))
        return self.head(maps.mean((2, 3)))


def _named(block: nn.Sequential) -> dict[str, nn.Module]:
    return dict(block.named_children())


def shapes_cnn() -> nn.Module:
    """The embedded dataset's network: RGB of 64 pixels, 16 classes; `block3` is a map of 128 channels, 8 by 8."""
    return PlainNetwork(3, (24, 48, 96, 128), 16, stride=2)


def digits_cnn() -> nn.Module:
    """The digits' network: grey of 32 pixels, 10 classes; `block3` is a map of 48 channels, 4 by 4."""
    return PlainNetwork(1, (12, 24, 32, 48), 10, stride=2)


class CifarBlock(nn.Module):
    """A residual block of two convolutions; He et al. 2015, section 4.2, with the shortcut of option A.

    Where the block halves the map, its shortcut takes every second pixel and pads the channels with
    zeros, half of them before and half after: it has no parameters.
    """

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.stride = stride
        self.added = outside - inside

    def forward(self, maps: Tensor) -> Tensor:
        """(n, inside, h, w) -> (n, outside, h / stride, w / stride)."""
        change = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(maps)))))
        before = self.added // 2
        kept = maps[:, :, :: self.stride, :: self.stride]
        shortcut = functional.pad(kept, (0, 0, 0, 0, before, self.added - before))
        return functional.relu(change + shortcut)


class CifarResNet(nn.Module):
    """A ResNet for 32-pixel pictures with 6n + 2 layers; He et al. 2015, section 4.2.

    (n, 3, 32, 32) -> (n, 10) logits, or with `encoder` the (n, 64) pooled vectors: the linear layer
    is then only kept so that the classifier's checkpoint fits.
    """

    def __init__(self, blocks: int, *, encoder: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _cifar_layer(16, 16, blocks, 1)
        self.layer2 = _cifar_layer(16, 32, blocks, 2)
        self.layer3 = _cifar_layer(32, 64, blocks, 2)
        self.linear = nn.Linear(64, 10)
        self.encoder = encoder

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the logits, or the pooled vectors of an encoder."""
        maps = functional.relu(self.bn1(self.conv1(pictures)))
        pooled = self.layer3(self.layer2(self.layer1(maps))).mean((2, 3))
        return pooled if self.encoder else self.linear(pooled)


def _cifar_layer(inside: int, outside: int, blocks: int, stride: int) -> nn.Sequential:
    first = CifarBlock(inside, outside, stride)
    return nn.Sequential(first, *(CifarBlock(outside, outside, 1) for _ in range(blocks - 1)))


def cifar_resnet20() -> nn.Module:
    """ResNet-20 for CIFAR-10."""
    return CifarResNet(3)


def cifar_resnet56() -> nn.Module:
    """ResNet-56 for CIFAR-10."""
    return CifarResNet(9)


def cifar_resnet20_encoder() -> nn.Module:
    """ResNet-20 that returns its pooled vectors: an encoder without a classifier."""
    return CifarResNet(3, encoder=True)
