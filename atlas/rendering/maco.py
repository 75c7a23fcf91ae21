"""Single icons of high quality: every picture has the dataset's own spectrum, and only its phases are optimised.

Fel et al. 2023, "Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization" (MACO).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from atlas.errors import RenderError
from atlas.models import Model, resolve_device
from atlas.models.capture import Tap
from atlas.models.light import colour_root
from atlas.records import FineIcon, Progress, Spectrum, silent
from atlas.rendering.aims import Aim
from atlas.rendering.engine import Recipe
from atlas.rendering.image import to_stored
from atlas.rendering.objective import attention
from atlas.rendering.target import Target, open_target

LARGEST_FINE = 224
"""Pixels a side: 9 s on two cores for SqueezeNet."""


@dataclass(frozen=True)
class FineRecipe:
    """How a fine icon is optimised.

    crops: squares cut from the picture in each step, their sides `smallest` to `largest` of its own, shown to the
    network with noise of standard deviation `noise` (in [0, 1]). rate: of Adam with Nesterov's momentum, falling to
    a tenth along a half cosine.
    """

    steps: int = 128
    crops: int = 4
    smallest: float = 0.4
    largest: float = 0.9
    noise: float = 0.05
    rate: float = 0.5


def fine_size(model: Model) -> int:
    """Half as large again as the network's input, 224 px at most: what it knows is drawn at the size it knows."""
    shape = model.preprocess.input_shape
    return LARGEST_FINE if shape is None else min(round(1.5 * max(shape[1:])), LARGEST_FINE)


def render_fine(
    model: Model,
    layer: str,
    aim: Aim,
    spectrum: Spectrum,
    *,
    width: int,
    size: int = LARGEST_FINE,
    recipe: FineRecipe | None = None,
    device: str = "auto",
    seed: int = 0,
    tap: Tap = "output",
    progress: Progress = silent,
) -> FineIcon:
    """Render one picture of size² pixels that raises an aim at a layer with `width` channels.

    The same call gives the same picture on the same machine. progress is called as ("fine icon", step, steps). Raises
    RenderError for a spectrum of other channels than the network's pictures, and for values that are not finite.
    """
    recipe = recipe or FineRecipe()
    if len(spectrum.level) != model.preprocess.channels:
        raise RenderError(
            f"the spectrum has {len(spectrum.level)} channels, the pictures of {model.name} have "
            f"{model.preprocess.channels}: take the spectrum of a store made with this network"
        )
    place = resolve_device(device)
    generator = torch.Generator().manual_seed(seed)
    pictures = PhasePictures(spectrum, size, place)
    side = round(size * (recipe.smallest + recipe.largest) / 2)
    with open_target(model, layer, size=side, width=width, device=place, tap=tap) as target:
        phases, importance = _optimise(target, pictures, aim, recipe, generator, progress)
    with torch.no_grad():
        image = to_stored(pictures.pictures(phases))[0].cpu().numpy()
    return FineIcon(image, _shares(importance))


def _optimise(
    target: Target,
    pictures: PhasePictures,
    aim: Aim,
    recipe: FineRecipe,
    generator: torch.Generator,
    progress: Progress,
) -> tuple[Tensor, Tensor]:
    """Raise the aim; return the phases, and how much it hung on each pixel, summed over the steps."""
    phases = pictures.draw(generator)[None].to(target.device).requires_grad_()
    importance = torch.zeros(pictures.size, pictures.size, device=target.device)
    weights = attention(target.shape.height, target.shape.width, Recipe.focus, target.device)
    adam = torch.optim.NAdam([phases], lr=recipe.rate)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, recipe.steps, eta_min=recipe.rate / 10)
    for step in range(recipe.steps):
        with torch.enable_grad():
            picture = pictures.pictures(phases)
            crops = [_crop(picture, recipe, target.feed.size, generator) for _ in range(recipe.crops)]
            found = target.show(torch.cat(crops), fast=True)
            goal = aim(found, weights).sum()
            slope, phases.grad = torch.autograd.grad(goal.neg(), (picture, phases))
        if not bool(torch.isfinite(phases.grad).all()):
            raise RenderError(
                f"layer '{target.layer}' of {target.model.name} gives gradients that are not finite: check the "
                "network's weights and its preprocessing"
            )
        importance += slope.abs().mean((0, 1))
        adam.step()
        fall.step()
        progress("fine icon", step + 1, recipe.steps)
    return phases.detach(), importance


