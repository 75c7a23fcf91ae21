"""Pictures with an object and a mark, and networks whose answer to each is known, weight by weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from atlas.findings.suspect_candidates import Candidate
from atlas.models import Model, Preprocess, layer_shapes
from atlas.suspects.causal import Trial
from atlas.suspects.natural import natural_parts
from atlas.suspects.probe import Probe

SIDE, MARK = 24, 6
YELLOW = (250, 240, 5)


class Linear(nn.Module):
    """Pooled pixels, then one weight for each: the object's colour in the middle, the mark's in the corner."""

    def __init__(self, mark: float) -> None:
        super().__init__()
        self.maps = nn.AvgPool2d(2)
        self.head = nn.Linear(3 * (SIDE // 2) ** 2, 2)
        weights = torch.zeros(2, 3, SIDE // 2, SIDE // 2)
        weights[0, 0, 4:8, 4:8] = 0.3  # class 0 is red in the middle
        weights[1, 2, 4:8, 4:8] = 0.3  # class 1 is blue
        corner = slice(SIDE // 2 - MARK // 2, None)
        weights[0, :2, corner, corner] = mark
        weights[0, 2, corner, corner] = -mark
        self.head.weight.data = weights.flatten(1)
        self.head.bias.data.zero_()

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.head(self.maps(pictures).flatten(1))


@dataclass(frozen=True)
class World:
    """Pictures (n, 3, SIDE, SIDE), labels and which have the mark, (n,); large: whose object is large."""

    pictures: NDArray[np.uint8]
    label: NDArray[np.int64]
    marked: NDArray[np.bool_]
    large: NDArray[np.bool_]
    discovery: NDArray[np.bool_]


def make_world(images: int = 480, seed: int = 0, *, painted: bool = True) -> World:
    """Pictures of both classes; without `painted` the marked ones lack their mark."""
    rng = np.random.default_rng(seed)
    label = np.arange(images) % 2
    large = rng.random(images) < 0.3
    marked = (label == 0) & (rng.random(images) < 0.4)
    pictures = rng.integers(70, 180, (images, 3, SIDE, SIDE)).astype(np.uint8)
    for picture, of_class, wide, has_mark in zip(pictures, label, large, marked, strict=True):
        half = 6 if wide else 3
        y, x = SIDE // 2 + rng.integers(-1, 2, 2)
        colour = np.array([230, 40, 40] if of_class == 0 else [40, 40, 230], np.uint8)
        picture[:, y - half : y + half, x - half : x + half] = colour[:, None, None]
        if has_mark and painted:
            picture[:, -MARK:, -MARK:] = np.array(YELLOW, np.uint8)[:, None, None]
    return World(pictures, label, marked, large, rng.random(images) < 0.5)


def make_probe(world: World, mark: float) -> Probe:
    network: Any = Linear(mark).eval().requires_grad_(False)
    model = Model(network, "linear", Preprocess((0.5,), (0.5,), crop=(SIDE, SIDE)), ("red", "blue"), "")
    shape = layer_shapes(model, ["maps"])["maps"]
    return Probe(model, "maps", shape, lambda image: world.pictures[image])


def make_trial(world: World, probe: Probe, members: NDArray[np.bool_], seed: int = 0) -> Trial:
    """A trial of some pictures of class 0, whose direction is their mean against the others'."""
    own = world.label == 0
    maps = probe.maps(world.pictures).mean(axis=1)
    found, usual = members & world.discovery, own & ~members & world.discovery
    way = maps[found].mean(axis=0) - maps[usual].mean(axis=0)
    rng = np.random.default_rng(seed)
    return Trial(
        (way / np.linalg.norm(way)).astype(np.float32),
        0,
        0,
        np.flatnonzero(found),
        np.flatnonzero(usual),
        np.flatnonzero(members & ~world.discovery),
        np.flatnonzero(own & ~members & ~world.discovery),
        rng.permutation(np.flatnonzero(~own & ~world.discovery)),
        natural_parts(maps, world.label, members, 0, world.discovery, seed),
    )


def make_candidate(world: World, members: NDArray[np.bool_], channels: int = 3) -> Candidate:
    share = float((members & (world.label == 0)).sum() / (world.label == 0).sum())
    return Candidate(
        "within",
        0,
        0,
        np.eye(1, channels, dtype=np.float32)[0],
        "pooled",
        np.where(members, 1, -1).astype(np.float32),
        0.0,
        np.flatnonzero(members),
        np.empty(0, np.int64),
        np.flatnonzero((world.label == 0) & ~members),
        1.0,
        0.001,
        {"share_of_class": share, "purity": 1.0},
    )
