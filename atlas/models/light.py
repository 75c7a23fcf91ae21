"""Pictures as log-odds of decorrelated colours, which are nearly Gaussian in natural pictures and never saturate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DARKEST = 0.02
"""Values are clipped to [0.02, 0.98] first: log-odds are infinite at 0 and 1."""

# The square root of ImageNet's colour covariance (columns: light, blue-yellow, green-purple), as lucid and lucent use
# it, divided by its largest column norm.
_COLOUR_ROOT = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])

_SHARES = np.clip(np.arange(256) / 255, DARKEST, 1 - DARKEST)
_ODDS = np.log(_SHARES / (1 - _SHARES)).astype(np.float32)


def colour_root(channels: int) -> NDArray[np.float32]:
    """Matrix (channels, channels) from decorrelated to the picture's own colours; for grey pictures a single number."""
    root = _COLOUR_ROOT / np.linalg.norm(_COLOUR_ROOT, axis=0).max()
    return (root if channels == 3 else root[:1, :1]).astype(np.float32)


def to_light(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pictures uint8 (n, channels, height, width) -> decorrelated log-odds float32 of the same shape."""
    inverse = np.linalg.inv(colour_root(pixels.shape[1]).astype(np.float64)).astype(np.float32)
    odds = _ODDS[pixels].reshape(*pixels.shape[:2], -1)
    found: NDArray[np.float32] = np.matmul(inverse, odds).reshape(pixels.shape)
    return found
