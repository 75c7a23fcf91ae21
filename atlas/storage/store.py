"""A finished store, `NAME.store`: opened at once, its rows read when they are asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from atlas.errors import StoreError, nearest
from atlas.records import LayerShape, RowKind, Spectrum
from atlas.storage.files import hash_file
from atlas.storage.moments import Moments
from atlas.storage.parted import PartedRows
from atlas.storage.parts import (
    IMAGE_COLUMNS,
    SCHEMA,
    Effects,
    ImageTable,
    LayerSpec,
    part_name,
    read_skipped,
    read_spec,
    read_strings,
)
from atlas.storage.store_index import INDEX, KIND, SUMS


@dataclass(frozen=True)
class _Like:
    """Shape and type of one row of a dataset that is never read whole."""

    dtype: Any
    shape: tuple[int, ...]


class StoredLayer:
    """One layer of a store: name, shape, tap, and rows of each of its kinds.

    Rows are ordered by image; where every image has as many positions (`positions`, None otherwise),
    image i's p-th position is row i * positions + p.
    """

    def __init__(self, store: ActivationStore, number: int, spec: LayerSpec) -> None:
        self._store, self._number, self._spec = store, number, spec

    @property
    def name(self) -> str:
        """The layer's dotted name inside its model."""
        return self._spec.name

    @property
    def shape(self) -> LayerShape:
        """Shape of the layer's output for one image."""
        return self._spec.shape

    @property
    def tap(self) -> str:
        """Whether the layer's "output" or "input" was stored."""
        return self._spec.tap

    @property
    def positions(self) -> int | None:
        """Sampled positions per image; 0: none, None: it differs from image to image."""
        return self._spec.positions

    @property
    def kinds(self) -> tuple[RowKind, ...]:
        """Kinds of rows: "positions" first where there are any, then the pooled ones."""
        return self._spec.kinds

    def rows(self, kind: RowKind | None = None) -> PartedRows:
        """Activations of one kind (by default the first of `kinds`): float16 (rows, channels), read on demand."""
        kind = self._known(kind)
        like = _Like(np.float16, (0, self.shape.channels))
        if kind == "positions":
            return self._parted("positions/rows", self._starts("positions"), like)
        return self._parted(kind, self._store.image_starts, like)

    def image_of(self, kind: RowKind | None = None) -> NDArray[np.int64]:
        """Row in the store's image table that each row belongs to: int64 (rows,), ascending."""
        if self._known(kind) == "positions":
            return self._column("positions/image")
        return np.arange(len(self._store), dtype=np.int64)

    def uv(self, kind: RowKind | None = None) -> NDArray[np.float32]:
        """Relative place in the layer's map: float32 (rows, 2), u to the right, v down; pooled rows: 0.5."""
        if self._known(kind) == "positions":
            return self._parted("positions/uv", self._starts("positions"), _Like(np.float32, (0, 2)))[:]
        return np.full((len(self._store), 2), 0.5, np.float32)

    def box(self, kind: RowKind | None = None) -> NDArray[np.float32]:
        """What each row saw, in shares of the original picture: float32 (rows, 4); pooled rows: all that was seen."""
        if self._known(kind) == "positions":
            return self._parted("positions/box", self._starts("positions"), _Like(np.float32, (0, 4)))[:]
        return self._store.images.box

    def effects(self, kind: RowKind | None = None) -> Effects | None:
        """Effects of those rows that have them: the first positions of each image, or "mean" without positions."""
        owner = "positions" if self._spec.positions != 0 else "mean"
        if self._known(kind) != owner or not self._spec.effects:
            return None
        starts, wide = self._starts("effects"), self._spec.effect_classes
        classes = self._parted("effects/class", starts, _Like(np.int32, (0, wide)))[:]
        values = self._parted("effects/value", starts, _Like(np.float32, (0, wide)))[:]
        return Effects(self._column("effects/row"), classes, values)

    @property
    def moments(self) -> Moments:
        """Count, mean and variance per channel of the rows of the first of `kinds`, in float64."""
        return self.moments_of(self.kinds[0])

    def moments_of(self, kind: RowKind) -> Moments:
        """Count, mean and variance per channel of the rows of one kind, in float64."""
        with self._store.open_index() as file:
            at = file[f"layers/{self._number}/moments/{self._known(kind)}"]
            count = int(at.attrs["count"])
            return Moments(count, at["mean"][:], at["variance"][:] * count)

    def _known(self, kind: RowKind | None) -> RowKind:
        if kind is None:
            return self.kinds[0]
        if kind not in self.kinds:
            raise StoreError(
                f"{self._store.path} has no rows of kind '{kind}' of layer '{self.name}' (it has "
                f"{', '.join(self.kinds)}): choose one of these, or extract again"
            )
        return kind

    def _column(self, name: str) -> NDArray[np.int64]:
        with self._store.open_index() as file:
            return np.asarray(file[f"layers/{self._number}/{name}"][:], np.int64)

    def _starts(self, of: str) -> NDArray[np.int64]:
        return self._column(f"{of}/start")

    def _parted(self, name: str, starts: NDArray[np.int64], like: Any) -> PartedRows:
        return PartedRows(self._store.part_paths, f"layers/{self._number}/{name}", starts, like)


