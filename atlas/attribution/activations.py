"""What layers make of one picture: activation maps, and the first layer's filters as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from atlas.errors import AttributionError, LayerError
from atlas.models import Model, as_grid, capture, layer_shapes
from atlas.models.capture import Tap
from atlas.models.layers import record_calls


@dataclass(frozen=True)
class ActivationMaps:
    """Channels of one layer for one picture, as the layer gives them.

    values: float32 (k, height, width), in the picture's geometry. channels: int64 (k,), strongest first, or as asked
    for. strength: float32 (k,), the mean of what is positive. count: how many channels the layer has. rectified: True
    where no value of the whole layer is negative, as behind a ReLU; else the values are raw, and signed.
    """

    layer: str
    values: NDArray[np.float32]
    channels: NDArray[np.int64]
    strength: NDArray[np.float32]
    count: int
    rectified: bool


@dataclass(frozen=True)
class Filters:
    """The first convolution's kernels as pictures: uint8 (n, height, width, 3), mid-grey is 0, one scale for all."""

    layer: str
    images: NDArray[np.uint8]


def activation_maps(
    model: Model,
    picture: torch.Tensor,
    layers: Sequence[str],
    *,
    channels: Sequence[int] | None = None,
    strongest: int = 12,
    tap: Tap = "output",
) -> tuple[ActivationMaps, ...]:
    """Read layers for one picture, in the order asked for.

    picture: uint8, or normalised floats, (channels, height, width). channels: which ones of each layer; by default
    the strongest. Values are read before whatever a later in-place function makes of them. A layer without positions
    gives maps of one value. Raises LayerError for a layer or channel that does not exist or cannot be mapped.
    """
    batch = picture[None].to(model.device)
    batch = batch if batch.is_floating_point() else model.preprocess.normalise(batch)
    size = (int(batch.shape[1]), int(batch.shape[2]), int(batch.shape[3]))
    shapes = layer_shapes(model, layers, size, tap=tap)
    with torch.no_grad(), capture(model.network, layers, tap=tap) as run:
        seen = run(batch)
    found = []
    for layer in layers:
        shape = shapes[layer]
        grid = as_grid(seen[layer], shape)[0].float().T.cpu().numpy()
        values = grid.reshape(shape.channels, shape.height, shape.width)
        strength = grid.clip(0).mean(1)
        if channels is None:
            chosen = np.argsort(-strength, kind="stable")[:strongest]
        else:
            chosen = np.asarray(channels, np.int64)
            beyond = chosen[(chosen < 0) | (chosen >= shape.channels)]
            if len(beyond):
                raise LayerError(
                    f"layer '{layer}' of {model.name} has channels 0 to {shape.channels - 1}, not {beyond[0]}"
                )
        rectified = bool((grid >= 0).all())
        found.append(ActivationMaps(layer, values[chosen], chosen, strength[chosen], shape.channels, rectified))
    return tuple(found)


def first_filters(model: Model, input_shape: tuple[int, int, int] | None = None) -> Filters:
    """The kernels of the first convolution that runs, as they lie over the picture.

    Raises AttributionError where there is none that reads the picture's own 1 or 3 colours.
    """
    shape = input_shape or model.preprocess.input_shape or (model.preprocess.channels, 224, 224)
    calls = record_calls(model.network, shape, model.device)
    first = next(((call.layer, call.module) for call in calls if isinstance(call.module, nn.Conv2d)), None)
    if first is None or first[1].weight.shape[1] not in (1, 3):
        raise AttributionError(f"{model.name} has no first convolution over colours, so there are no filters to show")
    kernels = first[1].weight.detach().float().cpu().numpy().transpose(0, 2, 3, 1)
    largest = float(np.abs(kernels).max()) or 1.0
    images = np.round(127.5 + 127.5 * kernels / largest).astype(np.uint8)
    return Filters(first[0], np.broadcast_to(images, (*images.shape[:3], 3)).copy())
