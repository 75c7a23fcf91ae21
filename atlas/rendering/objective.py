"""What an icon is rendered for: the cell's direction, strongly, at every position, and not its neighbours'."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """Weights of strength * log(h.v / v.v) + angle * log cos(h, v) + contrast * log cos(mean h - m, v - m).

    The first two are averaged over all positions under a sin-squared window, the third is taken of the window's mean
    activation, with m the layer's mean activation (where it is known). A sum of logarithms wants all at once: the
    angle alone gives grey noise, the strength alone drifts to what every cell shares. Below `knee` each logarithm goes
    on as its tangent, so that its gradient exists, points upwards and stays bounded for negative values too.
    """

    strength: float = 2.0
    angle: float = 8.0
    contrast: float = 4.0
    knee: float = 0.2

    def __call__(self, found: Tensor, directions: Tensor, weights: Tensor, mean: Tensor | None) -> Tensor:
        """Value to be raised for each icon.

        found (n, positions, channels), directions (n, channels), weights (positions,), mean (channels,) -> (n,).
        """
        dots = torch.einsum("npc,nc->np", found, directions)
        squares = directions.square().sum(1)
        tiny = 1e-12 * squares  # a position that is all zero has cosine 0, and a gradient
        cosines = dots / ((found.square().sum(2) + tiny[:, None]) * squares[:, None]).sqrt()
        value = self.strength * self._log(dots / squares[:, None]) + self.angle * self._log(cosines)
        total = value @ weights
        if mean is None or not self.contrast:
            return total
        own = directions - mean
        pooled = torch.einsum("npc,p->nc", found, weights) - mean
        norms = (own.square().sum(1) * pooled.square().sum(1) + 1e-12 * squares.square()).sqrt()
        # A cell that is the layer's mean has no direction of its own: nothing to ask for.
        told_apart = own.square().sum(1) > 1e-6 * squares
        return total + self.contrast * told_apart * self._log((own * pooled).sum(1) / norms)

    def _log(self, value: Tensor) -> Tensor:
        tangent = math.log(self.knee) + (value - self.knee) / self.knee
        return torch.where(value > self.knee, value.clamp_min(self.knee).log(), tangent)


def window(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Weights of a grid's positions: sin²(π (i + 1) / (n + 1)) along each side, their product summing to 1.

    Float32 (height * width,), row-major.
    """

    def side(count: int) -> Tensor:
        return torch.sin(math.pi * torch.arange(1, count + 1, device=device) / (count + 1)) ** 2

    weights = torch.outer(side(height), side(width)).flatten()
    return weights / weights.sum()
