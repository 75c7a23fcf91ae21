"""What single channels add to each class's logit."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch.autograd import forward_ad

from atlas.models import Model
from atlas.models.capture import Tap, Watch
from atlas.models.effects import plain_attention
from atlas.records import LayerShape

_MOST_BACKWARD = 100  # classes, each a way back, where there is no forward mode


def channel_effects(
    model: Model, batch: torch.Tensor, layer: str, shape: LayerShape, channels: torch.Tensor, *, tap: Tap = "output"
) -> torch.Tensor | None:
    """How much each picture's channel adds, linearly, to every logit: float32 (n, classes).

    batch: normalised (n, colours, h, w); channels: int64 (n,), one for each picture. The directional derivative of the
    logits along the layer's activation with all other channels set to 0, as `models.effects` takes it along positions.
    None where the network has no forward mode and over 100 classes.
    """
    axis = 1 if shape.kind in ("map", "vector") else -1

    def alone(h: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(len(h), shape.channels, dtype=h.dtype, device=h.device)
        mask[torch.arange(len(h)), channels.to(h.device)] = 1
        between = [1] * (h.ndim - 2)
        return h * (mask.view(len(h), -1, *between) if axis == 1 else mask.view(len(h), *between, -1))

    with torch.inference_mode(False), torch.no_grad(), plain_attention(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch scripts some derivatives on first use, and warns of it
        batch = batch.clone() if batch.is_inference() else batch
        try:
            with forward_ad.dual_level():
                see = Watch(model.network, [layer], lambda _, h: forward_ad.make_dual(h, alone(h)), tap=tap)
                with see:
                    logits = model.check_logits(model.network(batch))
                    see.check_complete()
                tangent = forward_ad.unpack_dual(logits).tangent
            return torch.zeros_like(logits).float() if tangent is None else tangent.float()
        except NotImplementedError:
            return _backward(model, batch, layer, alone, tap) if len(model.outputs) <= _MOST_BACKWARD else None


def _backward(
    model: Model, batch: torch.Tensor, layer: str, alone: Callable[[torch.Tensor], torch.Tensor], tap: Tap
) -> torch.Tensor:
    held: list[torch.Tensor] = []

    def see(_: str, h: torch.Tensor) -> torch.Tensor:
        held.append(h.detach().clone().requires_grad_())
        return held[0].clone()

    with torch.enable_grad(), Watch(model.network, [layer], see, tap=tap):
        logits = model.check_logits(model.network(batch))
        own = alone(held[0].detach())
        columns = []
        for index in range(logits.shape[1]):
            slope = torch.autograd.grad(logits[:, index].sum(), held[0], retain_graph=True, allow_unused=True)[0]
            columns.append(torch.zeros(len(batch)) if slope is None else (slope * own).flatten(1).sum(1))
    return torch.stack(columns, 1).detach().float()
