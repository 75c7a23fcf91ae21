"""Small torchvision transformers and a ConvNeXt with random weights: for trying layer shapes, not for meaning.

Every head is randomised: torchvision's ViT starts with a head of zeros, whose every effect is zero.
Each factory seeds its own generator, so that a store made with it can be resumed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torchvision.models import ConvNeXt, SwinTransformer, VisionTransformer
from torchvision.models.convnext import CNBlockConfig

CLASSES = 16


def vit_small() -> nn.Module:
    """Return a 4-block ViT for 64 px: tokens (n, 65, 96), the first of them CLS."""
    return _seeded(
        lambda: VisionTransformer(
            image_size=64, patch_size=8, num_layers=4, num_heads=4, hidden_dim=96, mlp_dim=192, num_classes=CLASSES
        )
    )


def swin_small() -> nn.Module:
    """Return a 2-stage Swin: maps (n, h, w, c), channels last."""
    return _seeded(
        lambda: SwinTransformer(
            patch_size=[4, 4], embed_dim=32, depths=[2, 2], num_heads=[2, 4], window_size=[4, 4], num_classes=CLASSES
        )
    )


def convnext_small() -> nn.Module:
    """Return a 2-stage ConvNeXt: maps (n, c, h, w), with channels-last LayerNorms inside its blocks."""
    return _seeded(
        lambda: ConvNeXt(
            [CNBlockConfig(32, 64, 2), CNBlockConfig(64, None, 2)], stochastic_depth_prob=0.0, num_classes=CLASSES
        )
    )


def _seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = make()
        for name, parameter in network.named_parameters():
            if "head" in name or name.startswith("classifier"):
                nn.init.normal_(parameter, std=0.05)
    return network
