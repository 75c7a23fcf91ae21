"""What belongs together in an atlas's record, and columns with what stands for absent values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atlas.errors import StoreError
from atlas.storage.atlas_header import HEADER
from atlas.storage.files import BESIDE


def stages_of(name: str) -> tuple[str, ...]:
    """What must be dropped from the record, as a whole, when this file is gone."""
    parts = name.split("/")
    if parts[0] != "layers":
        return (parts[0],)
    layer = "/".join(parts[:2])
    if parts[2].startswith("patches"):
        return (f"{layer}/patches", f"{layer}/patches.npz")
    return ("/".join(parts[:4] if parts[2] == "levels" else parts[:3]),)


def column(values: ArrayLike | None, count: int, dtype: Any, absent: float) -> NDArray[Any]:
    """Values as an array (count,), or as many of what stands for absent ones."""
    if values is None:
        return np.full(count, absent, dtype)
    array = np.asarray(values, dtype)
    if array.shape != (count,):
        raise ValueError(f"a column has shape {array.shape}, not ({count},)")
    return array


def holds_atlas(path: Path) -> bool:
    """Say whether an atlas stands there, False where nothing does. Raises StoreError where other things do."""
    if (path / HEADER).exists():
        return True
    if path.exists() and not path.is_dir():
        raise StoreError(f"{path} is a file, not a folder: choose another --out")
    strangers = [p for p in path.iterdir() if not p.name.startswith(BESIDE)] if path.exists() else []
    if strangers:
        raise StoreError(f"{path} holds other things and is not an atlas: choose another --out")
    return False
