"""Layouts made to be compared: one turned onto another, and two classes on an axis between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import LayoutError, nearest
from atlas.records import STATES, Layout, Progress, silent

if TYPE_CHECKING:
    from atlas.storage.store import ActivationStore, StoredLayer

REACH = 0.995
"""Share of the samples that the axis between two classes spans; what lies beyond is an outlier."""


def turn_onto(plane: NDArray[np.float64], target: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Turn, and mirror if need be, a plane about its middle so that its points lie as those of the target.

    Both (rows, 2), of the same rows and in any unit; nothing is stretched, and rows without a place in the target do
    not count. Orthogonal Procrustes, Schönemann 1966.
    """
    known = np.isfinite(target).all(axis=1)
    if not known.any():
        return plane
    one, other = plane[known], np.asarray(target, np.float64)[known]
    left, _, right = np.linalg.svd((one - one.mean(axis=0)).T @ (other - other.mean(axis=0)))
    return (plane - plane.mean(axis=0)) @ (left @ right)


def layout_between(
    store: ActivationStore,
    one: str,
    other: str,
    *,
    layer: str | None = None,
    neighbors: int = 15,
    metric: str = "cosine",
    seed: int = 0,
    deterministic: bool = False,
    progress: Progress = silent,
) -> tuple[Layout, NDArray[np.int64]]:
    """Lay the samples of two classes out along the difference of their effects; Carter et al. 2019.

    x: effect on `one` less that on `other`, 0 in the middle, `one` to the right; y: a t-SNE in one dimension. The
    rows are the samples that have effects and, where there are labels, belong to either class; the Layout has these
    rows and int64 (rows,) names them. An output that a sample does not list, because only its strongest were kept,
    has no effect. Raises LayoutError for unknown classes, a store without effects, or too few samples.
    """
    from atlas.layouts.layout import compute_layout

    stored = store.layer(layer)
    kind = stored.kinds[0]
    difference, rows = _differences(store, stored, one, other)
    image = stored.image_of(kind)[rows]
    if store.classes and store.aligned:
        names = [store.outputs.index(one), store.outputs.index(other)]
        wanted = np.isin(store.images.label[image], names)
        difference, rows = difference[wanted], rows[wanted]
    height = compute_layout(
        store, layer=stored.name, kind=kind, select=rows, neighbors=neighbors, metric=metric, seed=seed,
        deterministic=deterministic, line=True, progress=progress,
    )  # fmt: skip
    reach = float(np.quantile(np.abs(difference), REACH))
    if not reach > 0:
        raise LayoutError(f"'{one}' and '{other}' have the same effects at {stored.name}: choose two other classes")
    x = 0.5 + 0.5 * difference / reach
    y = height.positions[:, 0]
    state = np.where(np.abs(difference) > reach, STATES.index("outlier"), height.state).astype(np.uint8)
    return Layout(np.stack([x, y], axis=1).astype(np.float32), state), rows


def _differences(
    store: ActivationStore, stored: StoredLayer, one: str, other: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Effect on one class less that on the other, (n,), and the rows that have effects, (n,)."""
    effects = stored.effects(stored.kinds[0])
    if effects is None:
        raise LayoutError(f"{store.path} has no effects of '{stored.name}': extract it with extract.effects = 1")
    found = []
    for name in (one, other):
        if name not in store.outputs:
            raise LayoutError(f"the network has no output '{name}'{nearest(name, store.outputs)}")
        listed = effects.classes == store.outputs.index(name)
        first = listed.argmax(axis=1)[:, None]
        value = np.take_along_axis(effects.values, first, 1)[:, 0].astype(np.float64)
        found.append(np.where(listed.any(axis=1), value, 0.0))
    return found[0] - found[1], np.asarray(effects.sample_rows, np.int64)
