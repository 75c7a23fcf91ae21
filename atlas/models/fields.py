"""Receptive fields: which part of the input a position of a layer can depend on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class Extent:
    """Along one axis, in pixels of the input: position i depends on [low + i * jump, high + i * jump)."""

    low: float
    high: float
    jump: float

    def window(self, kernel: float, stride: float, padding: float, dilation: float = 1) -> Extent:
        """Slide a window over the positions (a convolution, a pooling)."""
        low = self.low - padding * self.jump
        return Extent(low, low + (self.high - self.low) + dilation * (kernel - 1) * self.jump, self.jump * stride)

    def join(self, other: Extent) -> Extent:
        """Depend on both (an addition, a concatenation)."""
        return Extent(min(self.low, other.low), max(self.high, other.high), max(self.jump, other.jump))


@dataclass(frozen=True)
class Field:
    """The theoretical receptive field of every position of a layer, in pixels of the input."""

    y: Extent
    x: Extent

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels, which may exceed the input's."""
        return math.ceil(self.y.high - self.y.low), math.ceil(self.x.high - self.x.low)

    def join(self, other: Field) -> Field:
        """Depend on both."""
        return Field(self.y.join(other.y), self.x.join(other.x))


WHOLE = "whole"
_ATTRIBUTE = "_atlas_field"
_PIXEL = Field(Extent(0, 1, 1), Extent(0, 1, 1))

_CONVOLUTIONS = {"conv2d"}
_POOLS = {"max_pool2d", "avg_pool2d", "lp_pool2d", "max_pool2d_with_indices"}
_ADAPTIVE = {"adaptive_avg_pool2d", "adaptive_max_pool2d"}
_REDUCTIONS = {"mean", "sum", "max", "amax", "amin", "min", "std", "var", "norm", "logsumexp"}
_RESHAPES = {"flatten", "reshape", "view", "squeeze"}
_RESIZES = {"interpolate", "upsample", "upsample_nearest", "upsample_bilinear"}
# Mix positions whatever their arguments; attention between two activations is found by its matmul.
_MIXERS = {
    "scaled_dot_product_attention", "multi_head_attention_forward", "roll", "grid_sample", "conv_transpose2d",
    "pixel_shuffle", "pixel_unshuffle", "unfold", "fold",
}  # fmt: skip
_PRODUCTS = {"matmul", "bmm", "baddbmm", "einsum", "__matmul__", "__rmatmul__", "mm"}


class FieldTracker(TorchFunctionMode):
    """Carries receptive fields along with the tensors of a forward pass, by the arithmetic of each operation.

    Follows any network, branches included, because it watches functions and not modules. Operations that mix all
    positions (attention, global pooling) give the whole picture; GroupNorm's statistics are not counted, as usual.
    Araujo, Norris and Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks".
    """

    def mark(self, batch: torch.Tensor) -> torch.Tensor:
        """Make a tensor the input, each pixel its own field."""
        setattr(batch, _ATTRIBUTE, _PIXEL)
        return batch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function, then give its outputs the field that follows from its inputs'."""
        kwargs = kwargs or {}
        sources = [tensor for tensor in _tensors((args, kwargs)) if hasattr(tensor, _ATTRIBUTE)]
        found = [getattr(tensor, _ATTRIBUTE) for tensor in sources]
        before = sources[0].shape if sources else torch.Size()  # an in-place operation may change it
        result = func(*args, **kwargs)
        if found:
            outputs = list(_tensors(result))
            joined = _join(found)
            if isinstance(joined, Field) and outputs:
                name = getattr(func, "__name__", "")
                joined = _after(name, joined, len(found), before, outputs[0].shape, args, kwargs)
            for output in outputs:
                setattr(output, _ATTRIBUTE, joined)
        return result


def field_of(tensor: torch.Tensor) -> Field | None:
    """The field that a FieldTracker gave to a tensor; None for the whole picture, or where the trail was lost."""
    found = getattr(tensor, _ATTRIBUTE, None)
    return found if isinstance(found, Field) else None


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)


