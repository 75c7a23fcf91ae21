"""One random rotation, scale and shift per picture, all in a single resampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Wobble:
    """How far each step moves a picture, so that what only one exact pose would show is not drawn.

    shift: share of the picture's size, each way. rotation: degrees, each way. scale: share, up and down.
    """

    shift: float = 0.06
    rotation: float = 8.0
    scale: float = 0.05

    def draw(self, generator: torch.Generator, steps: int) -> Tensor:
        """Draw one affine matrix per step for one picture: float32 (steps, 2, 3), as `affine_matrices` gives."""
        turn, zoom, right, down = (torch.rand(4, steps, generator=generator) * 2 - 1).unbind()
        return affine_matrices(
            math.radians(self.rotation) * turn, 1 + self.scale * zoom, self.shift * right, self.shift * down
        )


def affine_matrices(angle: Tensor, scale: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Matrices (n, 2, 3) for `warp` that turn, then enlarge, then move what a picture shows.

    angle in radians, clockwise as seen (y down); scale above 1 enlarges; right and down in shares of the size.
    """
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    # grid_sample asks where each output pixel comes from: the inverse, in coordinates of -1 to 1.
    rows = torch.stack([cosine, sine, -sine, cosine], -1).reshape(*angle.shape, 2, 2)
    move = torch.stack([right, down], -1)[..., None] * 2
    return torch.cat([rows, -rows @ move], -1)


def settle(matrices: Tensor, left: float) -> Tensor:
    """Shrink moves (n, steps, 2, 3) evenly from step to step, until the share `left` of the last one is left."""
    steps = matrices.shape[1]
    share = 1 - (1 - left) * torch.arange(steps, device=matrices.device) / max(steps - 1, 1)
    still = torch.eye(2, 3, device=matrices.device)
    return still + (matrices - still) * share[:, None, None]


def warp(pictures: Tensor, matrices: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample each picture (n, c, h, w) by its own matrix (n, 2, 3) to (height, width), bilinear, mirrored outside."""
    return functional.grid_sample(
        pictures, sampling_grid(matrices, size), mode="bilinear", padding_mode="reflection", align_corners=False
    )


def sampling_grid(matrices: Tensor, size: tuple[int, int]) -> Tensor:
    """Where each pixel comes from, (n, height, width, 2) in -1 to 1: `affine_grid`, without its slow product."""
    down, across = (torch.linspace(1 / n - 1, 1 - 1 / n, n, device=matrices.device) for n in size)
    by_x, by_y, move = (matrices[:, None, None, :, column] for column in range(3))
    return (by_x * across[:, None] + move) + by_y * down[:, None, None]
