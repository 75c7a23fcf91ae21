"""Small pictures for the explorer: a thumbnail of every image and a patch of every sample shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MID_GREY = (128, 128, 128)


def make_thumbnail(picture: Image.Image, size: int) -> NDArray[np.uint8]:
    """Fit a picture into a square of `size` px, keeping its shape, on mid-grey. -> uint8 (size, size, 3)."""
    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    small = picture.convert("RGB").resize((width, height), _filter(scale))
    canvas = Image.new("RGB", (size, size), MID_GREY)
    canvas.paste(small, ((size - width) // 2, (size - height) // 2))
    return np.asarray(canvas)


def cut_patch(picture: Image.Image, box: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    """Cut a square around a box (left, top, right, bottom as shares) and scale it. -> uint8 (size, size, 3).

    The square has the box's longer side and its centre, and is moved inside the picture; it is no
    larger than the picture's shorter side, so that nothing but the picture is shown.
    """
    width, height = picture.size
    left, top, right, bottom = box * np.array([width, height, width, height])
    side = min(max(right - left, bottom - top, 1.0), width, height)
    left = min(max((left + right - side) / 2, 0.0), width - side)
    top = min(max((top + bottom - side) / 2, 0.0), height - side)
    square = (left, top, left + side, top + side)
    return np.asarray(picture.convert("RGB").resize((size, size), _filter(size / side), box=square))


def _filter(scale: float) -> Image.Resampling:
    # Pictures of 32 px look like pixels when enlarged by a smooth filter only a little; far enlarged
    # ones are easier to read smooth. Lanczos rings least visibly when reducing.
    return Image.Resampling.LANCZOS if scale <= 1 else Image.Resampling.BICUBIC
