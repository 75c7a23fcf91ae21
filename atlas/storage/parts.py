"""One part of a store: the images of a fixed range of the manifest, in one HDF5 file, whole or absent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from atlas.errors import StoreError, nearest
from atlas.records import LayerKind, LayerShape, RowKind
from atlas.storage.files import write_bytes
from atlas.storage.moments import Moments

SCHEMA = 1
PART_KIND = "activation-store-part"
PARTS = "parts"
TOP = 5
"""Logits kept of each image, largest first; fewer classes are padded with -1 and NaN."""

IMAGE_COLUMNS: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "index": (np.int64, ()),
    "width": (np.int32, ()),
    "height": (np.int32, ()),
    "label": (np.int32, ()),
    "prediction": (np.int32, ()),
    "confidence": (np.float32, ()),
    "top_class": (np.int32, (TOP,)),
    "top_logit": (np.float32, (TOP,)),
    "box": (np.float32, (4,)),
}
CHUNK_BYTES = 1 << 17
# gzip 1: 50 MB/s a core; 4 makes rows, rectified or not, smaller by 1 to 3 % in 1.5 times the time.
GZIP: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
POOLS: dict[LayerKind, tuple[RowKind, ...]] = {
    "map": ("mean", "max", "center"),
    "map_last": ("mean", "max", "center"),
    "tokens": ("mean", "max"),
    "vector": ("mean",),
}


@dataclass(frozen=True)
class ImageTable:
    """The images of a store or of one part, one row each, in the manifest's order without the skipped ones.

    index: int64, the image's place in the manifest. width, height: int32, px after EXIF rotation.
    label: int32 (-1: none). prediction: int32 (-1: none) with its softmax confidence, float32 (NaN:
    none). top_class int32 and top_logit float32 (n, 5), largest first, padded with -1 and NaN.
    box: float32 (n, 4), the share of the picture that the network saw.
    """

    ids: Sequence[str]
    index: NDArray[np.int64]
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    label: NDArray[np.int32]
    prediction: NDArray[np.int32]
    confidence: NDArray[np.float32]
    top_class: NDArray[np.int32]
    top_logit: NDArray[np.float32]
    box: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    def index_of(self, image_id: str) -> int:
        """Row of an id in this table. Raises StoreError with the nearest id."""
        try:
            return self.ids.index(image_id)
        except ValueError:
            raise StoreError(f"the store has no image '{image_id}'{nearest(image_id, self.ids[:10_000])}") from None


@dataclass(frozen=True)
class Skipped:
    """A picture that gave no rows: its place in the manifest, its id and why."""

    index: int
    id: str
    reason: str


@dataclass(frozen=True)
class LayerSpec:
    """What a store keeps of one layer.

    pools: kinds of rows with one row per image. positions: sampled rows per image, 0 for none, None
    where it differs from image to image. effects: effect rows per image (of its first positions, or
    of the mean row when there are no positions), 0 for none, each on effect_classes classes.
    """

    name: str
    shape: LayerShape
    tap: str = "output"
    pools: tuple[RowKind, ...] = ("mean",)
    positions: int | None = 0
    effects: int = 0
    effect_classes: int = 0

    @property
    def kinds(self) -> tuple[RowKind, ...]:
        """Kinds of rows: the sampled positions first, where there are any."""
        return self.pools if self.positions == 0 else ("positions", *self.pools)


@dataclass(frozen=True)
class Effects:
    """Linear contributions of samples to class logits.

    sample_rows: int64 (m,), ascending rows of the kind they were asked for. classes int32 and values
    float32 (m, k): all classes up to 100, in order; else the 20 largest and the label's as the last.
    """

    sample_rows: NDArray[np.int64]
    classes: NDArray[np.int32]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class LayerRows:
    """One layer's rows of one part; `image` and `effects.sample_rows` count from the part's first row."""

    pooled: Mapping[RowKind, NDArray[np.float16]] = field(default_factory=dict)
    positions: NDArray[np.float16] | None = None
    image: NDArray[np.int64] | None = None
    uv: NDArray[np.float32] | None = None
    box: NDArray[np.float32] | None = None
    effects: Effects | None = None


@dataclass(frozen=True)
class Part:
    """A range of the manifest, [first, first + count): its images, their rows, and what was skipped."""

    first: int
    count: int
    images: ImageTable
    layers: Sequence[LayerRows]  # in the order of the store's LayerSpecs
    skipped: Sequence[Skipped] = ()


@dataclass(frozen=True)
class PartHeader:
    """What a part says of itself: of which store it is, its range, and how many images gave rows."""

    fingerprint: str
    environment: str
    first: int
    count: int
    images: int


def part_name(number: int) -> str:
    """Path of a part inside the store's folder, with forward slashes."""
    return f"{PARTS}/{number:05d}.h5"


def write_part(path: Path, part: Part, specs: Sequence[LayerSpec], fingerprint: str, environment: str) -> None:
    """Write one part beside its place, flush it to the disk and rename it. Raises StoreError on a full disk."""

    def fill(file: Any) -> None:
        file.attrs.update(
            kind=PART_KIND,
            schema=SCHEMA,
            fingerprint=fingerprint,
            environment=environment,
            first=part.first,
            count=part.count,
            images=len(part.images),
        )
        write_strings(file, "images/id", part.images.ids)
        for name in IMAGE_COLUMNS:
            write_array(file, f"images/{name}", getattr(part.images, name))
        write_skipped(file, part.skipped)
        for number, (spec, rows) in enumerate(zip(specs, part.layers, strict=True)):
            group = file.create_group(f"layers/{number}")
            write_spec(group, spec)
            _write_rows(group, rows)

    write_bytes(path, build_file(str(path), fill))


