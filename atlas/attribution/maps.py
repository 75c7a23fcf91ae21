"""What an attribution is: values over a picture, and how far they add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Method = Literal[
    "saliency",
    "gradient_input",
    "smoothgrad",
    "integrated_gradients",
    "cam",
    "grad_cam",
    "guided_grad_cam",
    "lrp",
    "deeplift",
]
METHODS: tuple[Method, ...] = get_args(Method)
TITLES: dict[Method, str] = {
    "saliency": "Saliency",
    "gradient_input": "Gradient × input",
    "smoothgrad": "SmoothGrad",
    "integrated_gradients": "Integrated gradients",
    "cam": "CAM",
    "grad_cam": "Grad-CAM",
    "guided_grad_cam": "Guided Grad-CAM",
    "lrp": "LRP",
    "deeplift": "DeepLIFT",
}
TOLERANCE = 0.01
"""The largest share by which a map may miss the sum that its definition promises."""


@dataclass(frozen=True)
class Balance:
    """Whether maps add up to what their method promises.

    promised, found: float64 (n,), the sum that each map must have (the logit for LRP and CAM, the logit's difference
    from the baseline for integrated gradients and DeepLIFT), and the one it has. Methods that promise no sum
    (saliency, SmoothGrad, gradient × input, Grad-CAM) are told beside the logit, with `binding` False.
    """

    promised: NDArray[np.float64]
    found: NDArray[np.float64]
    binding: bool

    @property
    def error(self) -> NDArray[np.float64]:
        """|found - promised| / |promised|, float64 (n,); infinite where nothing was promised but something found."""
        apart = np.abs(self.found - self.promised)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = apart / np.abs(self.promised)
        return np.where(apart == 0, 0.0, np.where(np.isfinite(share), share, np.inf))


@dataclass(frozen=True)
class Attribution:
    """One method's maps for a batch of pictures.

    values: float (n, channels, height, width), signed, at the input's size: one channel for CAM and Grad-CAM.
    coarse: float (n, h, w), the map at its layer's own size before it was enlarged; None for methods over pixels.
    targets: int64 (n,), the explained outputs. logits: float64 (n,), their values. layer: what CAM and Grad-CAM read.
    refused: for each picture None, or the sentence why it has no map: its values are NaN then.
    """

    method: Method
    values: NDArray[np.floating]
    coarse: NDArray[np.floating] | None
    targets: NDArray[np.int64]
    logits: NDArray[np.float64]
    balance: Balance
    layer: str | None
    refused: tuple[str | None, ...]

    @property
    def maps(self) -> NDArray[np.floating]:
        """One value per pixel, (n, height, width).

        The largest |gradient| over the colours for saliency and SmoothGrad, as Simonyan et al. 2014 draw it; the sum
        over the colours for the others, so that what adds up still does.
        """
        if self.method in ("saliency", "smoothgrad"):
            loudest: NDArray[np.floating] = np.abs(self.values).max(axis=1)
            return loudest
        summed: NDArray[np.floating] = self.values.sum(axis=1)
        return summed

    @property
    def signed(self) -> bool:
        """Whether a negative value of `maps` speaks against the target."""
        return self.method not in ("saliency", "smoothgrad", "grad_cam")

    def __len__(self) -> int:
        return len(self.values)
