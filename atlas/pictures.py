"""Small pictures for the explorer: a thumbnail of every image and a patch of every sample shown."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MID_GREY = (128, 128, 128)
CUT_AT_ONCE = 4096  # patches: 113 MB at 96 px


class PatchCutter:
    """Patches by number, in any order, cut CUT_AT_ONCE at a time in the order of their images.

    Patches are stored cell by cell, and every picture has several of them: in that order it would be decoded anew for
    each (6,606 times for 2,000 pictures of the embedded dataset). read(image) is a picture, or None; image (patches,)
    and box (patches, 4) say what each patch shows.
    """

    def __init__(
        self,
        read: Callable[[int], Image.Image | None],
        image: NDArray[np.integer],
        box: NDArray[np.float32],
        size: int,
        workers: int = 1,
    ) -> None:
        self._read, self._image, self._box, self._size, self._workers = read, image, box, size, workers
        self._lock = threading.Lock()
        self._first = -1
        self._cut: dict[int, NDArray[np.uint8]] = {}

    def __call__(self, number: int) -> NDArray[np.uint8] | None:
        """The patch as uint8 (size, size, 3), None where its picture cannot be had."""
        first = number // CUT_AT_ONCE * CUT_AT_ONCE
        with self._lock:
            if first != self._first:
                self._first, self._cut = first, self._cut_from(first)
            return self._cut.get(number)

    def _cut_from(self, first: int) -> dict[int, NDArray[np.uint8]]:
        image = self._image[first : first + CUT_AT_ONCE]
        order = np.argsort(image, kind="stable")
        same = np.split(order, np.flatnonzero(np.diff(image[order])) + 1)
        found: dict[int, NDArray[np.uint8]] = {}

        def cut(patches: NDArray[np.int64]) -> None:
            picture = self._read(int(image[patches[0]]))
            if picture is None:
                return
            for patch in patches.tolist():
                found[first + patch] = cut_patch(picture, self._box[first + patch], self._size)

        with ThreadPoolExecutor(max(1, self._workers)) as pool:
            list(pool.map(cut, same))
        return found


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
