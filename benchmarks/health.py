"""Layer health against plain inference: ResNet-56 on CIFAR-10's test pictures, all blocks, without probes.

    python benchmarks/health.py [--quick] [--out FILE]

Both sides read, decode and run the same pictures; health also tallies every block's output and judges it. The network
is opened on both sides within the time.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import torch
from reporting import Figure, arguments, report, test_data

from atlas.datasets import take
from atlas.extraction.reading import read_pictures, worker_count
from atlas.job import open_job
from atlas.layer_health import health

PIPELINE = Path(__file__).resolve().parent.parent / "pipelines" / "cifar10_resnet20.toml"
BATCH = 64


def plain(overrides: list[str], images: int) -> None:
    """Run the pictures, and keep nothing but the prediction."""
    job = open_job(PIPELINE, overrides)
    source, preprocess = take(job.source, images), job.model.preprocess
    batch = []
    reading = read_pictures(
        source, preprocess, range(len(source)), workers=worker_count("auto"), ahead=BATCH, bursts=True
    )
    with torch.inference_mode():
        for picture in reading:
            assert picture.pixels is not None
            batch.append(picture.pixels)
            if len(batch) == BATCH:
                job.model.network(preprocess.normalise(preprocess.stack(batch))).argmax(1)
                batch = []


def main() -> None:
    """Time both in turns, and report."""
    options = arguments(__doc__ or "")
    weights = test_data() / "weights" / "resnet56_cifar10.pt"
    overrides = ["model.factory=python:pipelines.networks:cifar_resnet56", f"model.checkpoint={weights}"]
    images, turns = (640, 1) if options.quick else (5000, 3)
    plain(overrides, BATCH)
    clock, processor = [], []
    for _ in range(turns):
        taken = []
        for side in (
            lambda: plain(overrides, images),
            lambda: health(PIPELINE, images=images, probe=False, gradients=0, rounded=0, overrides=overrides),
        ):
            start = time.perf_counter(), time.process_time()
            side()
            taken.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        clock.append(taken[1][0] / taken[0][0])
        processor.append(taken[1][1] / taken[0][1])
    name = f"layer health of ResNet-56, {images:,} pictures, over plain inference"
    details = {"clock": clock, "processor": processor}
    report(
        [Figure(name, statistics.median(clock), statistics.median(processor), "x", 1.5, "<=", details)],
        "health",
        options,
    )


if __name__ == "__main__":
    main()