def _join(fields: list[Any]) -> Any:
    joined = fields[0]
    for field in fields[1:]:
        if joined is WHOLE or field is WHOLE:
            return WHOLE
        joined = joined.join(field)
    return joined


def _after(name: str, field: Field, activations: int, before: Any, after: Any, args: Any, kwargs: Any) -> Any:
    """The field behind one function, from its name, its arguments and the shapes before and after it."""
    if name in _CONVOLUTIONS:
        return _convolved(field, args, kwargs)
    if name in _POOLS:
        return _pooled(field, args, kwargs)
    if name in _ADAPTIVE:
        return _resampled(field, before, after) if tuple(after[-2:]) != (1, 1) else WHOLE
    if name in _RESIZES:
        return _resampled(field, before, after)
    if name == "pad":
        return _padded(field, args[1] if len(args) > 1 else kwargs["pad"])
    if name == "__getitem__":
        return _strided(field, args[1])
    spatial = len(before) == 4 and before[-2:].numel() > 1
    mixes = (
        name in _MIXERS
        or (name in _PRODUCTS and activations > 1)
        or (name in _REDUCTIONS and spatial and tuple(after[-2:]) != tuple(before[-2:]))
        or (name in _RESHAPES and spatial and len(after) == 2)
    )
    return WHOLE if mixes else field


def _pair(value: Any) -> tuple[float, float]:
    if isinstance(value, int | float):
        return value, value
    values = list(value)
    return values[0], values[-1]


def _argument(args: Any, kwargs: Any, index: int, name: str, default: Any) -> Any:
    value = args[index] if len(args) > index else kwargs.get(name, default)
    return default if value is None or (isinstance(value, tuple | list) and not value) else value


def _convolved(field: Field, args: Any, kwargs: Any) -> Field:
    weight = _argument(args, kwargs, 1, "weight", None)
    stride = _pair(_argument(args, kwargs, 3, "stride", 1))
    padding = _argument(args, kwargs, 4, "padding", 0)
    dilation = _pair(_argument(args, kwargs, 5, "dilation", 1))
    kernel = (weight.shape[-2], weight.shape[-1])
    if isinstance(padding, str):
        padding = [d * (k - 1) / 2 if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
    pad = _pair(padding)
    return Field(
        field.y.window(kernel[0], stride[0], pad[0], dilation[0]),
        field.x.window(kernel[1], stride[1], pad[1], dilation[1]),
    )


def _pooled(field: Field, args: Any, kwargs: Any) -> Field:
    kernel = _pair(_argument(args, kwargs, 1, "kernel_size", 1))
    stride = _pair(_argument(args, kwargs, 2, "stride", kernel))
    pad = _pair(_argument(args, kwargs, 3, "padding", 0))
    return Field(field.y.window(kernel[0], stride[0], pad[0]), field.x.window(kernel[1], stride[1], pad[1]))


def _resampled(field: Field, before: Any, after: Any) -> Field:
    """Adaptive pooling and interpolation: windows of in / out positions, and one more where they do not align."""
    axes = []
    for extent, size, new in zip((field.y, field.x), before[-2:], after[-2:], strict=True):
        kernel = 1 if size == new else math.ceil(size / new) + (size % new != 0 or new > size)
        axes.append(extent.window(kernel, size / new, 0))
    return Field(axes[0], axes[1])


def _padded(field: Field, padding: Any) -> Field:
    """Padding (left, right, top, bottom, ...) moves position 0 outwards."""
    values = [*padding, 0, 0, 0, 0]
    return Field(field.y.window(1, 1, values[2]), field.x.window(1, 1, values[0]))


def _strided(field: Field, index: Any) -> Field:
    """Slices with a step widen the jump; both axes alike, as option A of ResNets and Swin's merging have it."""
    steps = [item.step or 1 for item in (index if isinstance(index, tuple) else (index,)) if isinstance(item, slice)]
    step = max(steps, default=1)
    return Field(field.y.window(1, step, 0), field.x.window(1, step, 0)) if step > 1 else field
