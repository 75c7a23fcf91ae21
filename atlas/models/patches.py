"""Which part of a picture a position stands for: the box that is cut out and shown as its patch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from atlas.errors import ModelError
from atlas.models.capture import Tap, capture
from atlas.models.effects import plain_attention
from atlas.models.fields import Field
from atlas.models.layers import as_grid, call_of
from atlas.models.load import Model
from atlas.records import LayerShape

# The share of the gradient's energy that a patch holds, chosen by looking at patches of ResNet-20's layer3 (32 px):
# 0.5 gives 14 px, a blur; 0.8 gives 22 px, the object's part; 0.9 gives 26 px, nearly the whole picture.
ENERGY = 0.8
# A theoretical field longer than this share of a side is replaced by the effective one: of SqueezeNet's features.12
# (155 of 224 px) it shows whole scenes, where the effective field (52 px) shows the nose or the hook that is meant.
LARGEST = 0.5
_PICTURES = 8


@dataclass(frozen=True)
class Span:
    """Along one axis, in shares of the input: the patch of position i has its centre at first + i * step."""

    first: float
    step: float
    length: float

    def edges(self, index: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Both edges; a patch keeps its length and is moved inside the picture, so that all show the same scale."""
        length = min(self.length, 1.0)
        low = (self.first + index * self.step - length / 2).clip(0, 1 - length)
        return low, low + length


