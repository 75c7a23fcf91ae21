"""How fast extraction is against a bare loop, what memory an image costs, and what effects cost.

Run: python benchmarks/extraction.py [--quick] [--only memory,jpeg,growth,effects] [--out FILE.json]
"""

from __future__ import annotations

import copy
import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from networks import cifar10, imagenet, resnet20, squeezenet
from reporting import Figure, arguments, report

BATCH = 64


def in_memory(source: Any, count: int, side: int) -> Any:
    """The source's first pictures, cut to the network's input and kept decoded, over and over."""
    from PIL import Image

    from atlas.datasets.source import ListedSource, Listing

    class Decoded(ListedSource):
        def __init__(self) -> None:
            some = [source.read(i).convert("RGB") for i in range(min(256, len(source)))]
            self.pictures: list[Image.Image] = [p.resize((side, side)) for p in some]
            super().__init__("decoded", (), Listing([f"{i:07d}" for i in range(count)]), f"decoded {count}")

        def read(self, index: int) -> Image.Image:
            return self.pictures[index % len(self.pictures)]

    return Decoded()


@dataclass(frozen=True)
class Times:
    """Seconds of several ways, taken in turns: on the clock, and of processor time over all threads."""

    clock: dict[str, list[float]]
    processor: dict[str, list[float]]

    def ratios(self, above: str, below: str) -> tuple[float, float]:
        """Medians over turns of one way's time against the other's in the same turn: clock, processor."""
        clock, processor = (
            statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))
            for seconds in (self.clock, self.processor)
        )
        return clock, processor


def in_turns(ways: dict[str, Callable[[], None]], repeats: int) -> Times:
    """Time each way once a turn, every other turn backwards: what else the machine does meets all alike."""
    times = Times({name: [] for name in ways}, {name: [] for name in ways})
    for turn in range(repeats + 1):
        for name, way in list(ways.items())[:: 1 if turn % 2 else -1]:
            clock, processor = time.perf_counter(), time.process_time()
            way()
            if turn:  # the first turn warms up
                times.clock[name].append(time.perf_counter() - clock)
                times.processor[name].append(time.process_time() - processor)
    return times


def extracted(source: Any, model: Any, layer: str, **options: Any) -> None:
    from atlas.extraction import extract

    with tempfile.TemporaryDirectory() as folder:
        extract(source, model, [layer], Path(folder) / "a.store", batch=BATCH, **options)


def chunks(numbers: range) -> Iterator[list[int]]:
    numbers_left = iter(numbers)
    while some := list(itertools.islice(numbers_left, BATCH)):
        yield some


def from_memory(name: str, model: Any, layer: str, source: Any, repeats: int) -> list[Figure]:
    """Extraction of decoded pictures against the forward pass alone, cut at the same layer.

    The bare loop runs the network as torch builds it, and once more with the kernels laid out as here.
    """
    import numpy as np
    import torch

    from atlas.models import capture

    pictures = [model.preprocess.picture(p) for p in source.pictures]
    batches = [
        torch.from_numpy(np.stack([pictures[i % len(pictures)] for i in some])) for some in chunks(range(len(source)))
    ]
    as_built = copy.deepcopy(model.network).to(memory_format=torch.contiguous_format)

    def bare(network: Any) -> None:
        with torch.inference_mode(), capture(network, [layer]) as run:
            for batch in batches:
                run(model.preprocess.normalise(batch))

    ways = {
        "bare": lambda: bare(as_built),
        "bare, channels-last": lambda: bare(model.network),
        "extract": lambda: extracted(source, model, layer, effects=0, predictions=False),
    }
    times = in_turns(ways, repeats)
    note = "bare: uint8 batches stacked beforehand, normalised and run up to the layer"
    details = {"images": len(source), "seconds": asdict(times), "note": note}
    return [
        Figure(
            f"speed from memory, {name}, against the {way} loop", *times.ratios(way, "extract"), "x", 0.95, ">=", about
        )
        for way, about in (("bare", details), ("bare, channels-last", {}))
    ]


def from_files(model: Any, layer: str, source: Any, repeats: int) -> Figure:
    """Extraction from JPEG files against decoding a batch on all cores, then running it, in turns."""
    import torch

    from atlas.models import capture

    cores = len(os.sched_getaffinity(0))

    def one_after_the_other() -> None:
        def picture(index: int) -> Any:
            return model.preprocess.picture(source.read(index))

        with (
            ThreadPoolExecutor(cores) as pool,
            torch.inference_mode(),
            capture(model.network, [layer]) as run,
        ):
            for some in chunks(range(len(source))):
                run(model.preprocess.normalise(model.preprocess.stack(list(pool.map(picture, some)))))

    extraction = {"extract": lambda: extracted(source, model, layer, effects=0, predictions=False)}
    times = in_turns({"one after the other": one_after_the_other} | extraction, repeats)
    details = {"images": len(source), "cores": cores, "seconds": asdict(times)}
    name = "speed from JPEG files, against decoding on all cores, then running"
    return Figure(name, *times.ratios("one after the other", "extract"), "x", 0.95, ">=", details)