def _crop(picture: Tensor, recipe: FineRecipe, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Cut a random square, resize it to the network's input and add noise."""
    share, right, down = torch.rand(3, generator=generator).tolist()
    side = round((recipe.smallest + (recipe.largest - recipe.smallest) * share) * picture.shape[-1])
    left, top = (round(where * (picture.shape[-1] - side)) for where in (right, down))
    part = picture[..., top : top + side, left : left + side]
    part = functional.interpolate(part, size=size, mode="bilinear", antialias=True, align_corners=False)
    return part + recipe.noise * torch.randn(part.shape, generator=generator).to(part.device)


def _shares(importance: Tensor) -> NDArray[np.uint8]:
    """Smooth the importance and stretch it from its 5th to its 80th percentile: uint8, 255 where it counts."""
    reach = max(1, len(importance) // 36)
    padded = functional.pad(importance[None, None], [reach] * 4, mode="reflect")
    smooth = functional.avg_pool2d(padded, 2 * reach + 1, 1)[0, 0].cpu().numpy()
    low, high = np.percentile(smooth, (5, 80))
    shares: NDArray[np.uint8] = (np.clip((smooth - low) / max(high - low, 1e-12), 0, 1) * 255).round().astype(np.uint8)
    return shares


class PhasePictures:
    """Pictures (n, channels, size, size) whose spectra all have one amplitude; phases alone tell them apart.

    A phase is float (n, channels, size, size // 2 + 1), in radians. The lowest coefficient, the mean, is the
    dataset's and has no phase.
    """

    def __init__(self, spectrum: Spectrum, size: int, device: torch.device) -> None:
        self.size = size
        self.channels = len(spectrum.level)
        amplitude = torch.from_numpy(fitted_amplitude(spectrum, size))
        amplitude[:, 0, 0] = 0
        self._amplitude = amplitude.to(device)
        self._level = torch.from_numpy(spectrum.level).to(device)[:, None, None]
        self._colours = torch.from_numpy(colour_root(self.channels)).to(device)

    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw phases evenly from the circle: (channels, size, size // 2 + 1), on the CPU."""
        shape = (self.channels, self.size, self.size // 2 + 1)
        return (torch.rand(shape, generator=generator) * 2 - 1) * math.pi

    def pictures(self, phases: Tensor) -> Tensor:
        """Phases -> pictures in (0, 1)."""
        coefficients = torch.polar(self._amplitude.expand_as(phases), phases)
        light = torch.fft.irfft2(coefficients, s=(self.size, self.size), norm="ortho") + self._level
        flat = torch.matmul(self._colours, light.flatten(2))
        return torch.sigmoid(flat).reshape(light.shape)


def fitted_amplitude(spectrum: Spectrum, size: int) -> NDArray[np.float32]:
    """The amplitude of pictures of size² pixels that show as much as the measured ones.

    Float32 (channels, size, size // 2 + 1). Amplitudes are read off between the measured frequencies, in cycles per
    picture; above the highest one they go on falling as 1 / f, as natural pictures' do (Field 1987). An orthonormal
    transform's amplitude grows with the number of pixels a side.
    """
    channels, height, columns = spectrum.amplitude.shape
    width = 2 * (columns - 1)
    down = np.abs(np.fft.fftfreq(size, 1 / size))
    signs = np.fft.fftfreq(size) < 0
    across = np.fft.rfftfreq(size, 1 / size)
    # One factor for both axes: a frequency beyond the measured ones is read at the edge, along its own direction.
    beyond = np.maximum(1.0, np.maximum(down[:, None] / (height // 2), across[None] / (columns - 1)))
    row, column = down[:, None] / beyond, across[None] / beyond
    row = np.where(signs[:, None], (height - row) % height, row)
    low_row, low_column = np.floor(row).astype(int), np.floor(column).astype(int)
    part_row, part_column = row - low_row, column - low_column
    total = np.zeros((channels, size, len(across)))
    for step_row in (0, 1):
        for step_column in (0, 1):
            share = np.abs(1 - step_row - part_row) * np.abs(1 - step_column - part_column)
            rows = (low_row + step_row) % height
            found = spectrum.amplitude[:, rows, np.minimum(low_column + step_column, columns - 1)]
            total += share * found
    return (total / beyond * size / math.sqrt(height * width)).astype(np.float32)
