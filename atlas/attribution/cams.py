"""Attributions over a layer's positions: CAM and Grad-CAM, and the latter with guided gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn import functional

from atlas.attribution.gradients import Given, check_targets, guided, logits_of, picked, told
from atlas.attribution.maps import Balance
from atlas.errors import AttributionError
from atlas.models import Model, as_grid, capture, layer_shapes
from atlas.models.capture import Watch, find_module
from atlas.models.layers import Call, classify_calls, record_calls
from atlas.records import LayerShape

_PASSIVE = (nn.Dropout, nn.Dropout2d, nn.Identity, nn.Flatten, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_POOL_ERROR = 1e-3
_MOST_TRIED = 40  # layers of tokens, from the last one backwards
_KNOWN: WeakKeyDictionary[nn.Module, dict[Any, tuple[str, LayerShape]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Coarse:
    """Maps at a layer's own size (n, h, w), their balance and the layer's name."""

    values: torch.Tensor
    balance: Balance
    layer: str


def enlarged(coarse: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(n, h, w) -> (n, 1, height, width), bilinear, as if each value stood in the middle of its square."""
    return functional.interpolate(coarse[:, None], size=size, mode="bilinear", align_corners=False)


def grad_cam(
    model: Model, batch: torch.Tensor, targets: torch.Tensor | None, layer: str | None
) -> tuple[Coarse, Given]:
    """relu(sum over channels of the mean gradient times the activation). Selvaraju et al. 2017, eq. 1 and 2.

    One pass, whose graph begins at the layer; what the network predicts in it is explained where no targets are given.
    """
    name, shape = _layer_of(model, batch, layer)
    found: dict[str, torch.Tensor] = {}

    def cut(_: str, tensor: torch.Tensor) -> torch.Tensor:
        # Nothing before the layer needs a gradient.
        found["leaf"] = tensor.detach().requires_grad_()
        return found["leaf"].clone()  # an in-place ReLU behind the layer must not change what was read

    with torch.enable_grad(), Watch(model.network, [name], cut) as watch:
        logits = logits_of(model, model.network(batch.detach()))
        watch.check_complete()
        wanted = check_targets(model, logits, targets)
        given = Given(model, batch, wanted, logits.detach())
        slopes = None
        if logits.requires_grad:
            slopes = torch.autograd.grad(picked(logits, wanted).sum(), found["leaf"], allow_unused=True)[0]
    slope = None if slopes is None else as_grid(slopes, shape)
    if slope is None or not slope.any():
        raise AttributionError(
            f"the logits of {model.name} do not depend on the positions of layer '{name}', as in a transformer's "
            "last block, where only CLS goes on: choose an earlier layer"
        )
    grid = as_grid(found["leaf"].detach(), shape)
    weighted = torch.einsum("npc,nc->np", grid, slope.mean(1)).clamp(min=0)
    values = weighted.view(-1, shape.height, shape.width)
    return Coarse(values, told(values, picked(given.logits, wanted), binding=False), name), given


def cam(given: Given) -> Coarse:
    """The last map weighted by the classifier's row. Zhou et al. 2016, eq. 2.

    Refused unless the network ends in global average pooling and one linear layer, which is tried, not assumed: the
    map's mean must be what the linear layer reads. Divided by the number of positions, so that the map's sum, plus
    the bias, is the logit.
    """
    network, calls = given.model.network, _calls(given.model, given.batch)
    weighted = [call for call in calls if isinstance(call.module, nn.Linear | nn.modules.conv._ConvNd)]
    head = weighted[-1] if weighted else None
    why = f"CAM needs global average pooling and one linear layer at the end, which {given.model.name} does not have"
    if head is None or not isinstance(head.module, nn.Linear) or head.output is None or len(head.output.shape) != 2:
        raise AttributionError(f"{why}: use Grad-CAM, which equals it where both are defined")
    name, shape = _layer_of(given.model, given.batch, None)
    with torch.no_grad(), capture(network, [name, head.layer], stop=False) as run:
        seen = run(given.batch)
        logits = logits_of(given.model, run.output)
        grid = as_grid(seen[name], shape)
        # DenseNet calls F.relu between its last map and the pooling.
        ends = [one for one in (grid, grid.clamp(min=0)) if _explains(head.module, one, logits)]
    if not ends:
        raise AttributionError(f"{why}: use Grad-CAM, which equals it where both are defined")
    rows = head.module.weight[given.targets]
    values = torch.einsum("npc,nc->np", ends[0], rows).view(-1, shape.height, shape.width) / (
        shape.height * shape.width
    )
    promised = picked(given.logits, given.targets)
    if head.module.bias is not None:
        promised = promised - head.module.bias[given.targets]
    return Coarse(values, told(values, promised, binding=True), name)


