"""Finished icons on disk, one file each, found again by what they were made from."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import StoreError
from atlas.storage.files import write_bytes

SCORE_NAMES = ("centre", "robust", "windowed", "strength")


def icon_key(settings: dict[str, Any], *arrays: NDArray[Any] | None) -> str:
    """Hash all that decides an icon: plain settings and arrays, each with its shape; SHA-256 in hexadecimal."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, allow_nan=False).encode())
    for array in arrays:
        if array is None:
            digest.update(b"none")
        else:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class IconCache:
    """A folder of icons: KEY.npz holds image uint8 (size, size, 3), scores float32 (4,) and pooled float32 (channels,).

    pooled is the picture's activation, averaged under the window: which cell it is nearest to hangs on all the cells.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the icon cache {folder} cannot be made ({error.strerror}): name another folder"
            ) from error

    def read(self, key: str, size: int, channels: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None:
        """Return an icon, its scores and its activation, or None when it is not there or its file is damaged."""
        try:
            with np.load(self._folder / f"{key}.npz", allow_pickle=False) as stored:
                image, scores, pooled = stored["image"], stored["scores"], stored["pooled"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        if image.shape != (size, size, 3) or image.dtype != np.uint8:
            return None
        if scores.shape != (len(SCORE_NAMES),) or pooled.shape != (channels,):
            return None
        return image, scores.astype(np.float32), pooled.astype(np.float32)

    def write(
        self, key: str, image: NDArray[np.uint8], scores: NDArray[np.float32], pooled: NDArray[np.float32]
    ) -> None:
        """Keep an icon: written beside and renamed. Raises StoreError when the disk is full."""
        buffer = io.BytesIO()
        np.savez(buffer, image=image, scores=scores, pooled=pooled)
        write_bytes(self._folder / f"{key}.npz", buffer.getvalue())
