"""Two networks as wholes: debiased CKA against plain Gram matrices; how long 50,000 samples take, and what memory.

    python benchmarks/similarity.py [--quick] [--out FILE]

The rows are drawn: a hidden vector of 32 numbers in 100 clouds, seen by two random networks of one ReLU layer each, in
float16 on the disk, as a store has them. CKA, Procrustes and the overlap of 10 neighbours are timed with intervals
over images, neighbours of both networks included. Each size runs in a process of its own, for its memory.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from reporting import Figure, arguments, report

from atlas.comparison.figures import HELD
from atlas.findings.neighborhoods import jaccard, mean_overlap, nearest_others
from atlas.findings.similarity import measure_alignment
from atlas.layouts.rows import resident

SAMPLES = 50_000
BLOCK = 5_000
SIZES = {"64 channels": (64, 60.0), "2,048 channels": (2048, 240.0)}


def write_rows(folder: Path, samples: int, channels: int) -> None:
    """Two networks' rows, as float16 files."""
    hidden = np.random.default_rng(0)
    centres = 3 * hidden.normal(size=(100, 32))
    weights = [np.random.default_rng(i).normal(size=(32, channels)) / 6 for i in (1, 2)]
    files = [np.lib.format.open_memmap(folder / f"{i}.npy", "w+", np.float16, (samples, channels)) for i in (0, 1)]
    for first in range(0, samples, BLOCK):
        rows = centres[np.arange(first, min(samples, first + BLOCK)) % 100]
        rows = rows + hidden.normal(size=rows.shape)
        for file, weight in zip(files, weights, strict=True):
            file[first : first + BLOCK] = np.maximum(rows @ weight, 0)


def measure(folder: Path) -> dict[str, float]:
    """Time all three figures on the rows of a folder; memory is the largest resident size, less that before."""
    one, other = (np.load(folder / f"{i}.npy", mmap_mode="r") for i in (0, 1))
    image_of = np.arange(len(one))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, busy = time.perf_counter(), time.process_time()
    near = [nearest_others(resident(rows, HELD), image_of, threads=2).indices for rows in (one, other)]
    searched = time.perf_counter() - wall, time.process_time() - busy
    aligned = measure_alignment(one, other, image_of)
    overlap = mean_overlap(jaccard(*near), image_of)
    took = {"wall": time.perf_counter() - wall, "processor": time.process_time() - busy}
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    some = np.random.default_rng(0).choice(len(one), 300, replace=False)
    recall = np.mean([_recall(rows, found, some) for rows, found in zip((one, other), near, strict=True)])
    figures = {"cka": aligned.cka.value, "procrustes": aligned.procrustes.value, "overlap": overlap.value}
    return {
        **took,
        "neighbours": searched[0],
        "neighbours_processor": searched[1],
        "megabytes": grown,
        "recall": float(recall),
        **figures,
    }


def _recall(rows: np.ndarray, found: np.ndarray, some: np.ndarray) -> float:
    """Share of the true ten nearest that were found, of some samples."""
    points = np.asarray(rows, np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    alike = points[some] @ points.T
    alike[np.arange(len(some)), some] = -np.inf
    true = np.argpartition(-alike, 10, axis=1)[:, :10]
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(true, found[some], strict=True)]))


def gram_error(samples: int, channels: int) -> float:
    """Largest difference of the streamed CKA from the plain one, Song et al. 2012, in float64."""
    rng = np.random.default_rng(0)
    worst = 0.0
    for shared in (0.0, 0.3, 1.0):
        hidden = rng.normal(size=(samples, 16))
        x, y = (
            (shared * hidden @ rng.normal(size=(16, width)) + rng.normal(size=(samples, width)) + 2).astype(np.float16)
            for width in (channels, channels // 2)
        )
        wide, high = x.astype(np.float64), y.astype(np.float64)
        grams = wide @ wide.T, high @ high.T
        told = [_hsic(a, b) for a, b in ((grams[0], grams[1]), (grams[0], grams[0]), (grams[1], grams[1]))]
        plain = told[0] / np.sqrt(told[1] * told[2])
        worst = max(worst, abs(plain - measure_alignment(x, y, np.arange(samples)).cka.value))
    return float(worst)


def _hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    total = (k * l).sum() + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k.sum(0) @ l.sum(0))
    return float(total / (n * (n - 3)))


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == "--of":
        print(json.dumps(measure(Path(sys.argv[2]))))
        return
    options = arguments(__doc__ or "")
    samples = 5_000 if options.quick else SAMPLES
    error = gram_error(500 if options.quick else 2_000, 256)
    figures = [Figure("CKA streamed, against the plain Gram form", error, None, "", 1e-6, "<=")]
    for name, (channels, goal) in SIZES.items():
        grown = []
        for share in (2, 1):
            with tempfile.TemporaryDirectory() as folder:
                write_rows(Path(folder), samples // share, channels)
                command = [sys.executable, __file__, "--of", folder]
                told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            grown.append(told["megabytes"])
        figures += [
            Figure(f"{samples:,} samples, {name}", told["wall"], told["processor"], "s", goal, "<=", told),
            Figure(f"  of it the neighbours, {name}", told["neighbours"], told["neighbours_processor"], "s"),
            Figure(f"  share of the true neighbours found, {name}", told["recall"], None, ""),
            Figure(f"  memory, {name}", grown[1], None, "MB", details={"half as many samples": grown[0]}),
        ]
    report(figures, "similarity", options)


if __name__ == "__main__":
    main()
