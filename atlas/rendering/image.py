"""Pictures as spectra: each picture is a sigmoid of decorrelated colours of a scaled Fourier spectrum."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from atlas.models.light import DARKEST, colour_root

_KEPT_CONTRAST, _KEPT_CYCLES = 0.9, 32.0


class FourierPictures:
    """Map spectra to pictures and back.

    A spectrum is float (n, channels, size, size // 2 + 1, 2), real and imaginary parts. Each coefficient is divided
    by its frequency to the power `decay`, relative to the lowest, so that one Adam step changes large shapes more than
    fine ones (natural pictures have about 1 / f; Olah et al. 2017, "Feature Visualization"). `gain` multiplies the
    colours before the sigmoid.
    """

    def __init__(self, size: int, channels: int, *, decay: float, gain: float, device: torch.device) -> None:
        self.size = size
        self.channels = channels
        down = torch.fft.fftfreq(size)[:, None]
        across = torch.fft.rfftfreq(size)[None]
        cycles = (torch.hypot(down, across) * size).clamp_min(1.0)
        # The orthonormal transform divides by `size`; 4 is lucid's constant against saturation.
        self._scale = (size / 4 / cycles**decay)[..., None].to(device)
        self._colours = (gain * torch.from_numpy(colour_root(channels))).to(device)

    def draw(self, generator: torch.Generator, deviation: float) -> Tensor:
        """Draw one random spectrum (channels, size, size // 2 + 1, 2) on the CPU."""
        shape = (self.channels, self.size, self.size // 2 + 1, 2)
        return torch.randn(shape, generator=generator) * deviation

    def pictures(self, spectra: Tensor, size: int | None = None) -> Tensor:
        """Turn spectra into pictures (n, channels, size, size) in (0, 1).

        A larger `size` than the spectrum's own interpolates by trigonometric polynomials, before the sigmoid; a
        smaller one leaves the higher frequencies out.
        """
        size = size or self.size
        coefficients = torch.view_as_complex(spectra * self._scale)
        if size > self.size:
            coefficients = _padded(coefficients, self.size, size)
        elif size < self.size:
            coefficients = _cropped(coefficients, self.size, size)
        light = torch.fft.irfft2(coefficients, s=(size, size), norm="ortho")
        flat = light.reshape(len(spectra), self.channels, -1)
        return torch.sigmoid(torch.matmul(self._colours, flat)).reshape(light.shape)

    def spectra(self, pictures: Tensor) -> Tensor:
        """Turn pictures (n, channels, size, size) in [0, 1] into the spectra that give them, up to the clipping."""
        if pictures.shape[-1] != self.size:
            pictures = resized(pictures, (self.size, self.size))
        light = torch.logit(pictures.clamp(DARKEST, 1 - DARKEST))
        flat = torch.matmul(torch.linalg.inv(self._colours), light.reshape(len(light), self.channels, -1))
        coefficients = torch.fft.rfft2(flat.reshape(light.shape), norm="ortho")
        return torch.view_as_real(coefficients) / self._scale


def _padded(coefficients: Tensor, size: int, larger: int) -> Tensor:
    """Place a spectrum of size² pixels among the low frequencies of one of larger² pixels."""
    coefficients = _shifted(coefficients, size, larger)
    padded = coefficients.new_zeros(*coefficients.shape[:-2], larger, larger // 2 + 1)
    upper, columns = (size + 1) // 2, size // 2 + 1
    padded[..., :upper, :columns] = coefficients[..., :upper, :]
    padded[..., upper - size :, :columns] = coefficients[..., upper:, :]
    if size % 2 == 0:  # the highest column stood for itself and its mirror; now the mirror has a place of its own
        padded[..., columns - 1] /= 2
    return padded * (larger / size)  # both transforms are orthonormal


def _cropped(coefficients: Tensor, size: int, smaller: int) -> Tensor:
    """Keep of a spectrum of size² pixels what one of smaller² pixels can hold."""
    coefficients = _shifted(coefficients, size, smaller)
    upper, columns = (smaller + 1) // 2, smaller // 2 + 1
    rows = torch.cat([coefficients[..., :upper, :columns], coefficients[..., upper - smaller :, :columns]], -2)
    return rows * (smaller / size)  # both transforms are orthonormal


def _shifted(coefficients: Tensor, size: int, other: int) -> Tensor:
    """Move a picture from a grid of size² pixels to one of other² with the same outer edges: first pixels lie apart."""
    turn = torch.pi * (1 / other - 1 / size)
    down = torch.fft.fftfreq(size, 1 / size, device=coefficients.device)[:, None]
    across = torch.fft.rfftfreq(size, 1 / size, device=coefficients.device)[None]
    return coefficients * torch.polar(torch.ones_like(down + across), turn * (down + across))


def resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize pictures (n, c, h, w) in [0, 1] to (height, width), smoothed where they shrink."""
    height, width = pictures.shape[-2:]
    if (height, width) == size:
        return pictures
    if height >= size[0] and width >= size[1]:  # bicubic keeps twice as much of the finest detail as bilinear
        shrunk = functional.interpolate(pictures, size=size, mode="bicubic", align_corners=False, antialias=True)
        return shrunk.clamp(0, 1)
    return functional.interpolate(pictures, size=size, mode="bilinear", align_corners=False, antialias=True)


_FADED_TOGETHER = 64  # icons: what is needed beside them does not grow with their number


def faded(icons: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Icons (n, size, size, 3) as starts for finer ones: at 0.9 of their contrast, less of their finest detail.

    A wave of f cycles a side keeps 0.9 exp(-(f / 32)² / 2): rendering adds contrast and detail to its start.
    """
    if len(icons) > _FADED_TOGETHER:
        parts = range(0, len(icons), _FADED_TOGETHER)
        return np.concatenate([faded(icons[start : start + _FADED_TOGETHER]) for start in parts])
    if not len(icons):
        return icons
    light = torch.from_numpy(icons).permute(0, 3, 1, 2).float() - 128
    size = light.shape[-1]
    cycles = torch.hypot(torch.fft.fftfreq(size, 1 / size)[:, None], torch.fft.rfftfreq(size, 1 / size)[None])
    kept = torch.exp(-((cycles / _KEPT_CYCLES) ** 2) / 2)
    coarse = torch.fft.irfft2(torch.fft.rfft2(light) * kept, s=(size, size))
    return (128 + _KEPT_CONTRAST * coarse).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def to_float(images: Tensor, channels: int) -> Tensor:
    """Stored pictures uint8 (n, h, w, 3) -> float32 (n, channels, h, w) in [0, 1]; grey is the mean of the colours."""
    pictures = images.permute(0, 3, 1, 2).float() / 255
    return pictures if channels == 3 else pictures.mean(1, keepdim=True)


def to_stored(pictures: Tensor) -> Tensor:
    """Pictures float (n, channels, h, w) in [0, 1] -> uint8 (n, h, w, 3); grey is repeated."""
    pixels = (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return pixels.expand(*pixels.shape[:3], 3).contiguous()
