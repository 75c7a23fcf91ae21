"""What takes passes of its own: gradients at every block, and the network with one block's output rounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from atlas.findings.health import Cost, Rounding, cost_of
from atlas.models import Model
from atlas.models.capture import Watch
from atlas.models.effects import plain_attention
from atlas.records import Progress

Batches = Sequence[tuple[torch.Tensor, NDArray[np.int64]]]
"""Normalised pictures (n, channels, h, w) with the outputs that their labels mean, -1: none."""


def gradient_norms(model: Model, layers: Sequence[str], batches: Batches, progress: Progress) -> dict[str, float]:
    """The mean length of each picture's gradient of the loss with respect to each block's output.

    The loss is the cross-entropy of the label, or of what the network predicts where there is none; one picture's,
    so that no other weighs in. A block that the loss does not hang on has 0.
    """
    sums = dict.fromkeys(layers, 0.0)
    images = sum(len(batch) for batch, _ in batches)
    done = 0

    def see(layer: str, tensor: torch.Tensor) -> torch.Tensor:
        def add(slope: torch.Tensor) -> None:
            sums[layer] += float(torch.linalg.vector_norm(slope.flatten(1).double(), dim=1).sum())

        if tensor.requires_grad:
            tensor.register_hook(add)
            return tensor.clone()  # what follows in place must not change the one that is watched
        return tensor

    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        plain_attention(),
        Watch(model.network, layers, see) as watch,
    ):
        for batch, outputs in batches:
            progress("gradients", done, images)
            watch.start()
            leaf = batch.clone().requires_grad_()
            logits = model.check_logits(model.network(leaf))
            wanted = torch.from_numpy(outputs).to(logits.device)
            wanted = torch.where(wanted >= 0, wanted, logits.detach().argmax(1))
            torch.autograd.grad(functional.cross_entropy(logits, wanted, reduction="sum"), leaf)
            done += len(batch)
    progress("gradients", images, images)
    return {layer: total / max(images, 1) for layer, total in sums.items()}


def rounding_costs(
    model: Model, largest: Mapping[str, float], batches: Batches, progress: Progress
) -> dict[str, Rounding]:
    """What the network says when one block's output is rounded, and all else is as it was.

    largest: each block's highest |value|, which sets the scale of 8 bits: 255 equal steps from -max to max.
    """
    labels = np.concatenate([outputs for _, outputs in batches])
    plain = _said(model, batches, None, None)
    found: dict[str, Rounding] = {}
    for number, (layer, most) in enumerate(largest.items()):
        progress("rounding", number, len(largest))
        step = most / 127

        def eight(tensor: torch.Tensor, step: float = step) -> torch.Tensor:
            return torch.round(tensor / step) * step if step else tensor

        costs: list[Cost] = [cost_of(plain, _said(model, batches, layer, how), labels) for how in (_half, eight)]
        found[layer] = Rounding(len(labels), *costs)
    progress("rounding", len(largest), len(largest))
    return found


def _half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.clamp(-65504, 65504).half().to(tensor.dtype)


def _said(
    model: Model, batches: Batches, layer: str | None, change: Callable[[torch.Tensor], torch.Tensor] | None
) -> NDArray[np.int64]:
    """The predicted outputs, with one layer's output changed."""
    return np.concatenate(list(_each(model, batches, layer, change)))


def _each(
    model: Model, batches: Batches, layer: str | None, change: Callable[[torch.Tensor], torch.Tensor] | None
) -> Iterator[NDArray[np.int64]]:
    layers = [] if layer is None else [layer]
    with (
        torch.inference_mode(),
        Watch(model.network, layers, lambda _, tensor: tensor if change is None else change(tensor)) as watch,
    ):
        for batch, _ in batches:
            watch.start()
            yield model.check_logits(model.network(batch)).argmax(1).cpu().numpy()