@dataclass(frozen=True)
class PatchField:
    """The patches of a layer's positions: their size and places, in shares of the network's input.

    measured: whether the size is that of the effective field, not the theoretical one.
    """

    shape: LayerShape
    y: Span
    x: Span
    measured: bool

    def boxes(self, index: ArrayLike) -> NDArray[np.float32]:
        """Boxes of positions by flat grid index: (m,) -> float32 (m, 4), left, top, right, bottom of the input.

        `Preprocess.to_picture_boxes` maps them to the original picture.
        """
        flat = np.asarray(index, dtype=np.int64).reshape(-1)
        left, right = self.x.edges(flat % self.shape.width)
        top, bottom = self.y.edges(flat // self.shape.width)
        return np.stack([left, top, right, bottom], axis=1).astype(np.float32)


def receptive_field(
    model: Model, layer: str, input_shape: tuple[int, int, int] | None = None, *, tap: Tap = "output"
) -> Field | None:
    """The theoretical receptive field of a layer's positions; None for the whole picture, or where it is unknown."""
    call = call_of(model, layer, _input_shape(model, input_shape))
    return call.field if tap == "output" else call.input_field


def patch_field(
    model: Model,
    layer: str,
    shape: LayerShape,
    *,
    tap: Tap = "output",
    input_shape: tuple[int, int, int] | None = None,
    pictures: torch.Tensor | None = None,
) -> PatchField:
    """Choose the patches of a layer, once: the theoretical field, or the effective one where that is too large.

    A vector stands for the whole input, a token for its square of the grid. pictures: a normalised batch on which
    the effective field is measured; by default noise with the spectrum of photographs. input_shape: needed where
    the preprocessing has no fixed size. Luo et al. 2016, "Understanding the Effective Receptive Field".
    """
    height, width = shape.height, shape.width
    square = PatchField(
        shape, Span(0.5 / height, 1 / height, 1 / height), Span(0.5 / width, 1 / width, 1 / width), False
    )
    if shape.kind in ("vector", "tokens") or height * width == 1:
        return square
    size = _input_shape(model, input_shape) if pictures is None else tuple(pictures.shape[1:])
    field = receptive_field(model, layer, (size[0], size[1], size[2]), tap=tap)
    if field is not None:
        spans = [
            Span((e.low + e.high) / 2 / side, e.jump / side, (e.high - e.low) / side)
            for e, side in zip((field.y, field.x), size[1:], strict=True)
        ]
        if max(spans[0].length, spans[1].length) <= LARGEST:
            return PatchField(shape, spans[0], spans[1], False)
    batch = pictures if pictures is not None else photographic_noise(model, (size[0], size[1], size[2]))
    share_y, share_x = effective_size(model, layer, shape, batch, tap=tap)
    return PatchField(
        shape,
        Span(0.5 / height, 1 / height, max(share_y, 1 / height)),
        Span(0.5 / width, 1 / width, max(share_x, 1 / width)),
        True,
    )


def patch_box(
    model: Model, layer: str, shape: LayerShape, y: int, x: int, *, input_shape: tuple[int, int, int] | None = None
) -> tuple[float, float, float, float]:
    """The box of one position in shares of the network's input; for many, make a `patch_field` once."""
    field = patch_field(model, layer, shape, input_shape=input_shape)
    left, top, right, bottom = field.boxes([y * shape.width + x])[0].tolist()
    return left, top, right, bottom


def effective_size(
    model: Model, layer: str, shape: LayerShape, batch: torch.Tensor, *, tap: Tap = "output", energy: float = ENERGY
) -> tuple[float, float]:
    """Height and width, in shares of the input, of the box that holds `energy` of a position's squared gradient.

    The gradient is that of half the squared length of the activation at the grid's middle, each picture counted
    alike; the box is a square in pixels around that position.
    """
    gradients = position_energy(model, layer, shape, batch, tap=tap)
    height, width = gradients.shape
    centre_y = (shape.height // 2 + 0.5) / shape.height * height
    centre_x = (shape.width // 2 + 0.5) / shape.width * width
    # Pixels in order of the square, grown around the centre, that first holds them.
    reach_y = np.abs(np.arange(height) + 0.5 - centre_y)[:, None] + 0.5
    reach_x = np.abs(np.arange(width) + 0.5 - centre_x)[None] + 0.5
    reach = np.maximum(reach_y, reach_x).ravel()
    order = np.argsort(reach, kind="stable")
    held = np.cumsum(gradients.ravel()[order])
    radius = reach[order][min(np.searchsorted(held, energy * held[-1]), len(held) - 1)]
    return min(1.0, 2 * float(radius) / height), min(1.0, 2 * float(radius) / width)


def position_energy(
    model: Model, layer: str, shape: LayerShape, batch: torch.Tensor, *, tap: Tap = "output"
) -> NDArray[np.float64]:
    """Squared gradient of the middle position's activation by input pixel, (height, width), each picture's sum 1."""
    middle = (shape.height // 2) * shape.width + shape.width // 2
    with torch.inference_mode(False), torch.enable_grad(), plain_attention():
        pixels = batch.detach().clone().to(model.device).requires_grad_()
        with capture(model.network, [layer], tap=tap) as run:
            rows = as_grid(run(pixels)[layer], shape)[:, middle]
        (slope,) = torch.autograd.grad(rows.square().sum() / 2, pixels)
    squared = slope.square().sum(1).double().cpu().numpy()
    sums = squared.sum(axis=(1, 2), keepdims=True)
    if not np.isfinite(squared).all() or not (sums > 0).any():
        raise ModelError(
            f"{model.name}: layer '{layer}' does not answer to its input, so its patches cannot be measured: "
            "choose another layer"
        )
    return np.divide(squared, sums, out=np.zeros_like(squared), where=sums > 0).mean(axis=0)


def photographic_noise(model: Model, input_shape: tuple[int, int, int], count: int = _PICTURES) -> torch.Tensor:
    """Normalised noise pictures whose amplitude falls with frequency, as photographs' does: (count, c, h, w)."""
    channels, height, width = input_shape
    noise = np.random.default_rng(0).standard_normal((count, channels, height, width))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    spectrum = np.fft.rfft2(noise) / np.maximum(frequency, 1 / max(height, width))
    pictures = np.fft.irfft2(spectrum, s=(height, width))
    pictures -= pictures.mean(axis=(1, 2, 3), keepdims=True)
    pictures /= pictures.std(axis=(1, 2, 3), keepdims=True)
    levels = (128 + 56 * pictures).clip(0, 255).astype(np.uint8)
    return model.preprocess.normalise(torch.from_numpy(levels).to(model.device))


def _input_shape(model: Model, given: tuple[int, int, int] | None) -> tuple[int, int, int]:
    shape = given or model.preprocess.input_shape
    if shape is None:
        raise ModelError(f"{model.name}: its preprocessing fixes no input size: add crop, or give input_shape")
    return shape
