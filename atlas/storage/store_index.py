"""`index.h5` of a store: joins the parts as virtual datasets, and says all that is known of the whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from atlas.records import RowKind, Spectrum
from atlas.storage.moments import Moments
from atlas.storage.parts import (
    IMAGE_COLUMNS,
    SCHEMA,
    LayerSpec,
    Skipped,
    build_file,
    empty_column,
    part_name,
    read_skipped,
    write_array,
    write_skipped,
    write_spec,
    write_strings,
)

INDEX = "index.h5"
SUMS = "SHA256SUMS"
KIND = "activation-store"


@dataclass(frozen=True)
class StoreHeader:
    """What a store is made of.

    fingerprint: hash of all that decides its content; stores of different fingerprints are never
    mixed. environment: what else decides the last bits (library version, kind of device): parts of
    another one are made anew. classes: the labels' vocabulary; outputs: the logits' names; aligned:
    label indices are output indices. provenance: anything JSON can say.
    """

    name: str
    fingerprint: str
    layers: tuple[LayerSpec, ...]
    environment: str = ""
    classes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    aligned: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Joined:
    """Parts in their order: rows of the whole before each (parts + 1,), and what was counted over all."""

    images: NDArray[np.int64]
    positions: tuple[NDArray[np.int64], ...]
    effects: tuple[NDArray[np.int64], ...]
    moments: tuple[Mapping[RowKind, Moments], ...]
    skipped: tuple[Skipped, ...]
    labelled: int  # images with a label
    first: int  # of them, those whose label is the prediction
    top: int  # of them, those whose label is among the top five


def join(folder: Path, parts: int, specs: Sequence[LayerSpec]) -> Joined:
    """Read every part once: counts, moments merged in part order, skipped pictures, hits."""
    images, skipped, hits = [0], [], np.zeros(3, np.int64)
    positions: list[list[int]] = [[0] for _ in specs]
    effects: list[list[int]] = [[0] for _ in specs]
    moments = [{kind: Moments.empty(spec.shape.channels) for kind in spec.kinds} for spec in specs]
    for number in range(parts):
        with h5py.File(folder / part_name(number), "r") as file:
            images.append(images[-1] + int(file.attrs["images"]))
            skipped += read_skipped(file)
            hits += _hits(file["images"])
            for i, spec in enumerate(specs):
                group = file[f"layers/{i}"]
                positions[i].append(positions[i][-1] + (len(group["positions/rows"]) if "positions" in group else 0))
                effects[i].append(effects[i][-1] + (len(group["effects/row"]) if "effects" in group else 0))
                for kind in spec.kinds:
                    at = group[f"moments/{kind}"]
                    later = Moments(int(at.attrs["count"]), at["mean"][:], at["squares"][:])
                    moments[i][kind] = moments[i][kind].merge(later)
    return Joined(
        np.array(images, np.int64),
        tuple(np.array(p, np.int64) for p in positions),
        tuple(np.array(e, np.int64) for e in effects),
        tuple(moments),
        tuple(skipped),
        *(int(h) for h in hits),
    )


def _hits(images: Any) -> NDArray[np.int64]:
    """Labelled images with a prediction, those predicted right, and those right among the top five."""
    label, top = images["label"][:], images["top_class"][:]
    known = (label >= 0) & (images["prediction"][:] >= 0)
    right = (top == label[:, None]) & known[:, None]
    return np.array([known.sum(), right[:, :1].sum(), right.sum()], np.int64)


def build_index(
    folder: Path,
    parts: int,
    header: StoreHeader,
    joined: Joined,
    notes: Sequence[str],
    spectrum: Spectrum | None = None,
) -> bytes:
    """Return the bytes of `index.h5` for whole parts: the same parts give the same bytes."""
    measured = header.aligned and joined.labelled > 0

    def fill(file: Any) -> None:
        file.attrs.update(
            kind=KIND,
            schema=SCHEMA,
            name=header.name,
            fingerprint=header.fingerprint,
            environment=header.environment,
            aligned=header.aligned,
            labelled=joined.labelled if measured else 0,
            accuracy=joined.first / joined.labelled if measured else np.nan,
            accuracy_top5=joined.top / joined.labelled if measured else np.nan,
            provenance=json.dumps(header.provenance, sort_keys=True, ensure_ascii=False),
        )
        for name, strings in (("classes", header.classes), ("outputs", header.outputs), ("notes", notes)):
            write_strings(file, name, strings)
        write_strings(file, "parts/file", [part_name(number) for number in range(parts)])
        write_array(file, "parts/bytes", np.array([(folder / part_name(n)).stat().st_size for n in range(parts)]))
        write_array(file, "parts/image_start", joined.images)
        write_skipped(file, joined.skipped)
        _join(file, "images/id", joined.images, h5py.string_dtype())
        for name, (dtype, shape) in IMAGE_COLUMNS.items():
            _join(file, f"images/{name}", joined.images, np.dtype(dtype), shape)
        for i, spec in enumerate(header.layers):
            _index_layer(folder, file, i, spec, joined)
        if spectrum is not None:
            write_array(file, "spectrum/amplitude", spectrum.amplitude)
            write_array(file, "spectrum/level", spectrum.level)
            file["spectrum"].attrs["pictures"] = spectrum.pictures

    return build_file(str(folder / INDEX), fill)


def _index_layer(folder: Path, file: Any, i: int, spec: LayerSpec, joined: Joined) -> None:
    group = file.create_group(f"layers/{i}")
    write_spec(group, spec)
    for kind in spec.kinds:
        moments = joined.moments[i][kind]
        write_array(group, f"moments/{kind}/mean", moments.mean)
        write_array(group, f"moments/{kind}/variance", moments.variance)
        group[f"moments/{kind}"].attrs["count"] = moments.count
    half, single = np.dtype(np.float16), np.dtype(np.float32)
    for kind in spec.pools:
        _join(file, f"layers/{i}/{kind}", joined.images, half, (spec.shape.channels,))
    if spec.positions != 0:
        starts = joined.positions[i]
        write_array(group, "positions/start", starts)
        _join(file, f"layers/{i}/positions/rows", starts, half, (spec.shape.channels,))
        _join(file, f"layers/{i}/positions/uv", starts, single, (2,))
        _join(file, f"layers/{i}/positions/box", starts, single, (4,))
        _renumber(folder, file, f"layers/{i}/positions/image", starts, joined.images)
    if spec.effects:
        starts, wide = joined.effects[i], (spec.effect_classes,)
        write_array(group, "effects/start", starts)
        _join(file, f"layers/{i}/effects/class", starts, np.dtype(np.int32), wide)
        _join(file, f"layers/{i}/effects/value", starts, single, wide)
        owner = joined.positions[i] if spec.positions != 0 else joined.images
        _renumber(folder, file, f"layers/{i}/effects/row", starts, owner)


def _join(file: Any, name: str, starts: NDArray[np.int64], dtype: Any, shape: tuple[int, ...] = ()) -> None:
    """Join one dataset of all parts; parts without rows have nothing to join.

    Where a part is missing HDF5 hands out the fill value without an error: NaN and -1 show it, zeros would not.
    """
    whole = (int(starts[-1]), *shape)
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_obj_track_times(False)  # h5py's own call sets a time: the same parts would give other bytes
    if dtype.kind in "fi":
        plan.set_fill_value(np.array(np.nan if dtype.kind == "f" else -1, dtype))
    space = h5py.h5s.create_simple(whole)
    for number in np.flatnonzero(np.diff(starts)).tolist():
        first, end = int(starts[number]), int(starts[number + 1])
        corner, size = (first, *(0 for _ in shape)), (end - first, *shape)
        space.select_hyperslab(corner, size)
        plan.set_virtual(space, part_name(number).encode(), name.encode(), h5py.h5s.create_simple(size))
    space.select_all()
    if int(starts[-1]) == 0:
        file.create_dataset(name, whole, dtype)
        return
    group = file.require_group(name.rpartition("/")[0])
    h5py.h5d.create(group.id, name.rpartition("/")[2].encode(), h5py.h5t.py_create(dtype, logical=True), space, plan)


def _renumber(folder: Path, file: Any, name: str, starts: NDArray[np.int64], owner: NDArray[np.int64]) -> None:
    """Write a column that counts from each part's first row, counted from the whole's first instead."""
    column = empty_column(file, name, int(starts[-1]))
    for number in np.flatnonzero(np.diff(starts)).tolist():
        with h5py.File(folder / part_name(number), "r") as part:
            column[starts[number] : starts[number + 1]] = part[name][:] + owner[number]
