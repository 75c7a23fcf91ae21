"""One layer of a store laid out and written as a table, for other tools to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import ConfigError
from atlas.layouts import compute_layout, layout_between
from atlas.layouts.layout import FIT
from atlas.mapping import rows_of_classes
from atlas.records import STATES, Progress, RowKind, silent
from atlas.storage import open_store
from atlas.storage.files import written_beside


def write_layout(
    store: str | Path,
    layer: str,
    out: str | Path,
    *,
    classes: Sequence[str] = (),
    rows: RowKind = "positions",
    method: str = "tsne",
    neighbors: int = 15,
    metric: str = "cosine",
    seed: int = 0,
    deterministic: bool = False,
    device: str = "auto",
    fit: int = FIT,
    between: tuple[str, str] | None = None,
    progress: Progress = silent,
) -> dict[str, int]:
    """Lay one layer of a store out and write x, y and state of each sample; return the rows in each state.

    out ends in .npz, .csv or .parquet: row of the store, image id, label, x, y and state of each sample.
    classes keeps only these classes' samples; between two outputs, x is the difference of the effects on them.
    Raises LayerError, LayoutError or ConfigError.
    """
    target = Path(out)
    if target.suffix not in _LAYOUT_WRITERS:
        raise ConfigError(f"{target} has no known ending: use {', '.join(_LAYOUT_WRITERS)}")
    if not target.parent.is_dir():
        raise ConfigError(f"{target.parent} does not exist: make it first")
    if between and classes:
        raise ConfigError("a map between two outputs takes all samples with effects: leave the classes out")
    with open_store(store) as opened:
        stored = opened.layer(layer)
        image_of = stored.image_of(stored.kinds[0] if between else rows)
        told: dict[str, Any] = {
            "layer": layer,
            "neighbors": neighbors,
            "metric": metric,
            "seed": seed,
            "deterministic": deterministic,
            "progress": progress,
        }
        if between:
            layout, select = layout_between(opened, *between, **told)
        else:
            select = rows_of_classes(opened, image_of, classes)
            layout = compute_layout(opened, kind=rows, select=select, method=method, fit=fit, device=device, **told)
        image = image_of[select]
        label = opened.images.label[image]
        columns = {
            "row": select,
            "id": np.array(opened.images.ids[:], dtype=object)[image],
            "label": np.array([opened.classes[i] if i >= 0 else "" for i in label], dtype=object),
            "x": layout.positions[:, 0],
            "y": layout.positions[:, 1],
            "state": np.array(STATES)[layout.state],
        }
    with written_beside(target) as beside:
        _LAYOUT_WRITERS[target.suffix](beside, columns)
    return layout.counts()


def _write_npz(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(
            file, allow_pickle=False, **{k: v.astype(str) if v.dtype == object else v for k, v in columns.items()}
        )


def _write_csv(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    from pyarrow import csv, table

    csv.write_csv(table({name: values.tolist() for name, values in columns.items()}), path)


def _write_parquet(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    from pyarrow import parquet, table

    parquet.write_table(table({name: values.tolist() for name, values in columns.items()}), path)


_LAYOUT_WRITERS = {".npz": _write_npz, ".csv": _write_csv, ".parquet": _write_parquet}
