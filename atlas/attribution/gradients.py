"""Attributions over pixels: gradients, their averages, and gradients under other rules."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from atlas.attribution.maps import TOLERANCE, Balance
from atlas.attribution.overrides import GATES, Guided, Lift, Relevance, Rules, count_weighted
from atlas.errors import AttributionError
from atlas.models import Model
from atlas.models.capture import first_tensor

_MOST_STEPS = 512  # of integrated gradients, when fewer do not add up


@dataclass(frozen=True)
class Given:
    """What every method gets: a normalised batch (n, channels, h, w) and the explained outputs, int64 (n,)."""

    model: Model
    batch: torch.Tensor
    targets: torch.Tensor
    logits: torch.Tensor  # (n, classes), of the plain pass


@dataclass(frozen=True)
class Settings:
    """Options of the methods that have any; see `attribute`."""

    baseline: torch.Tensor
    steps: int
    samples: int
    noise: float
    seed: int
    batch_size: int


Values = tuple[torch.Tensor, Balance]


def logits_of(model: Model, output: Any) -> torch.Tensor:
    """The logits in their own precision. Raises ModelError where the output is no logits."""
    model.check_logits(output)
    found = first_tensor(output)
    assert found is not None
    return found


def check_targets(model: Model, logits: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
    """The outputs to explain, by default the predicted ones. Raises AttributionError for one that is not there."""
    wanted = logits.detach().argmax(1) if targets is None else targets.to(logits.device)
    if int(wanted.min()) < 0 or int(wanted.max()) >= logits.shape[1]:
        raise AttributionError(f"{model.name} has outputs 0 to {logits.shape[1] - 1}, not {int(wanted.max())}")
    return wanted


def picked(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Each row's value at its target, (n,)."""
    return logits.gather(1, targets[:, None])[:, 0]


def gradient(given: Given, batch: torch.Tensor, targets: torch.Tensor, rules: Rules | None = None) -> torch.Tensor:
    """d logit_target / d input for each picture, (n, channels, h, w), under the rules where there are any."""
    with torch.enable_grad():
        leaf = batch.detach().requires_grad_()
        with rules or nullcontext():
            logits = logits_of(given.model, given.model.network(leaf))
        _same_output(given, logits, batch, rules)
        return torch.autograd.grad(picked(logits, targets).sum(), leaf)[0]


def _same_output(given: Given, logits: torch.Tensor, batch: torch.Tensor, rules: Rules | None) -> None:
    """A rule that changed what the network says was laid over a network that it does not fit."""
    if rules is None or batch is not given.batch:
        return
    apart = float((logits.detach() - given.logits).abs().max())
    if not apart <= 1e-3 * float(given.logits.abs().max()):
        raise AttributionError(
            f"{given.model.name} gives other logits (by {apart:.2g}) under {type(rules).__name__.lower()} rules, as a "
            "network does that uses what it has changed in place: use integrated gradients or Grad-CAM"
        )


def told(found: torch.Tensor, promised: torch.Tensor, *, binding: bool) -> Balance:
    """The balance of values (n, ...) against a promised sum (n,)."""
    return Balance(
        promised.detach().double().cpu().numpy(), found.detach().double().flatten(1).sum(1).cpu().numpy(), binding
    )


def saliency(given: Given, _settings: Settings) -> Values:
    """The gradient of the target's logit. Simonyan et al. 2014, section 3."""
    found = gradient(given, given.batch, given.targets)
    return found, told(found, picked(given.logits, given.targets), binding=False)


def gradient_input(given: Given, _settings: Settings) -> Values:
    """Gradient times (normalised) input. Shrikumar et al. 2016."""
    found = gradient(given, given.batch, given.targets) * given.batch
    return found, told(found, picked(given.logits, given.targets), binding=False)


def smoothgrad(given: Given, settings: Settings) -> Values:
    """The mean gradient over noisy copies; noise is a share of each picture's range. Smilkov et al. 2017."""
    draw = torch.Generator().manual_seed(settings.seed)
    spread = settings.noise * (given.batch.flatten(1).amax(1) - given.batch.flatten(1).amin(1)).view(-1, 1, 1, 1)
    total = torch.zeros_like(given.batch)
    for _ in range(settings.samples):
        # Drawn on the CPU: the same noise on every device.
        bump = torch.randn(given.batch.shape, generator=draw, dtype=given.batch.dtype).to(given.batch.device)
        total += gradient(given, given.batch + spread * bump, given.targets)
    found = total / settings.samples
    return found, told(found, picked(given.logits, given.targets), binding=False)


