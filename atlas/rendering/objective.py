"""What an icon is rendered for: the cell's direction, strongly, at every position, and not its neighbours'."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_TINY = 1e-24  # its power of -1.5, in the cosine's gradient, is within float32


@dataclass(frozen=True)
class Objective:
    """Weights of strength * log(h.v / v.v) + angle * log cos(h, v) + contrast * log cos(mean h - m, v - m).

    The first two are averaged over all positions under `attention`'s weights, the third is taken of their mean
    activation, with m the layer's mean activation (where it is known). A sum of logarithms wants all at once: the
    angle alone gives grey noise, the strength alone drifts to what every cell shares. Below `knee` each logarithm goes
    on as its tangent, so that its gradient exists, points upwards and stays bounded for negative values too.
    """

    strength: float = 3.4
    angle: float = 16.0
    contrast: float = 6.0
    knee: float = 0.2

    def __call__(self, found: Tensor, directions: Tensor, weights: Tensor, mean: Tensor | None) -> Tensor:
        """Value to be raised for each icon.

        found (n, positions, channels), directions (n, channels), weights (positions,), mean (channels,) -> (n,).
        """
        pooled = torch.einsum("npc,p->nc", found, weights)
        unit, lengths = with_length(directions)
        squares = found.square().sum(2)
        return self._value(_dots(found, unit), squares, pooled, unit, lengths, weights, mean)

    def slope(self, found: Tensor, directions: Tensor, weights: Tensor, mean: Tensor | None) -> Tensor:
        """The gradient of the values' sum with respect to `found`, (n, positions, channels), by hand.

        The value hangs on a position through its dot product, its square and the pooled mean alone, so the gradient is
        three outer products: half of the passes over memory that differentiating `__call__` takes.
        """
        with torch.no_grad():
            unit, lengths = with_length(directions)
            dots = _dots(found, unit)
            squares = torch.linalg.vector_norm(found, dim=2).square()
            pooled = torch.einsum("npc,p->nc", found, weights)
        with torch.enable_grad():
            leaves = (dots.requires_grad_(), squares.requires_grad_(), pooled.requires_grad_())
            value = self._value(dots, squares, pooled, unit, lengths, weights, mean).sum()
            by_dot, by_square, by_pooled = torch.autograd.grad(value, leaves, allow_unused=True)
        columns, rows = [by_dot], [unit]
        if by_pooled is not None:  # None without a mean
            columns.append(weights.expand_as(by_dot))
            rows.append(by_pooled)
        outer = torch.bmm(torch.stack(columns, 2), torch.stack(rows, 1))
        return outer.addcmul_(found, by_square[:, :, None], value=2)

    def _value(
        self,
        dots: Tensor,
        found_squares: Tensor,
        pooled: Tensor,
        unit: Tensor,
        lengths: Tensor,
        weights: Tensor,
        mean: Tensor | None,
    ) -> Tensor:
        # A position that is all zero has cosine 0, and a gradient whose powers float32 can hold.
        tiny = (1e-12 * lengths.square()).clamp_min(_TINY)
        cosines = dots / (found_squares + tiny).sqrt()
        value = self.strength * self._log(dots / lengths) + self.angle * self._log(cosines)
        total = value @ weights
        if mean is None or not self.contrast:
            return total
        own, apart_by = with_length(unit * lengths - mean)
        told = pooled - mean
        cosine = (own * told).sum(1) / (told.square().sum(1) + tiny[:, 0]).sqrt()
        # A cell that is the layer's mean has no direction of its own: nothing to ask for.
        apart = (apart_by > 1e-3 * lengths)[:, 0]
        return total + self.contrast * apart * self._log(cosine)

    def _log(self, value: Tensor) -> Tensor:
        tangent = math.log(self.knee) + (value - self.knee) / self.knee
        return torch.where(value > self.knee, value.clamp_min(self.knee).log(), tangent)


def with_length(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Split vectors (n, channels) into unit vectors (n, channels) and lengths (n, 1), whatever their scale.

    A vector of zeros stays one, of length 0. The squares of a vector of length 1e-20 would be 0 in float32.
    """
    largest = vectors.abs().amax(1, keepdim=True)
    scaled = vectors / torch.where(largest > 0, largest, 1)
    norms = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return scaled / torch.where(norms > 0, norms, 1), norms * largest


def _dots(found: Tensor, directions: Tensor) -> Tensor:
    return torch.bmm(found, directions[:, :, None])[..., 0]


def window(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Weights of a grid's positions: sin²(π (i + 1) / (n + 1)) along each side, their product summing to 1.

    Float32 (height * width,), row-major.
    """

    def side(count: int) -> Tensor:
        return torch.sin(math.pi * torch.arange(1, count + 1, device=device) / (count + 1)) ** 2

    weights = torch.outer(side(height), side(width)).flatten()
    return weights / weights.sum()


def attention(height: int, width: int, focus: float, device: torch.device | None = None) -> Tensor:
    """Weights that rendering gives a grid's positions: the window's, and the share `focus` for the centre alone.

    Float32 (height * width,), row-major, summing to 1. The window fills the picture; the focus draws in its middle
    what the cell stands for: 0.1 raises the centre's cosine by 0.03 and costs the window 0.01.
    """
    weights = window(height, width, device) * (1 - focus)
    weights[height // 2 * width + width // 2] += focus
    return weights