def _explains(head: nn.Linear, grid: torch.Tensor, logits: torch.Tensor) -> bool:
    """Whether the logits are this linear layer over the map's mean: what CAM needs, tried on the pictures."""
    if grid.shape[2] != head.in_features:
        return False
    again = head(grid.mean(1))
    return again.shape == logits.shape and bool(((again - logits).abs() <= _POOL_ERROR * logits.abs().max()).all())


def guided_grad_cam(given: Given, layer: str | None) -> tuple[torch.Tensor, Coarse]:
    """Grad-CAM, enlarged, times guided back-propagation. Selvaraju et al. 2017, section 3.2."""
    coarse, _ = grad_cam(given.model, given.batch, given.targets, layer)
    height, width = given.batch.shape[2:]
    values = guided(given) * enlarged(coarse.values, (height, width))
    return values, Coarse(coarse.values, told(values, picked(given.logits, given.targets), binding=False), coarse.layer)


def _calls(model: Model, batch: torch.Tensor) -> list[Call]:
    channels, height, width = batch.shape[1:]
    return record_calls(model.network, (channels, height, width), batch.device)


def _layer_of(model: Model, batch: torch.Tensor, layer: str | None) -> tuple[str, LayerShape]:
    """The layer's name and shape; found once for a network and size, since that runs it several times."""
    channels, height, width = batch.shape[1:]
    size = (int(channels), int(height), int(width))
    known = _KNOWN.setdefault(model.network, {})
    if (layer, size) in known:
        return known[layer, size]
    name = last_map(model, batch) if layer is None else layer
    find_module(model.network, name, model.name)
    shape = layer_shapes(model, [name], size)[name]
    if shape.height * shape.width == 1:
        raise AttributionError(
            f"layer '{name}' of {model.name} has no positions: choose one with a map ('atlas layers' lists them)"
        )
    known[layer, size] = (name, shape)
    return name, shape


def last_map(model: Model, batch: torch.Tensor) -> str:
    """The layer that Grad-CAM reads by default.

    The last map before the last weighted layer (of a ResNet `layer4`, of SqueezeNet what its last convolution reads);
    of tokens, the last whose grid positions still reach the logits.
    """
    channels, height, width = batch.shape[1:]
    calls = _calls(model, batch)
    shapes = classify_calls(model.network, calls, (channels, height, width))
    ends = [i for i, call in enumerate(calls) if isinstance(call.module, nn.Linear | nn.modules.conv._ConvNd)]
    before = calls[: ends[-1]] if ends else calls
    tried = 0
    for call in reversed(before):
        shape = shapes[call.layer]
        if shape is None or shape.height * shape.width == 1 or isinstance(call.module, _PASSIVE):
            continue
        if shape.kind in ("map", "map_last"):
            return call.layer
        if _reaches(model, batch, call.layer, shape):
            return call.layer
        tried += 1
        if tried > _MOST_TRIED:
            break
    raise AttributionError(
        f"{model.name} has no map or grid of tokens before its last layer: name one with layer=, or use "
        "integrated gradients"
    )


def _reaches(model: Model, batch: torch.Tensor, layer: str, shape: LayerShape) -> bool:
    leaf: list[torch.Tensor] = []

    def cut(_: str, tensor: torch.Tensor) -> torch.Tensor:
        leaf.append(tensor.detach().clone().requires_grad_())
        return leaf[0].clone()

    with torch.enable_grad(), Watch(model.network, [layer], cut):
        logits = logits_of(model, model.network(batch[:1].detach()))
        if not logits.requires_grad:
            return False
        slope = torch.autograd.grad(logits.square().sum(), leaf[0], allow_unused=True)[0]
    return slope is not None and bool(as_grid(slope, shape).any())
