"""What an extraction will take, told without running over the data."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np

from atlas.datasets import ImageSource
from atlas.errors import DataError
from atlas.extraction.passes import Passes, layer_specs
from atlas.extraction.reading import read_pictures, worker_count
from atlas.extraction.run import Settings, Tap
from atlas.extraction.sampling import draw_places
from atlas.models import Model, layer_shapes, resolve_device
from atlas.storage.parts import IMAGE_COLUMNS, LayerSpec

_TRIED = 8
"""Pictures that are read and run to estimate the time."""


@dataclass(frozen=True)
class ExtractionPlan:
    """What an extraction would do.

    rows: for each layer, rows of each kind. bytes: on disk before compression, which saves a tenth to
    a third. seconds: estimated from a few pictures.
    """

    images: int
    parts: int
    rows: dict[str, dict[str, int]]
    bytes: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


def plan_extraction(
    source: ImageSource,
    model: Model,
    layers: Sequence[str],
    *,
    positions: int = 1,
    effects: int = 1,
    tap: Tap = "output",
    predictions: bool = True,
    batch: int = 64,
    part: int = 1024,
    workers: int | Literal["auto"] = "auto",
    device: str = "auto",
) -> ExtractionPlan:
    """Say what `extract` with the same arguments would take: reads and runs eight pictures, writes nothing.

    Raises DataError when there is no picture, or none of the first 64 can be read.
    """
    settings = Settings(positions, effects, tap, predictions, batch, part)
    if len(source) == 0:
        raise DataError(f"{source.name} has no pictures: check the path in its manifest")
    model = model.to(resolve_device(device))
    start = time.perf_counter()
    indices = range(min(len(source), 64))
    found = read_pictures(source, model.preprocess, indices, workers=0, ahead=1)
    tried = list(islice((p for p in found if p.pixels is not None), _TRIED))
    reading = (time.perf_counter() - start) / max(len(tried), 1)
    pixels = [p.pixels for p in tried if p.pixels is not None]
    if not pixels:
        raise DataError(f"{source.name}: none of the first {len(indices)} pictures can be read: check its manifest")
    channels, height, width = pixels[0].shape
    shapes = layer_shapes(model, layers, (channels, height, width), tap=tap)
    specs = layer_specs(model, shapes, positions=positions, effects=effects, tap=tap)
    passes = Passes(model, specs, tap=tap, predictions=predictions)
    places = draw_places([str(i) for i in range(len(tried))], positions)
    together = model.preprocess.stack(pixels)
    passes(together, places, None)  # the first pass sets up what the others use again
    start = time.perf_counter()
    passes(together, places, None)
    running = (time.perf_counter() - start) / len(tried)
    count = len(source)
    per_image = sum(_bytes(spec) for spec in specs) + _table_bytes(source)
    return ExtractionPlan(
        count,
        -(-count // settings.part),
        {
            spec.name: {kind: count * (spec.positions or 1 if kind == "positions" else 1) for kind in spec.kinds}
            for spec in specs
        },
        count * per_image,
        count * (running + reading / max(worker_count(workers), 1)),
    )


def _bytes(spec: LayerSpec) -> int:
    """Bytes of one image's rows: float16 vectors; of a position also its image, place and box; effects."""
    positions = spec.positions or 0
    vectors = 2 * spec.shape.channels * (len(spec.pools) + positions)
    return vectors + positions * (8 + 8 + 16) + spec.effects * (8 + 8 * spec.effect_classes)


def _table_bytes(source: ImageSource) -> int:
    """Bytes of one image's line in the table, its id measured on the first hundred."""
    columns = sum(np.dtype(dtype).itemsize * int(np.prod(shape)) for dtype, shape in IMAGE_COLUMNS.values())
    ids = [entry.id for entry in islice(source.entries(), 100)]
    return columns + sum(len(name.encode()) for name in ids) // len(ids)
