"""Which positions of an image are sampled: decided by its id alone, and the same relative places in every layer."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

_WHOLE = 32  # bits of a place along one axis


def draw_places(ids: Sequence[str], count: int) -> NDArray[np.uint64]:
    """Draw `count` places in each image's unit square, uniformly: uint64 (images, count, 2), u then v, in 2^-32.

    Place p of an image is the 8-byte BLAKE2b hash of the UTF-8 text "p:id": bytes 0 to 3 are u and
    4 to 7 are v, both little-endian. So it depends on nothing but the id: not on the order of the
    images, on the others, on the batch, on the network or on a library's random numbers.
    """
    digests = b"".join(blake2b(f"{p}:{name}".encode(), digest_size=8).digest() for name in ids for p in range(count))
    return np.frombuffer(digests, "<u4").astype(np.uint64).reshape(len(ids), count, 2)


def cells_of(places: NDArray[np.uint64], height: int, width: int) -> NDArray[np.int64]:
    """Find the cell of a map that each place falls into: int64 (images, positions), flat, y * width + x.

    The positions of one image are distinct: a place whose cell is taken by an earlier one goes to the
    nearest free cell (the first in flat order of equally near ones). A map with fewer cells than places
    gives each cell once, and no more. Edges are not avoided: on maps of 4 to 13 cells a side a margin
    would be a third and more of the picture, and another share of it in each layer.
    """
    scale = np.array([width, height], np.uint64)
    x, y = np.moveaxis(places[:, : height * width] * scale >> np.uint64(_WHOLE), 2, 0).astype(np.int64)
    cells = y * width + x
    ordered = np.sort(cells, axis=1)
    for image in np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1)):
        cells[image] = _distinct(cells[image], height, width)
    return cells


def _distinct(cells: NDArray[np.int64], height: int, width: int) -> list[int]:
    y, x = np.divmod(np.arange(height * width), width)
    free = np.ones(height * width, np.bool_)
    found: list[int] = []
    for cell in cells:
        if not free[cell]:
            # Distances in shares of the picture, times height and width to stay in whole numbers.
            distance = ((x - x[cell]) * height) ** 2 + ((y - y[cell]) * width) ** 2
            cell = np.where(free, distance, np.iinfo(np.int64).max).argmin()
        free[cell] = False
        found.append(int(cell))
    return found


def relative_places(cells: NDArray[np.int64], height: int, width: int) -> NDArray[np.float32]:
    """Relative place (u, v) of the middle of each cell: (...) -> float32 (..., 2)."""
    y, x = np.divmod(cells, width)
    return np.stack([(x + 0.5) / width, (y + 0.5) / height], axis=-1).astype(np.float32)