def growth(few: int, many: int, repeats: int) -> Figure:
    """Peak memory of a process that extracts many images against one that extracts few, per further image."""
    peaks: dict[int, list[int]] = {few: [], many: []}
    for _ in range(repeats):
        for count, found in peaks.items():
            run = subprocess.run(
                [sys.executable, __file__, "--peak", str(count)], check=True, capture_output=True, text=True
            )
            found.append(int(run.stdout.split()[-1]))
    each = [(b - a) / (many - few) for a, b in zip(peaks[few], peaks[many], strict=True)]
    details = {
        "peak_bytes": {str(count): found for count, found in peaks.items()},
        "each": each,
        "note": "CIFAR-10 from its zip, ResNet-20 layer3, one position, effects, parts of 256; peak resident memory",
    }
    name = f"memory per further image, from {few:,} to {many:,}"
    return Figure(name, statistics.median(each), None, "bytes", 1024, "<", details)


def print_peak(count: int) -> None:
    """Extract so many CIFAR-10 pictures and print this process's peak resident memory in bytes (Linux)."""
    from atlas.datasets import take

    # Small parts: of one part alone nothing is written while the next runs, a difference that is no growth.
    extracted(take(cifar10(), count), resnet20(), "layer3", part=256)
    # Not getrusage: its peak is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    print(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024)


def effects(batches: int, repeats: int) -> list[Figure]:
    """One position's effects on all classes against the plain forward pass; and all of extraction against it."""
    import torch

    from atlas.extraction import cells_of, draw_places
    from atlas.models import EffectTracer, layer_shapes

    model, source = resnet20(), in_memory(cifar10(), BATCH * batches, 32)
    shapes = layer_shapes(model, ["layer3"])
    tracer = EffectTracer(model, shapes)
    pixels = model.preprocess.stack([model.preprocess.picture(source.read(i)) for i in range(BATCH)])
    batch = model.preprocess.normalise(pixels)
    cells = torch.from_numpy(cells_of(draw_places([str(i) for i in range(BATCH)], 1), 8, 8))

    def plain() -> None:
        with torch.inference_mode():
            for _ in range(batches):
                model.network(batch)

    def traced() -> None:
        for _ in range(batches):
            tracer(batch, {"layer3": cells})

    ways = {"plain": plain, "traced": traced, "extract": lambda: extracted(source, model, "layer3")}
    times = in_turns(ways, repeats)
    details = {"batches": batches, "batch": BATCH, "seconds": asdict(times)}
    one = "one position's effects, ResNet-20 layer3, against the full forward pass"
    whole = "extraction with predictions and effects, against the full forward pass"
    return [
        Figure(one, *times.ratios("traced", "plain"), "x", 1.6, "<=", details),
        Figure(whole, *times.ratios("extract", "plain"), "x", None, "<=", {"images": len(source)}),
    ]


def main() -> None:
    options = arguments(
        __doc__ or "",
        only=",".join(PARTS),
        peak="measure one extraction of so many images (used by the benchmark itself)",
    )
    if options.peak:
        print_peak(int(options.peak))
        return
    wanted = options.only.split(",") if options.only else list(PARTS)
    figures = [figure for name in wanted for figure in PARTS[name](options.quick)]
    report(figures, "extraction", options)


def measure_memory_speed(quick: bool) -> list[Figure]:
    large = in_memory(imagenet(), 512 if quick else 1024, 256)
    small = in_memory(cifar10(), 2048 if quick else 10_000, 32)
    return [
        *from_memory("SqueezeNet features.10", squeezenet(), "features.10", large, 3 if quick else 7),
        *from_memory("ResNet-20 layer3", resnet20(), "layer3", small, 3 if quick else 7),
    ]


def measure_jpeg_speed(quick: bool) -> list[Figure]:
    from atlas.datasets import take

    return [from_files(squeezenet(), "features.10", take(imagenet(), 256 if quick else 1000), 3 if quick else 5)]


PARTS: dict[str, Callable[[bool], list[Figure]]] = {
    "memory": measure_memory_speed,
    "jpeg": measure_jpeg_speed,
    "growth": lambda quick: [growth(500, 3000, 1) if quick else growth(1000, 10_000, 3)],
    "effects": lambda quick: effects(8, 3) if quick else effects(32, 7),
}

if __name__ == "__main__":
    main()
