"""A network whose weights never change: the same values and gradients, found sooner.

Rendering asks a network for one thing alone, the gradient of its input, many thousand times. What PyTorch does well for
training is slow for that in two places on a processor; docs/performance.md has the figures.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


def freeze(network: nn.Module) -> nn.Module:
    """Give a network's modules their quicker ways, in place; use it on a copy in evaluation mode, on a processor.

    Names, parameters and hooks stay; only modules of exactly PyTorch's own classes change. The weights must not
    change any more, and their gradients can no longer be asked for.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_few_to_many(module):
            module.__class__ = _StridedConvolution
        elif type(module) is nn.BatchNorm2d and module.track_running_stats:
            module.__class__ = _FixedNorm
        else:
            continue
        module.requires_grad_(False)
    return network


def _is_few_to_many(module: nn.Conv2d) -> bool:
    """The first convolution of most networks: few channels in, a stride, and a slow gradient for it."""
    stride = module.stride[0]
    plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    return plain and module.stride == (stride, stride) and stride > 1 and module.in_channels <= 4


class _StridedConvolution(nn.Conv2d):
    """A convolution with a stride whose input's gradient is one plain convolution and a pixel shuffle."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if isinstance(self.padding, str) or input.dim() != 4:
            return super()._conv_forward(input, weight, bias)
        return _Strided.apply(input, weight, bias, self.stride[0], self.padding)


class _Strided(torch.autograd.Function):
    """Every pixel of a stride-by-stride block has a kernel of its own, so the gradient of the blocks is dense.

    Pixel y = s q + r (from the padded edge) was seen through row r + s t of the kernel by output q - t: for each
    remainder r, a convolution of the outputs' gradient with every s-th row, turned round (Shi et al. 2016, "Is the
    deconvolution layer the same as a convolutional layer?").
    """

    @staticmethod
    def forward(
        context: Any, pictures: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: tuple[int, int]
    ) -> Tensor:
        context.save_for_backward(weight)
        context.size, context.stride, context.padding = pictures.shape[-2:], stride, padding
        return functional.conv2d(pictures, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,), (gradient,) = context.saved_tensors, gradients
        weight = weight.to(gradient.dtype)  # of a forward pass under autocast
        stride, (top, left), (height, width) = context.stride, context.padding, context.size
        reach = [-(-side // stride) for side in weight.shape[-2:]]  # outputs that see one block, down and across
        blocks = functional.conv2d(gradient, _phases(weight, stride, reach), padding=(reach[0] - 1, reach[1] - 1))
        pixels = functional.pixel_shuffle(blocks, stride)[..., top : top + height, left : left + width]
        missing = (height - pixels.shape[-2], width - pixels.shape[-1])  # rows that no output saw
        if any(missing):
            pixels = functional.pad(pixels, (0, missing[1], 0, missing[0]))
        return pixels, None, None, None, None


def _phases(weight: Tensor, stride: int, reach: list[int]) -> Tensor:
    """Kernels (out, in, h, w) -> (in * stride², out, h / stride, w / stride), one for each pixel of a block."""
    padding = [reach[1] * stride - weight.shape[3], reach[0] * stride - weight.shape[2]]
    whole = functional.pad(weight, (0, padding[0], 0, padding[1]))
    out, inside = whole.shape[:2]
    split = whole.reshape(out, inside, reach[0], stride, reach[1], stride).permute(1, 3, 5, 0, 2, 4)
    turned = split.flip(4, 5).reshape(inside * stride**2, out, *reach)
    return turned.contiguous(memory_format=torch.channels_last)


class _FixedNorm(nn.BatchNorm2d):
    """Batch normalisation by fixed statistics: one multiplication and one sum."""

    def forward(self, input: Tensor) -> Tensor:
        if self.running_mean is None or self.running_var is None:
            return super().forward(input)
        factor = torch.rsqrt(self.running_var + self.eps)
        if self.weight is not None:
            factor = factor * self.weight
        shift = -self.running_mean * factor
        if self.bias is not None:
            shift = shift + self.bias
        return torch.addcmul(shift.view(-1, 1, 1), input, factor.view(-1, 1, 1))