def integrated_gradients(given: Given, settings: Settings) -> Values:
    """(x - baseline) times the mean gradient on the straight line between. Sundararajan et al. 2017, eq. 1.

    Gauss-Legendre points, as captum takes them: they lie close at both ends, where a normalisation of a nearly empty
    picture is steep (with as many midpoints a small ViT is 2 % off, after 512). Pictures whose sum misses the
    difference of the logits by more than 1 % are done again with four times as many, up to 512.
    """
    base = settings.baseline.expand_as(given.batch)
    with torch.no_grad():
        promised = picked(given.logits, given.targets) - picked(
            logits_of(given.model, given.model.network(base)), given.targets
        )
    found = torch.zeros_like(given.batch)
    rows, steps = torch.arange(len(given.batch), device=given.batch.device), settings.steps
    while len(rows):
        found[rows] = _along(given, base, rows, steps, settings.batch_size)
        error = torch.from_numpy(told(found, promised, binding=True).error).to(rows.device)
        rows, steps = (error > TOLERANCE).nonzero()[:, 0], 4 * steps
        if steps > max(_MOST_STEPS, settings.steps):
            break
    return found, told(found, promised, binding=True)


def _along(given: Given, base: torch.Tensor, rows: torch.Tensor, steps: int, batch_size: int) -> torch.Tensor:
    here, there, targets = given.batch[rows], base[rows], given.targets[rows]
    total = torch.zeros_like(here)
    together = max(1, batch_size // len(rows))  # points of the line in one pass
    places, shares = (torch.from_numpy(values / 2).to(here) for values in np.polynomial.legendre.leggauss(steps))
    for some, share in zip((places + 0.5).split(together), shares.split(together), strict=True):
        line = there + some.view(-1, 1, 1, 1, 1) * (here - there)
        slopes = gradient(given, line.flatten(0, 1), targets.repeat(len(some)))
        total += torch.einsum("s,snchw->nchw", share, slopes.unflatten(0, (len(some), -1)))
    return (here - there) * total


def deeplift(given: Given, settings: Settings) -> Values:
    """Contributions against a baseline by the rescale rule. Shrikumar et al. 2017, sections 3.1 and 3.5."""
    base = settings.baseline.expand_as(given.batch)
    both, count = torch.cat([given.batch, base]), len(given.batch)
    rules = Lift()
    with torch.enable_grad():
        leaf = both.requires_grad_()
        with rules:
            logits = logits_of(given.model, given.model.network(leaf))
        _same_output(given, logits[:count], given.batch, rules)
        slopes = torch.autograd.grad(picked(logits[:count], given.targets).sum(), leaf)[0][:count]
    found = slopes * (given.batch - base)
    promised = picked(given.logits, given.targets) - picked(logits[count:].detach(), given.targets)
    return _unless(found, promised, given, rules, "DeepLIFT")


def lrp(given: Given, _settings: Settings) -> Values:
    """Relevance of pixels: z+ in convolutions, epsilon in linear layers and the last. See `Relevance`."""
    rules = Relevance(count_weighted(given.model.network, given.batch))
    found = gradient(given, given.batch, given.targets, rules) * given.batch
    return _unless(found, picked(given.logits, given.targets), given, rules, "LRP")


def _unless(found: torch.Tensor, promised: torch.Tensor, given: Given, rules: Rules, what: str) -> Values:
    """The values, unless the network runs what no rule was made for and a sum shows it: the others' are then luck."""
    balance = told(found, promised, binding=True)
    if rules.strange and (balance.error > TOLERANCE).any():
        worst = float(balance.error.max())
        off = f"{worst:.0%}" if worst < 10 else "1000% or more"
        raise AttributionError(
            f"{what} does not add up for {given.model.name} (off by {off}), which uses "
            f"{' and '.join(rules.strange)}, for which it has no rule: use integrated gradients"
        )
    return found, balance


def guided(given: Given) -> torch.Tensor:
    """Guided back-propagation, (n, channels, h, w). Raises AttributionError where a network's gates are not ReLUs."""
    rules = Guided()
    found = gradient(given, given.batch, given.targets, rules)
    others = sorted(rules.seen & GATES)
    if "relu" not in rules.seen or others:
        uses = f"uses {', '.join(others)}" if others else "runs no ReLU"
        raise AttributionError(
            f"guided back-propagation is defined for ReLUs, but {given.model.name} {uses}: use Grad-CAM or "
            "integrated gradients"
        )
    return found


PIXEL_METHODS: dict[str, Callable[[Given, Settings], Values]] = {
    "saliency": saliency,
    "gradient_input": gradient_input,
    "smoothgrad": smoothgrad,
    "integrated_gradients": integrated_gradients,
    "lrp": lrp,
    "deeplift": deeplift,
}
