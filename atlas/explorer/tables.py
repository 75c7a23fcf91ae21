"""A selection of samples as a table that pandas, embedding-atlas and FiftyOne open as it is."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from atlas.explorer.answers import answers_by_layer
from atlas.storage.atlas import Atlas


def selection_table(atlas: Atlas, layer: int, level: int, rows: NDArray[np.integer]) -> pa.Table:
    """x, y, id, label, prediction and cell ("level/column/row") of some sample rows of a layer, in their order.

    Label and prediction are names, null without one; the prediction is that of the layer's network. Raises LookupError
    for a layer, level or row that is not there.
    """
    if not 0 <= layer < len(atlas.layers):
        raise LookupError(f"no layer {layer}")
    at = atlas.layers[layer]
    sides = {one.number: one.side for one in at.levels} or {0: 8}
    if level not in sides:
        raise LookupError(f"layer {layer} has no level {level}")
    if len(rows) and not (rows.min() >= 0 and rows.max() < len(at.samples)):
        raise LookupError(f"layer {layer} has samples 0 to {len(at.samples) - 1}")
    places, image = at.samples.positions[rows], at.samples.image[rows]
    side = sides[level]
    square = np.clip(np.nan_to_num(places) * side, 0, side - 1).astype(np.int64)
    ids = atlas.images.ids
    return pa.table(
        {
            "x": places[:, 0],
            "y": places[:, 1],
            "id": pa.array([ids[int(i)] for i in image], pa.string()),
            "label": _names(atlas.classes, atlas.images.label[image]),
            "prediction": _names(atlas.outputs, answers_by_layer(atlas)[layer].prediction[image]),
            "cell": pa.array([f"{level}/{column}/{row}" for column, row in square.tolist()], pa.string()),
        }
    )


def selection_parquet(atlas: Atlas, layer: int, level: int, rows: NDArray[np.integer]) -> bytes:
    """The same as the bytes of a Parquet file."""
    stream = io.BytesIO()
    pyarrow.parquet.write_table(selection_table(atlas, layer, level, rows), stream)
    return stream.getvalue()


def _names(names: tuple[str, ...], indices: NDArray[np.int32]) -> pa.Array:
    return pa.array([names[i] if 0 <= i < len(names) else None for i in indices.tolist()], pa.string())
