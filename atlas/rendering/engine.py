"""The batched engine: many icons optimised together, each as if it were alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.errors import RenderError
from atlas.rendering.image import FourierPictures, to_float, to_stored
from atlas.rendering.objective import Objective, attention
from atlas.rendering.target import Target
from atlas.rendering.transforms import Wobble, settle, warp

Slope = Callable[[Tensor, Tensor], Tensor]
_FULL_RATE_STEPS = 24
_REDRAWN = 8  # first steps in which a start that excites nothing is drawn anew: one in two succeeds
ENGINE_VERSION = 5  # part of every cache key: raise it whenever the same settings give other icons


@dataclass(frozen=True)
class Recipe:
    """All that decides how the batched engine renders; every field is part of the cache key.

    steps: in all; the share `coarse` of them shows the network a smaller picture where it takes one (see
    `Target.coarse`). rate: Adam's peak rate under a one-cycle schedule that rises for the share `rise` of the steps;
    more than 24 steps are shorter ones, see `peak`. memory, spread: Adam's two decay rates; so few steps have no use
    for a long memory. focus: see `attention`. settled: the share of the wobble that is left at the end. deviation: of
    the random spectrum at the start. decay, gain: see FourierPictures.

    The defaults were chosen by eye and by score on k-means centres of SqueezeNet 1.0's features.10 other than the
    benchmark's; docs/icons.md has the table.
    """

    steps: int
    coarse: float = 0.58
    rate: float = 0.14
    rise: float = 0.3
    memory: float = 0.5
    spread: float = 0.9
    focus: float = 0.1
    settled: float = 0.1
    deviation: float = 0.03
    decay: float = 1.35
    gain: float = 10.0
    wobble: Wobble = field(default_factory=Wobble)
    objective: Objective = field(default_factory=Objective)

    @classmethod
    def started(cls, steps: int) -> Recipe:
        """For icons that start from others: large shapes are there, and the full rate would lose them again.

        Smaller moves, which blur what a start already is robust to: 0.02 to 0.03 of all cosines. More weight on what
        sets a cell apart: its start is shared with its siblings. docs/icons.md has the table.
        """
        return cls(
            steps,
            coarse=0.0,
            rate=0.063,
            settled=0.0,
            wobble=Wobble(shift=0.02, rotation=3.0, scale=0.02),
            objective=Objective(strength=4.4, contrast=12.0),
        )

    @property
    def peak(self) -> float:
        """The peak rate for this many steps: at the full rate, 400 steps drive every pixel to black or white.

        With 220 steps (0.9 for 0.0 as the power): contrast 0.27 for 0.45, centre 0.87 for 0.85.
        """
        return self.rate * min(1.0, _FULL_RATE_STEPS / self.steps) ** 0.9

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the cache key."""
        return asdict(self)


def icon_seed(seed: int, direction: NDArray[np.float32]) -> int:
    """The seed of one icon's own generator, from the run's seed and the direction's bytes."""
    digest = hashlib.sha256(f"{seed}:".encode() + direction.tobytes()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def optimise(
    target: Target,
    directions: NDArray[np.float32],
    recipe: Recipe,
    *,
    seed: int,
    mean: NDArray[np.float32] | None = None,
    starts: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Render one batch of icons: directions (n, channels) -> uint8 (n, size, size, 3).

    Every random number of an icon comes from its own generator, so that no icon depends on its batch's others (but
    for rounding: convolutions give other bits in another batch size). Raises RenderError when an icon is not finite.
    """
    wanted = torch.from_numpy(directions).to(target.device)
    middle = None if mean is None else torch.from_numpy(mean).to(target.device)

    def slope(found: Tensor, weights: Tensor) -> Tensor:
        return recipe.objective.slope(found, wanted, weights, middle)

    return ascend(target, slope, [icon_seed(seed, direction) for direction in directions], recipe, starts)


def ascend(
    target: Target, slope: Slope, seeds: Sequence[int], recipe: Recipe, starts: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Change one picture per seed along the slope of what is to be raised: uint8 (n, size, size, 3).

    slope(found (n, positions, channels), weights (positions,)) -> like found, the gradient; weights are `attention`'s.
    Raises RenderError when a picture is not finite.
    """
    device = target.device
    fourier = FourierPictures(
        min(target.size, max(target.feed.size)), target.channels, decay=recipe.decay, gain=recipe.gain, device=device
    )
    generators = [torch.Generator().manual_seed(own) for own in seeds]
    spectra = torch.stack([fourier.draw(generator, recipe.deviation) for generator in generators])
    moves = torch.stack([recipe.wobble.draw(generator, recipe.steps) for generator in generators])
    moves = settle(moves, recipe.settled).to(device)
    if starts is not None:
        spectra = fourier.spectra(to_float(torch.from_numpy(starts).to(device), target.channels))
    coarse = round(recipe.coarse * recipe.steps) if target.coarse is not None else 0

    spectra = spectra.to(device).contiguous().requires_grad_()
    adam = torch.optim.Adam([spectra], lr=recipe.peak, betas=(recipe.memory, recipe.spread))
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        adam, recipe.peak, total_steps=recipe.steps + 1, pct_start=recipe.rise, cycle_momentum=False
    )
    for step in range(recipe.steps):
        feed = target.coarse if target.coarse is not None and step < coarse else target.feed
        size = min(fourier.size, max(feed.size))
        with torch.enable_grad():
            seen = warp(fourier.pictures(spectra, size), moves[:, step], feed.size)
            found = target.show(seen, feed, fast=True)
            weights = attention(feed.shape.height, feed.shape.width, recipe.focus, device)
            up = slope(found.detach(), weights)
            (spectra.grad,) = torch.autograd.grad(found, spectra, up.neg())
        if step < _REDRAWN:
            _redraw_dead(spectra, spectra.grad, fourier, generators, recipe.deviation * (step + 2))
        adam.step()
        cycle.step()
    with torch.no_grad():
        pictures = fourier.pictures(spectra, target.size)
    if not bool(torch.isfinite(pictures).all()):
        raise RenderError(
            f"layer '{target.layer}' of {target.model.name} gives values that are not finite while an icon is "
            "rendered: check the network's weights and its preprocessing"
        )
    return to_stored(pictures).cpu().numpy()


def _redraw_dead(
    spectra: Tensor, gradient: Tensor, fourier: FourierPictures, generators: list[torch.Generator], deviation: float
) -> None:
    """Draw a new start for icons whose gradient is zero: behind a ReLU that is off everywhere, none would ever come.

    Bolder from step to step: what faint noise does not wake, strong noise may.
    """
    for index in (gradient.flatten(1).abs().amax(1) == 0).nonzero().flatten().tolist():
        spectra.data[index] = fourier.draw(generators[index], deviation).to(spectra.device)
