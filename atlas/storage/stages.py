"""What belongs together in an atlas's record, and columns with what stands for absent values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
