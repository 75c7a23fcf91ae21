"""One function for all methods: which part of a picture speaks for a class, by the method's own definition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from atlas.attribution.cams import cam, enlarged, grad_cam, guided_grad_cam
from atlas.attribution.gradients import PIXEL_METHODS, Given, Settings, check_targets, logits_of
from atlas.attribution.maps import METHODS, TITLES, TOLERANCE, Attribution, Balance, Method
from atlas.errors import AttributionError, ModelError, nearest
from atlas.models import Model
from atlas.models.effects import plain_attention

Target = int | Sequence[int] | torch.Tensor | None


def attribute(
    model: Model,
    pictures: torch.Tensor,
    *,
    method: Method,
    target: Target = None,
    layer: str | None = None,
    baseline: torch.Tensor | None = None,
    steps: int = 32,
    samples: int = 16,
    noise: float = 0.15,
    seed: int = 0,
    batch_size: int = 32,
) -> Attribution:
    """Say which parts of pictures speak for a class.

    pictures: (n, channels, height, width), uint8, or floating and already normalised. target: an output's index, one
    per picture, or None for what the network predicts. layer: what Grad-CAM reads; by default `last_map`. baseline:
    of integrated gradients and DeepLIFT, a normalised picture (channels, height, width); by default 0, the mean
    colour. steps: of integrated gradients, refined where they do not add up. samples, noise, seed: SmoothGrad's
    copies, their noise as a share of the picture's range, and its generator.

    Works on convolutional networks and, where a method is defined for them, on transformers; the network is left as
    it was, without hooks. Raises AttributionError in one sentence where a method does not hold for the network, or
    for none of the pictures; a single picture whose map does not add up within 1 % is NaN, see `Attribution.refused`.
    """
    if method not in METHODS:
        raise AttributionError(f"'{method}' is no attribution{nearest(method, METHODS)} ({', '.join(METHODS)})")
    for name, value in (("steps", steps), ("samples", samples), ("batch_size", batch_size)):
        if value < 1:
            raise AttributionError(f"{name} must be 1 or more, not {value}")
    if layer is not None and method not in ("grad_cam", "guided_grad_cam"):
        raise AttributionError(f"{TITLES[method]} reads no chosen layer: leave layer out, or use Grad-CAM")
    if not model.is_classifier:
        raise ModelError(f"{model.name} has no class names, so no class can be explained: give classes")
    batch = _normalised(model, pictures)
    base = torch.zeros_like(batch[:1]) if baseline is None else baseline.to(batch)
    settings = Settings(base, steps, samples, noise, seed, batch_size)
    parts = []
    with torch.inference_mode(False), torch.no_grad(), plain_attention():
        targets = _targets(target, len(batch))
        for start in range(0, len(batch), batch_size):
            here = slice(start, start + batch_size)
            some = None if targets is None else targets[here]
            parts.append(_one_batch(model, batch[here], some, method, layer, settings))
    return _joined(parts)


def _one_batch(
    model: Model,
    batch: torch.Tensor,
    targets: torch.Tensor | None,
    method: Method,
    layer: str | None,
    settings: Settings,
) -> Attribution:
    coarse = None
    height, width = batch.shape[2:]
    if method == "grad_cam":  # needs no pass beside its own
        coarse, given = grad_cam(model, batch, targets, layer)
        values, balance = enlarged(coarse.values, (height, width)), coarse.balance
    else:
        logits = logits_of(model, model.network(batch))
        given = Given(model, batch, check_targets(model, logits, targets), logits)
        if method == "cam":
            coarse = cam(given)
            values, balance = enlarged(coarse.values, (height, width)), coarse.balance
        elif method == "guided_grad_cam":
            values, coarse = guided_grad_cam(given, layer)
            balance = coarse.balance
        else:
            values, balance = PIXEL_METHODS[method](given, settings)
    found, refused = values.detach().cpu().numpy(), _refusals(method, given.model, balance)
    found[[sentence is not None for sentence in refused]] = np.nan
    chosen = given.logits.gather(1, given.targets[:, None])[:, 0]
    return Attribution(
        method,
        found,
        None if coarse is None else coarse.values.detach().cpu().numpy(),
        given.targets.cpu().numpy(),
        chosen.double().cpu().numpy(),
        balance,
        None if coarse is None else coarse.layer,
        refused,
    )


def _refusals(method: Method, model: Model, balance: Balance) -> tuple[str | None, ...]:
    if not balance.binding:
        return (None,) * len(balance.found)
    return tuple(
        None
        if error <= TOLERANCE
        else f"{TITLES[method]} of this picture does not add up: its sum is {found:.4g} where {promised:.4g} is due by "
        f"{model.name}, so its map is not shown; use Grad-CAM"
        for error, found, promised in zip(balance.error, balance.found, balance.promised, strict=True)
    )


def _joined(parts: Sequence[Attribution]) -> Attribution:
    refused = tuple(sentence for part in parts for sentence in part.refused)
    if all(refused):
        raise AttributionError(str(refused[0]))
    first = parts[0]
    return Attribution(
        first.method,
        np.concatenate([part.values for part in parts]),
        None if first.coarse is None else np.concatenate([part.coarse for part in parts if part.coarse is not None]),
        np.concatenate([part.targets for part in parts]),
        np.concatenate([part.logits for part in parts]),
        Balance(
            np.concatenate([part.balance.promised for part in parts]),
            np.concatenate([part.balance.found for part in parts]),
            first.balance.binding,
        ),
        first.layer,
        refused,
    )


def _normalised(model: Model, pictures: torch.Tensor) -> torch.Tensor:
    if pictures.ndim != 4 or not len(pictures):
        raise AttributionError(f"pictures have shape {tuple(pictures.shape)}: give (n, channels, height, width)")
    batch = pictures.to(model.device)
    return batch.detach() if batch.is_floating_point() else model.preprocess.normalise(batch)


def _targets(target: Target, count: int) -> torch.Tensor | None:
    if target is None:
        return None
    targets = torch.as_tensor(target, dtype=torch.int64).reshape(-1)
    if len(targets) not in (1, count):
        raise AttributionError(f"{len(targets)} targets were given for {count} pictures: give one, or one for each")
    return targets.expand(count)
