"""Does a map depend on what the network has learned? Weights randomised layer by layer. Adebayo et al. 2018."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata
from torch import nn

from atlas.attribution.attribute import attribute
from atlas.attribution.maps import Method
from atlas.errors import AttributionError, ModelError
from atlas.models import Model
from atlas.models.layers import record_calls
from atlas.records import Progress, silent


@dataclass(frozen=True)
class Sanity:
    """How like its own a method's maps stay while the network forgets, from the logits down.

    layers: the deepest layer forgotten so far, at each stage. shares: of all weighted layers. rank: the mean Spearman
    correlation of |map| with the trained network's, ssim: the mean structural similarity of the two stretched to
    [0, 1]; NaN where the method refused the randomised network. Near 1 at the last stage the method would draw the
    same for a network that knows nothing.
    """

    method: Method
    layers: tuple[str, ...]
    shares: tuple[float, ...]
    rank: tuple[float, ...]
    ssim: tuple[float, ...]

    @property
    def text(self) -> str:
        """The result in one sentence."""
        if not np.isfinite(self.rank[-1]):
            return "Refused the network with random weights, so nothing can be said of them."
        figures = f"rank correlation {self.rank[-1]:.2f}, SSIM {self.ssim[-1]:.2f} with all weights random"
        if self.rank[-1] > 0.5:
            return f"Hardly depends on the weights ({figures}): much of this map is the picture, not the network."
        return f"Depends on the weights ({figures})."


def sanity_check(
    model: Model,
    pictures: torch.Tensor,
    *,
    method: Method,
    stages: int = 6,
    seed: int = 0,
    progress: Progress = silent,
    **options: Any,
) -> Sanity:
    """Randomise weights from the last layer to the first, and say how much of a method's maps is left.

    Each convolution and linear layer has its own weights and biases shuffled, which keeps their sizes; norms stay.
    stages: at most so many points, the last with every layer shuffled. options: as for `attribute`; the explained
    output stays the trained network's. Raises AttributionError where the method is refused before anything is random.
    """
    trained = attribute(model, pictures, method=method, **options)
    options["target"] = trained.targets.tolist()
    if trained.layer is not None and method != "cam":
        options["layer"] = trained.layer
    channels, height, width = pictures.shape[1:]
    names = weighted_layers(model, (channels, height, width))
    broken = replace(model, network=copy.deepcopy(model.network))
    draw = torch.Generator().manual_seed(seed)
    stops = sorted({round((i + 1) * len(names) / min(stages, len(names))) for i in range(min(stages, len(names)))})
    rank: list[float] = []
    ssim: list[float] = []
    for number, name in enumerate(names, 1):
        shuffle_weights(broken.network.get_submodule(name), draw)
        if number not in stops:
            continue
        progress(f"{method}: random weights", number, len(names))
        pairs: list[Any] = []
        try:
            found = attribute(broken, pictures, method=method, **options).maps
            pairs = [pair for pair in zip(trained.maps, found, strict=True) if np.isfinite(pair).all()]
        except (AttributionError, ModelError):
            pass  # refused for all: said as NaN, like a picture refused alone
        for curve, measure in ((rank, rank_correlation), (ssim, structural_similarity)):
            curve.append(float(np.mean([measure(a, b) for a, b in pairs])) if pairs else float("nan"))
    return Sanity(
        method, tuple(names[i - 1] for i in stops), tuple(i / len(names) for i in stops), tuple(rank), tuple(ssim)
    )


def rank_correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Spearman's correlation of two maps' absolute values, ties by their mean rank; 0 where one is constant."""
    a, b = (rankdata(np.abs(values).ravel()) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / size) if size else 0.0


def structural_similarity(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Mean SSIM of two maps' absolute values, each stretched to [0, 1]; Wang et al. 2004, eq. 13, sigma 1.5 px."""
    x, y = (_stretched(np.abs(np.asarray(values, np.float64))) for values in (first, second))
    mean_x, mean_y = gaussian_filter(x, 1.5), gaussian_filter(y, 1.5)
    spread_x = gaussian_filter(x * x, 1.5) - mean_x**2
    spread_y = gaussian_filter(y * y, 1.5) - mean_y**2
    shared = gaussian_filter(x * y, 1.5) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    above = (2 * mean_x * mean_y + c1) * (2 * shared + c2)
    below = (mean_x**2 + mean_y**2 + c1) * (spread_x + spread_y + c2)
    return float((above / below).mean())


def _stretched(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def weighted_layers(model: Model, input_shape: tuple[int, int, int]) -> Sequence[str]:
    """Names of the convolutions and linear layers that run, the last first; each once."""
    calls = record_calls(model.network, input_shape, model.device)
    kinds = nn.Linear | nn.modules.conv._ConvNd | nn.MultiheadAttention
    ran = [call.layer.partition("#")[0] for call in calls if isinstance(call.module, kinds)]
    return list(dict.fromkeys(reversed(ran)))


def shuffle_weights(module: nn.Module, draw: torch.Generator) -> None:
    """Shuffle each of a layer's parameters among themselves, in place."""
    with torch.no_grad():
        for weights in module.parameters():
            order = torch.randperm(weights.numel(), generator=draw).to(weights.device)
            weights.copy_(weights.flatten()[order].view_as(weights))