def _write_rows(group: Any, rows: LayerRows) -> None:
    kept: dict[RowKind, NDArray[np.float16]] = {**rows.pooled}
    if rows.positions is not None:
        kept["positions"] = rows.positions
        write_array(group, "positions/rows", rows.positions)
        for name in ("image", "uv", "box"):
            write_array(group, f"positions/{name}", getattr(rows, name))
    for kind, values in rows.pooled.items():
        if values is rows.positions:  # one sample per image, its own mean: two names for one dataset
            group[kind] = group["positions/rows"]
        else:
            write_array(group, kind, values)
    for kind, values in kept.items():
        if not np.isfinite(values).all():
            raise StoreError(f"rows of kind '{kind}' are not finite as float16: leave such images out")
        moments = Moments.of(values)
        write_array(group, f"moments/{kind}/mean", moments.mean)
        write_array(group, f"moments/{kind}/squares", moments.squares)
        group[f"moments/{kind}"].attrs["count"] = moments.count
    if rows.effects is not None:
        write_array(group, "effects/row", rows.effects.sample_rows)
        write_array(group, "effects/class", rows.effects.classes)
        write_array(group, "effects/value", rows.effects.values)


def read_part_header(path: Path) -> PartHeader | None:
    """Read what a part says of itself; None when it is absent, truncated or no part of this schema."""
    try:
        with h5py.File(path, "r") as file:  # HDF5 itself refuses a file shorter than it was when closed
            if file.attrs.get("kind") != PART_KIND or file.attrs.get("schema") != SCHEMA:
                return None
            at = file.attrs
            numbers = (int(at[name]) for name in ("first", "count", "images"))
            return PartHeader(str(at["fingerprint"]), str(at["environment"]), *numbers)
    except (OSError, KeyError):
        return None


def write_spec(group: Any, spec: LayerSpec) -> None:
    """Write what a layer is as attributes of its group; positions -1 says that it differs between images."""
    shape = spec.shape
    group.attrs.update(
        name=spec.name,
        tap=spec.tap,
        kind=shape.kind,
        channels=shape.channels,
        height=shape.height,
        width=shape.width,
        prefix=shape.prefix,
        pools=list(spec.pools) or h5py.Empty(h5py.string_dtype()),
        positions=-1 if spec.positions is None else spec.positions,
        effects=spec.effects,
        effect_classes=spec.effect_classes,
    )


def read_spec(group: Any) -> LayerSpec:
    """Read what `write_spec` wrote."""
    at = group.attrs
    shape = LayerShape(at["kind"], *(int(at[name]) for name in ("channels", "height", "width", "prefix")))
    pools = () if isinstance(at["pools"], h5py.Empty) else tuple(at["pools"])
    positions, effects, classes = (int(at[name]) for name in ("positions", "effects", "effect_classes"))
    return LayerSpec(at["name"], shape, at["tap"], pools, None if positions < 0 else positions, effects, classes)


def write_skipped(file: Any, skipped: Sequence[Skipped]) -> None:
    """Write the list of skipped pictures as three columns."""
    write_array(file, "skipped/index", np.array([s.index for s in skipped], np.int64))
    write_strings(file, "skipped/id", [s.id for s in skipped])
    write_strings(file, "skipped/reason", [s.reason for s in skipped])


def read_skipped(file: Any) -> list[Skipped]:
    """Read what `write_skipped` wrote."""
    columns = file["skipped/index"][:], read_strings(file["skipped/id"]), read_strings(file["skipped/reason"])
    return [Skipped(int(index), name, reason) for index, name, reason in zip(*columns, strict=True)]


def chunk_rows(shape: tuple[int, ...], itemsize: int) -> int:
    """Rows of one chunk, about 128 KiB: what one read of a single row has to decompress."""
    row = itemsize * int(np.prod(shape[1:], dtype=np.int64))
    return max(1, min(shape[0], CHUNK_BYTES // max(row, 1)))


def write_array(group: Any, name: str, values: NDArray[Any]) -> None:
    """Write an array, gzipped: any HDF5 library reads it without a plug-in."""
    if values.size == 0:  # HDF5 has no chunks without rows
        group.create_dataset(name, data=values)
        return
    chunks = (chunk_rows(values.shape, values.itemsize), *values.shape[1:])
    group.create_dataset(name, data=values, chunks=chunks, **GZIP)


def empty_column(group: Any, name: str, rows: int) -> Any:
    """Make an int64 column (rows,) to be written piece by piece."""
    filters = {"chunks": (chunk_rows((rows,), 8),), **GZIP} if rows else {}
    return group.create_dataset(name, (rows,), np.int64, **filters)


def write_strings(group: Any, name: str, values: Sequence[str]) -> None:
    """Write UTF-8 strings of any length."""
    group.create_dataset(name, data=np.array(list(values), dtype=object), dtype=h5py.string_dtype())


def read_strings(dataset: Any) -> list[str]:
    """Read what `write_strings` wrote."""
    return [str(value) for value in dataset.asstr()[:]] if len(dataset) else []


def build_file(name: str, fill: Callable[[Any], None]) -> bytes:
    """Build an HDF5 file in memory and return its bytes.

    On a full disk HDF5 can neither write nor close a file, and every further call on it fails; plain
    bytes are written whole or not at all. `name` must be unlike any other file's that is being built.
    """
    versions = ("earliest", "v110")  # what any HDF5 since 1.10 reads
    with h5py.File(name, "w", driver="core", backing_store=False, libver=versions) as file:
        fill(file)
        file.flush()
        content: bytes = file.id.get_file_image()
        return content
