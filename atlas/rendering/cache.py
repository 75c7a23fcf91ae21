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
    """A folder of icons: KEY.npz holds `image` uint8 (size, size, 3) and `scores` float32 (4,), no pickles."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the icon cache {folder} cannot be made ({error.strerror}): name another folder"
            ) from error

    def read(self, key: str, size: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]] | None:
        """Return an icon and its scores, or None when it is not there or its file is damaged."""
        try:
            with np.load(self._folder / f"{key}.npz", allow_pickle=False) as stored:
                image, scores = stored["image"], stored["scores"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        if image.shape != (size, size, 3) or image.dtype != np.uint8 or scores.shape != (len(SCORE_NAMES),):
            return None
        return image, scores.astype(np.float32)

    def write(self, key: str, image: NDArray[np.uint8], scores: NDArray[np.float32]) -> None:
        """Keep an icon: written beside and renamed. Raises StoreError when the disk is full."""
        buffer = io.BytesIO()
        np.savez(buffer, image=image, scores=scores)
        write_bytes(self._folder / f"{key}.npz", buffer.getvalue())
