"""Run a dataset through a network and keep its activations, part by part; a stopped run goes on."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from atlas import __version__
from atlas.config import fingerprint
from atlas.datasets import ImageSource, align_labels
from atlas.errors import ConfigError, DataError, LayerError, StoreError
from atlas.extraction.accuracy import chance_note
from atlas.extraction.collecting import PartCollector
from atlas.extraction.passes import Passes, layer_specs
from atlas.extraction.reading import Picture, read_pictures, worker_count
from atlas.extraction.sampling import draw_places
from atlas.extraction.spectrum import measure_spectrum
from atlas.models import Model, effect_caveat, layer_shapes, patch_field, resolve_device
from atlas.records import Progress, silent
from atlas.storage.parts import SCHEMA, Part, part_name
from atlas.storage.store import ActivationStore, open_store
from atlas.storage.store_index import StoreHeader
from atlas.storage.store_writer import StoreWriter, fingerprint_of
from atlas.storage.tally import Tally

Tap = Literal["output", "input"]
EXTRACTION = 2  # raise it when the same network gives other bits: parts of two kinds are never mixed


@dataclass(frozen=True)
class Settings:
    """What decides a store's content besides the dataset and the network."""

    positions: int = 1
    effects: int = 1
    tap: Tap = "output"
    predictions: bool = True
    batch: int = 64
    part: int = 1024

    def __post_init__(self) -> None:
        for name, least in (("positions", 0), ("effects", 0), ("batch", 1), ("part", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}: give at least {least}")


def extract(
    source: ImageSource,
    model: Model,
    layers: Sequence[str],
    out: str | Path,
    *,
    positions: int = 1,
    effects: int = 1,
    tap: Tap = "output",
    predictions: bool = True,
    batch: int = 64,
    part: int = 1024,
    label_to_output: NDArray[np.integer] | None = None,
    max_unreadable: float = 0.05,
    workers: int | Literal["auto"] = "auto",
    device: str = "auto",
    force: bool = False,
    provenance: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> ActivationStore:
    """Write the activations of `layers` on every picture to the store `out`, and return it.

    positions: sampled per image, beside the pooled vectors. effects: for how many of these the effects
    on the classes are kept. predictions: False stops each pass at the deepest layer, when effects are 0
    too. batch, part: images of a pass and of a part; convolutions round differently in another batch,
    so both belong to the store's fingerprint. label_to_output: int (classes of the dataset,) -> output
    index; by default the names are matched. max_unreadable: share of the pictures that may be skipped.
    provenance: anything JSON can say, kept beside what is known here.

    Neither workers nor interruptions change the result: whole parts are kept, the missing ones made.
    A finished store of the same fingerprint is returned as it is. Raises DataError without pictures or
    with too many unusable ones, StoreError for a store of another fingerprint (unless `force`) and on a
    full disk, ConfigError for an impossible setting, LayerError and ModelError as the network does.
    """
    settings = Settings(positions, effects, tap, predictions, batch, part)
    if not 0 <= max_unreadable <= 1:
        raise ConfigError(f"max_unreadable is {max_unreadable}: give a share from 0 to 1")
    if len(source) == 0:
        raise DataError(f"{source.name} has no pictures: check the path in its manifest")
    if not layers:
        raise LayerError(f"no layer is named: 'atlas layers {model.name}' lists them")
    model = model.to(resolve_device(device))
    run = _Run(source, model, tuple(layers), settings, label_to_output, dict(provenance or {}))
    finished = _finished(Path(out), run.header.fingerprint)
    if finished is not None:
        return finished
    writer = StoreWriter(Path(out), run.header, len(source), part, force)
    tally = Tally(len(source), max_unreadable)
    for number in sorted(writer.done):
        tally.add(writer.done[number].count, writer.skipped_in(number))
    run.fill(writer, tally, worker_count(workers), progress)
    tally.check_finished()
    joined = writer.join()
    spectrum = measure_spectrum(source, model.preprocess, run.input_shape, workers=worker_count(workers))
    writer.finish(joined, [*chance_note(run.header, joined), *run.caveats(writer)], spectrum)
    return open_store(out)


def _finished(out: Path, made_from: str) -> ActivationStore | None:
    """Return the whole store of the same fingerprint, if that is what stands there."""
    if fingerprint_of(out) != made_from:
        return None
    try:
        return open_store(out)
    except StoreError:  # unfinished or damaged: its whole parts are kept
        return None


class _Run:
    """One extraction: what it reads, what it runs and what it is called."""

    def __init__(
        self,
        source: ImageSource,
        model: Model,
        layers: tuple[str, ...],
        settings: Settings,
        label_to_output: NDArray[np.integer] | None,
        provenance: dict[str, Any],
    ) -> None:
        self.source, self.model, self.settings = source, model, settings
        if label_to_output is None and model.is_classifier:
            label_to_output = align_labels(source.classes, model.outputs)
        self.label_to_output = None if label_to_output is None else _checked(label_to_output, source, model)
        self.input_shape = model.preprocess.input_shape or _first_shape(source, model)
        shapes = layer_shapes(model, layers, self.input_shape, tap=settings.tap)
        kept = layer_specs(model, shapes, positions=settings.positions, effects=settings.effects, tap=settings.tap)
        self._fields: dict[str, NDArray[np.float32]] = {}
        made_from = {
            "schema": SCHEMA,
            "data": source.fingerprint,
            "model": [model.name, model.weights_hash, model.preprocess.fingerprint, list(model.outputs)],
            "layers": list(layers),
            "settings": vars(settings),
            "labels": None if self.label_to_output is None else self.label_to_output.tolist(),
        }
        libraries = {name: version(name) for name in ("torch", "numpy", "pillow", "h5py")}
        kind = (f"extraction {EXTRACTION}", *(f"{name} {libraries[name]}" for name in ("torch", "pillow")))
        self.header = StoreHeader(
            name=source.name,
            fingerprint=fingerprint(made_from),
            layers=kept,
            environment=", ".join((*kind, model.device.type)),
            classes=source.classes if self.label_to_output is None else model.outputs,
            outputs=model.outputs,
            aligned=self.label_to_output is not None,
            provenance={
                **provenance,
                "data": {"name": source.name, "fingerprint": source.fingerprint, "images": len(source)},
                "model": {
                    "name": model.name,
                    "weights": model.weights_hash,
                    "preprocess": {"fingerprint": model.preprocess.fingerprint, **vars(model.preprocess)},
                },
                "extraction": {"layers": list(layers), **vars(settings)},
                "device": str(model.device),
                "libraries": {"atlas": __version__, "python": platform.python_version(), **libraries},
            },
        )

    def fill(self, writer: StoreWriter, tally: Tally, workers: int, progress: Progress) -> None:
        """Make the missing parts. One is written while the next one runs; whatever ends the run, it is finished."""
        missing = writer.missing
        done = sum(header.count for header in writer.done.values())
        wanted = chain.from_iterable(writer.range_of(number) for number in missing)
        own_cores = self.model.device.type == "cpu"
        pictures = read_pictures(
            self.source,
            self.model.preprocess,
            wanted,
            workers=workers,
            ahead=self.settings.batch if own_cores else 2 * self.settings.batch,
            bursts=own_cores,
        )
        progress("extract", done, len(self.source))
        writing: Future[None] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="atlas-write") as pool:
            try:
                for number in missing:
                    covered = writer.range_of(number)

                    def report(seen: int, before: int = done) -> None:
                        progress("extract", before + seen, len(self.source))

                    made = self._part(covered, islice(pictures, len(covered)), tally, report)
                    done += len(covered)
                    if writing is not None:
                        writing.result()
                    writing = pool.submit(writer.write, number, made)
                if writing is not None:
                    writing.result()
            finally:
                pictures.close()

    def _part(self, covered: range, pictures: Iterator[Picture], tally: Tally, report: Callable[[int], None]) -> Part:
        entries = self.source.entries()
        passes = Passes(self.model, self.header.layers, tap=self.settings.tap, predictions=self.settings.predictions)
        collector = PartCollector(covered, self.header.layers, self.model.preprocess, self._boxes)
        waiting: list[Picture] = []

        def run_batch() -> None:
            names = [entries[picture.index].id for picture in waiting]
            labels = self._labels([entries[picture.index].label for picture in waiting])
            pixels = self.model.preprocess.stack([p.pixels for p in waiting if p.pixels is not None])
            found = passes(pixels, draw_places(names, self.settings.positions), labels if self.header.aligned else None)
            collector.add(names, waiting, labels, found)
            waiting.clear()

        for seen, picture in enumerate(pictures, 1):
            if picture.pixels is None:
                collector.skip(picture.index, entries[picture.index].id, picture.reason)
            else:
                waiting.append(picture)
            # A batch is the next so many readable pictures of the part: a skipped one leaves no hole.
            if len(waiting) == self.settings.batch or (waiting and seen == len(covered)):
                run_batch()
                report(seen)
            tally.check(seen, collector.skipped)
        report(len(covered))
        tally.add(len(covered), collector.skipped)
        return collector.part()

    def caveats(self, writer: StoreWriter) -> list[str]:
        """Sentences on layers whose effects say nothing, judged by the first part that has any."""
        found = []
        for i, spec in enumerate(self.header.layers):
            for number in range(writer.parts if spec.effects else 0):
                with h5py.File(writer.path / part_name(number), "r") as file:
                    values = torch.from_numpy(file[f"layers/{i}/effects/value"][:])
                    logits = torch.from_numpy(file["images/top_logit"][:]).nan_to_num(0)
                if len(values):
                    found.append(effect_caveat(spec.name, spec.shape, values, logits))
                    break
        return [sentence for sentence in found if sentence]

    def _boxes(self, name: str) -> NDArray[np.float32]:
        """What each cell of a layer's map sees of the input: float32 (cells, 4), in shares of the input.

        Measured only when an image has been usable: a network that gives NaN alone is told by its images.
        """
        if name not in self._fields:
            shape = next(spec.shape for spec in self.header.layers if spec.name == name)
            field = patch_field(self.model, name, shape, tap=self.settings.tap, input_shape=self.input_shape)
            self._fields[name] = field.boxes(np.arange(shape.height * shape.width))
        return self._fields[name]

    def _labels(self, labels: Sequence[int]) -> NDArray[np.int32]:
        """Labels as the store keeps them: output indices where they are aligned, -1 for none."""
        given = np.array(labels, np.int32)
        if self.label_to_output is None:
            return given
        return np.where(given >= 0, self.label_to_output[given], np.int32(-1))


def _checked(label_to_output: NDArray[np.integer], source: ImageSource, model: Model) -> NDArray[np.int32]:
    """Refuse a map of labels that does not fit the dataset and the network."""
    found = np.asarray(label_to_output, np.int32)
    if found.shape != (len(source.classes),) or (
        found.size and not 0 <= found.min() <= found.max() < len(model.outputs)
    ):
        raise DataError(
            f"label_to_output has shape {found.shape}: give one output index below {len(model.outputs)} "
            f"for each of the {len(source.classes)} classes of {source.name}"
        )
    return found


def _first_shape(source: ImageSource, model: Model) -> tuple[int, int, int]:
    """Shape of the first picture that can be read, for a preprocessing that fixes no size."""
    for picture in read_pictures(source, model.preprocess, range(len(source)), workers=0, ahead=1):
        if picture.pixels is not None:
            channels, height, width = picture.pixels.shape
            return channels, height, width
    raise DataError(f"{source.name} has no picture that can be read: check the path in its manifest")
