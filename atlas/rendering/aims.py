"""What a picture can be made for, beside a cell's direction: channels, neurons, logits, directions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from atlas.errors import RenderError
from atlas.models import Model, layer_shapes, resolve_device
from atlas.models.capture import Tap
from atlas.rendering.engine import Recipe, ascend
from atlas.rendering.image import to_float
from atlas.rendering.objective import window
from atlas.rendering.target import open_target

Aim = Callable[[Tensor, Tensor], Tensor]
"""What is to be raised: activations (n, positions, channels) and the positions' weights (positions,) -> (n,)."""

_CHUNK = 64  # pictures shown at a time
_STEPS = 64  # a unit is asked for alone, where an icon's level may have thousands of cells: it may take its time


def direction(vector: ArrayLike, *, cosine_power: float = 2.0) -> Aim:
    """Raise dot product times cosine^power along a vector (channels,), at every position, under the weights.

    Carter et al. 2019 use it at the centre alone (`direction_at_centre`).
    """
    wanted = _vector(vector)

    def aim(found: Tensor, weights: Tensor) -> Tensor:
        return _dot_cosine(found, wanted.to(found), cosine_power) @ weights

    return aim


def direction_at_centre(vector: ArrayLike, *, cosine_power: float = 2.0) -> Aim:
    """Raise dot product times cosine^power along a vector (channels,) at the centre position."""
    wanted = _vector(vector)

    def aim(found: Tensor, weights: Tensor) -> Tensor:
        # The weights are largest at the centre: the window's peak, and the focus on it.
        return _dot_cosine(found[:, int(weights.argmax())], wanted.to(found), cosine_power)

    return aim


def channel(index: int) -> Aim:
    """Raise one channel's mean over all positions, under the weights. A unit of a pooled layer is a channel, too."""

    def aim(found: Tensor, weights: Tensor) -> Tensor:
        return found[:, :, _known(index, found)] @ weights

    return aim


def neuron(index: int) -> Aim:
    """Raise one channel at the centre position."""

    def aim(found: Tensor, weights: Tensor) -> Tensor:
        return found[:, int(weights.argmax()), _known(index, found)]

    return aim


def logit(index: int) -> Aim:
    """Raise one class's logit above the others' mean, for a layer that gives logits: (n, classes).

    The logit alone can also rise with all the others, which shows nothing of the class.
    """

    def aim(found: Tensor, weights: Tensor) -> Tensor:
        logits = torch.einsum("npc,p->nc", found, weights)
        return logits[:, _known(index, found)] - logits.mean(1)

    return aim


def render_aims(
    model: Model,
    layer: str,
    aims: Sequence[Aim],
    *,
    size: int = 96,
    steps: int | Literal["auto"] = "auto",
    device: str = "auto",
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    tap: Tap = "output",
    recipe: Recipe | None = None,
) -> NDArray[np.uint8]:
    """Render one picture for each aim, all in one batch: uint8 (n, size, size, 3).

    The same image, transforms and steps as icons', for any function of a layer's activations. steps: "auto" is 64.
    recipe replaces steps. seeds: one for each picture, which then does not depend on the others; by default they are
    counted on from `seed`.
    Raises LayerError, ModelError, and RenderError for a size, a channel or values that cannot be.
    """
    if not aims:
        return np.zeros((0, size, size, 3), np.uint8)
    if size < 16:
        raise RenderError(f"size is {size}: give a whole number of 16 or more")
    native = model.preprocess.input_shape or (model.preprocess.channels, size, size)
    width = layer_shapes(model, [layer], native, tap=tap)[layer].channels
    slope = functools.partial(_slope, aims)
    if seeds is None:
        seeds = [seed * len(aims) + index for index in range(len(aims))]
    with open_target(model, layer, size=size, width=width, device=resolve_device(device), tap=tap) as target:
        return ascend(target, slope, seeds, recipe or Recipe(_STEPS if steps == "auto" else steps))


@torch.no_grad()
def reached(
    model: Model, layer: str, images: NDArray[np.uint8], channels: Sequence[int], *, device: str = "auto", tap: Tap
) -> NDArray[np.float32]:
    """How strongly each stored picture uint8 (n, size, size, 3) raises its channel: float32 (n,).

    The channel's mean over all positions under `window`, as it is scored for icons.
    """
    size = images.shape[1]
    native = model.preprocess.input_shape or (model.preprocess.channels, size, size)
    width = layer_shapes(model, [layer], native, tap=tap)[layer].channels
    with open_target(model, layer, size=size, width=width, device=resolve_device(device), tap=tap) as target:
        weights = window(target.shape.height, target.shape.width, target.device)
        pictures = to_float(torch.from_numpy(images), target.channels).to(target.device)
        found = [
            torch.einsum("npc,p->nc", target.show(part), weights).gather(1, torch.as_tensor(own, device=target.device))
            for part, own in zip(pictures.split(_CHUNK), torch.as_tensor(channels)[:, None].split(_CHUNK), strict=True)
        ]
    values: NDArray[np.float32] = torch.cat(found)[:, 0].cpu().numpy()
    return values


def _slope(aims: Sequence[Aim], found: Tensor, weights: Tensor) -> Tensor:
    """Each picture's gradient, of length 1: a logit's and a dot product's scales differ by thousands."""
    leaf = found.requires_grad_()
    value = torch.cat([aim(leaf[index : index + 1], weights) for index, aim in enumerate(aims)]).sum()
    (gradient,) = torch.autograd.grad(value, leaf)
    return gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-30)[:, None, None]


def _dot_cosine(found: Tensor, wanted: Tensor, power: float) -> Tensor:
    cosine = functional.cosine_similarity(found, wanted, dim=-1).clamp_min(0.1)
    return (found @ wanted) * cosine**power


def _vector(vector: ArrayLike) -> Tensor:
    values = np.ascontiguousarray(vector, dtype=np.float32)
    if values.ndim != 1 or not np.isfinite(values).all() or not values.any():
        raise RenderError(f"a direction has shape {values.shape}: give (channels,) finite values, not all zero")
    return torch.from_numpy(values)


def _known(index: int, found: Tensor) -> int:
    if not 0 <= index < found.shape[2]:
        raise RenderError(f"there is no channel {index}: the layer has channels 0 to {found.shape[2] - 1}")
    return index