class ActivationStore:
    """The activations of one extraction or import; holds no file open, and can be used as a context manager.

    name: the dataset's. classes: the labels' vocabulary. outputs: the logits' names, () for an encoder.
    aligned: labels are indices into outputs. accuracy, accuracy_top5: over `labelled` images, None
    where they were not measured. notes: sentences that a person should read. skipped: (id, reason) of
    pictures without rows. Raises StoreError when the store is unfinished, or a part missing or truncated.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with self.open_index() as file:
            try:
                at, names, sizes, specs = self._read(file)
            except (OSError, KeyError, ValueError):
                raise StoreError(_damaged(self.path / INDEX)) from None
        self.name, self.fingerprint, self.environment = (str(at[n]) for n in ("name", "fingerprint", "environment"))
        self.aligned, self.labelled = bool(at["aligned"]), int(at["labelled"])
        self.accuracy, self.accuracy_top5 = (_known(float(at[n])) for n in ("accuracy", "accuracy_top5"))
        self.part_paths = [self.path / name for name in names]
        for part, size in zip(self.part_paths, sizes, strict=True):
            _check_part(part, size)
        self.layers: Mapping[str, StoredLayer] = MappingProxyType(
            {spec.name: StoredLayer(self, i, spec) for i, spec in enumerate(specs)}
        )

    def _read(self, file: Any) -> tuple[dict[str, Any], list[str], list[int], list[LayerSpec]]:
        """Read all of the index that is small: attributes, parts, sizes of the parts, layers."""
        if file.attrs.get("kind") != KIND:
            raise StoreError(f"{self.path / INDEX} is not the index of a store: name a folder made by 'atlas extract'")
        if (schema := int(file.attrs["schema"])) != SCHEMA:
            raise StoreError(f"{self.path} has schema {schema}, this version reads {SCHEMA}: extract again")
        self.classes, self.outputs, self.notes = (tuple(read_strings(file[n])) for n in ("classes", "outputs", "notes"))
        self.image_starts: NDArray[np.int64] = file["parts/image_start"][:]
        self._skipped = read_skipped(file)
        self.provenance: dict[str, Any] = json.loads(file.attrs["provenance"])
        specs = [read_spec(file[f"layers/{i}"]) for i in range(len(file["layers"]))]
        return dict(file.attrs), read_strings(file["parts/file"]), file["parts/bytes"][:].tolist(), specs

    def __enter__(self) -> ActivationStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: no file is held open."""

    def __len__(self) -> int:
        """Images that gave rows."""
        return int(self.image_starts[-1])

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """(id, reason) of every picture that gave no rows, in the manifest's order."""
        return [(s.id, s.reason) for s in self._skipped]

    @cached_property
    def images(self) -> ImageTable:
        """The images that gave rows, read once."""
        ids = PartedRows(self.part_paths, "images/id", self.image_starts, _Like(np.dtype(object), (0,)))[:]
        columns = {
            name: PartedRows(self.part_paths, f"images/{name}", self.image_starts, _Like(dtype, (0, *shape)))[:]
            for name, (dtype, shape) in IMAGE_COLUMNS.items()
        }
        return ImageTable([value.decode() for value in ids], **columns)

    @property
    def spectrum(self) -> Spectrum | None:
        """The spectrum that the dataset's pictures share; None in a store of imported activations."""
        with self.open_index() as file:
            if "spectrum" not in file:
                return None
            at = file["spectrum"]
            return Spectrum(at["amplitude"][:], at["level"][:], int(at.attrs["pictures"]))

    def layer(self, name: str | None = None) -> StoredLayer:
        """Return a layer by name; without a name, the only one. Raises StoreError with the nearest name."""
        if name is None:
            if len(self.layers) > 1:
                raise StoreError(f"{self.path} has several layers ({', '.join(self.layers)}): name one")
            return next(iter(self.layers.values()))
        if name not in self.layers:
            raise StoreError(
                f"{self.path} has no layer '{name}'{nearest(name, self.layers)} (it has {', '.join(self.layers)})"
            )
        return self.layers[name]

    def open_index(self) -> Any:
        """Open `index.h5` for reading, to be used in a `with`. Raises StoreError where there is no whole index."""
        index = self.path / INDEX
        if not index.is_file():
            raise StoreError(_why_absent(self.path))
        try:
            return h5py.File(index, "r")
        except OSError:
            raise StoreError(_damaged(index)) from None


def open_store(path: str | Path) -> ActivationStore:
    """Open a store; see `ActivationStore`. Raises StoreError when it is absent, unfinished or damaged."""
    return ActivationStore(path)


def is_store(path: str | Path) -> bool:
    """Say whether a folder is a store, be it unfinished or damaged, by its name or by any file of a store in it."""
    folder = Path(path)
    there = any((folder / name).exists() for name in (INDEX, SUMS, part_name(0)))
    return folder.is_dir() and (folder.suffix == ".store" or there)


def verify_store(path: str | Path) -> list[str]:
    """Check every hash, and that index and parts agree; one sentence per damage, [] when all is well."""
    folder = Path(path)
    try:
        sums = dict(line.split("  ", 1)[::-1] for line in (folder / SUMS).read_text().splitlines())
    except (OSError, ValueError):
        return [f"{folder / SUMS} is missing or damaged: nothing can be checked against it"]
    found = []
    for name, expected in sums.items():
        if not (folder / name).is_file():
            found.append(f"{folder / name} is missing: restore it, or run the same extraction again")
        elif hash_file(folder / name) != expected:
            found.append(f"{folder / name} is not as it was written: restore it, or delete it and extract again")
    try:
        store = ActivationStore(folder)
    except StoreError as error:
        return found or [str(error)]
    unlisted = {part_name(n) for n in range(len(store.part_paths))} | {INDEX}
    found += [
        f"{folder / name} has no hash in {SUMS}: run the same extraction again" for name in sorted(unlisted - set(sums))
    ]
    return found


def describe_store(path: str | Path) -> dict[str, Any]:
    """Say what a store holds and from what it was made, as plain JSON values."""
    store = ActivationStore(path)
    return {
        "kind": "store",
        "schema": SCHEMA,
        "name": store.name,
        "images": len(store),
        "skipped": len(store.skipped),
        "classes": list(store.classes),
        "outputs": list(store.outputs),
        "aligned": store.aligned,
        "accuracy": store.accuracy,
        "accuracy_top5": store.accuracy_top5,
        "notes": list(store.notes),
        "layers": [
            {
                "name": layer.name,
                "kind": layer.shape.kind,
                "channels": layer.shape.channels,
                "map": [layer.shape.height, layer.shape.width],
                "tap": layer.tap,
                "rows": {kind: len(layer.rows(kind)) for kind in layer.kinds},
            }
            for layer in store.layers.values()
        ],
        "fingerprint": store.fingerprint,
        "provenance": store.provenance,
    }


def _damaged(index: Path) -> str:
    return f"{index} is damaged or truncated: delete it and run the same extraction again"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _check_part(part: Path, size: int) -> None:
    try:
        found = part.stat().st_size
    except OSError:
        raise StoreError(f"{part} is missing: restore it, or run the same extraction again") from None
    if found != size:
        raise StoreError(
            f"{part} has {found} bytes, not its {size}: it is damaged; restore it, or run the same extraction again"
        )


def _why_absent(path: Path) -> str:
    if not path.exists():
        return f"{path} does not exist: check the path, or make it with 'atlas extract'"
    whole: Sequence[Path] = sorted(path.glob("parts/*.h5")) if path.is_dir() else ()
    if whole:
        return (
            f"{path} is unfinished ({len(whole)} parts are there): run the same extraction again, it goes on from there"
        )
    return f"{path} is not a store (it has no {INDEX}): name a folder made by 'atlas extract'"
