"""How long layouts take and what they keep, against umap-learn and scikit-learn.

Run: python benchmarks/layout.py [--quick] [--only peers,sklearn,classes,planted,placed,million] [--cache DIR] [--out F]

Recall is the share of a sample's 15 nearest by cosine among the raw activations that are among its 15 nearest on the
map, 1,500 anchors against all. Each side is run once on few rows before it is timed: nobody's compiling counts.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from networks import REPOSITORY, cifar10, imagenet, resnet20, squeezenet
from reporting import Figure, arguments, report, test_data

PARTS = ("peers", "sklearn", "classes", "planted", "placed", "million")


@dataclass(frozen=True)
class Data:
    """Rows with their images and labels."""

    rows: Any
    image_of: Any
    label: Any
    store: Any
    layer: str


def activations(cache: Path, name: str, layer: str, positions: int, side: int = 224) -> Data:
    """A layer's rows, extracted once and kept."""
    import atlas
    from atlas.config import PreprocessConfig
    from atlas.job import open_job
    from atlas.models import load_model

    if name == "shapes":
        job = open_job(REPOSITORY / "pipelines" / "shapes_honest.toml")
        model, source = job.model, job.source
    else:
        model, source = (resnet20(), cifar10()) if name == "cifar" else (squeezenet(), imagenet())
    if side != 224:
        model = load_model(
            "torchvision:squeezenet1_0",
            checkpoint=test_data() / "weights" / "squeezenet1_0_imagenet.pt",
            preprocess=PreprocessConfig(resize=side, crop=side, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
            classes=[str(i) for i in range(1000)],
        )
    layers = ["layer2", "layer3"] if name == "cifar" else [layer]
    out = cache / f"{name}-{positions}-{side}.store"
    store = atlas.extract(source, model, layers, out, positions=positions, effects=0, batch=16 if side > 224 else 64)
    stored = store.layers[layer]
    kind = "positions" if positions else "mean"
    image_of = stored.image_of(kind)
    return Data(stored.rows(kind)[:], image_of, store.images.label[image_of], store, layer)


def truth(rows: Any, anchors: Any, k: int = 15) -> Any:
    """Each anchor's k nearest rows by cosine, by brute force."""
    from atlas.findings.ranks import Space, rank_others

    return rank_others(Space(rows, np.ones(len(rows), bool), "cosine"), np.arange(len(rows)), anchors, k).indices


def nearest(plane: Any, anchors: Any, k: int = 15) -> Any:
    from scipy.spatial import cKDTree

    there = np.flatnonzero(np.isfinite(plane).all(axis=1))
    found = there[cKDTree(plane[there]).query(plane[anchors], k + 1, workers=-1)[1]]
    own = found == anchors[:, None]
    return np.take_along_axis(found, np.argsort(own, axis=1, kind="stable")[:, :k], 1)


def recall(plane: Any, anchors: Any, true: Any) -> float:
    there = np.isfinite(plane[anchors]).all(axis=1)
    pairs = zip(nearest(plane, anchors[there]), true[there], strict=True)
    return statistics.fmean(len(set(a) & set(b)) / 15 for a, b in pairs)


def filled(plane: Any, side: int = 64, least: int = 5) -> float:
    """The share of a grid's cells over the whole map, stretched to neither side, that hold so many samples."""
    from atlas.layouts.place import fill_unit_square, mark_outliers

    plane = plane[np.isfinite(plane).all(axis=1)].astype(np.float64)
    outlier = mark_outliers(plane)
    cells = np.minimum((fill_unit_square(plane, outlier)[~outlier] * side).astype(int), side - 1)
    return float((np.bincount(cells[:, 0] * side + cells[:, 1], minlength=side**2) >= least).mean())


def draw(rows: Any, count: int = 1500) -> Any:
    return np.sort(np.random.default_rng(0).choice(len(rows), count, replace=False))


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What the work returns, its seconds on the clock, and of processor time."""
    clock, processor = time.perf_counter(), time.process_time()
    done = work()
    return done, time.perf_counter() - clock, time.process_time() - processor


def peer(rows: Any, seed: int | None = None) -> Any:
    """The peer's map. A seed costs it its second core, so that it is timed without."""
    import umap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return umap.UMAP(metric="cosine", n_neighbors=20, min_dist=0.01, random_state=seed).fit_transform(
            np.asarray(rows, np.float32)
        )


def here(rows: Any, method: str, seed: int = 0) -> Any:
    import atlas

    return atlas.compute_layout(rows, method=method, seed=seed)


def warm_up() -> None:
    """Compile everything once, on either side."""
    rows = np.random.default_rng(0).normal(size=(21_000, 32)).astype(np.float32)
    here(rows, "tsne")
    here(rows[:5000], "umap")
    peer(rows[:5000])


def peers(cache: Path, quick: bool) -> list[Figure]:
    data = activations(cache, "imagenet", "features.10", 100)
    rows = data.rows[:: 4 if quick else 1]
    anchors = draw(rows)
    true = truth(rows, anchors)
    plane, seconds, processor = timed(lambda: peer(rows))
    base = recall(plane, anchors, true)
    figures = [
        Figure("umap-learn on the raw vectors, time", seconds, processor, "s", details={"recall_15": base}),
        Figure("umap-learn: cells of 64 x 64 with 5 samples or more", 100 * filled(plane), None, "%"),
    ]
    for method, share, times in (("tsne", 1 / 4, 4.0), ("umap", 1 / 3, 1.0)):
        layout, took, used = timed(lambda method=method: here(rows, method))
        kept = recall(layout.positions, anchors, true)
        told = {"seconds": took, "recall_15": kept, "rows": len(rows)}
        figures += [
            Figure(f"{method} here: time against umap-learn", took / seconds, used / processor, "x", share, "<=", told),
            Figure(f"{method} here: recall at 15 ({kept:.3f}) against umap-learn's", kept / base, None, "x", times),
            Figure(
                f"{method} here: cells of 64 x 64 with 5 samples or more", 100 * filled(layout.positions), None, "%"
            ),
        ]
    return figures


def sklearn(cache: Path, quick: bool) -> list[Figure]:
    from sklearn.manifold import TSNE

    data = activations(cache, "imagenet", "features.10", 100)
    rows = data.rows[:: 20 if quick else 5]
    anchors = draw(rows)
    true = truth(rows, anchors)
    unit = rows.astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    plane, seconds, processor = timed(lambda: TSNE(init="pca", random_state=0, n_jobs=-1).fit_transform(unit))
    layout, took, used = timed(lambda: here(rows, "tsne"))
    base, kept = recall(plane, anchors, true), recall(layout.positions, anchors, true)
    name = f"t-SNE against scikit-learn's at {len(rows):,}"
    return [
        Figure(f"{name}: time", took / seconds, used / processor, "x", 0.2, "<=", {"theirs": seconds, "here": took}),
        Figure(f"{name}: recall at 15 ({kept:.3f})", kept / base, None, "x", 1.0),
    ]


def classes(cache: Path, quick: bool) -> list[Figure]:
    """Spearman's correlation of the distances of class centroids, map against raw: the mean of several seeds.

    Classes that overlap have centroids near one another, and which way these are pulled apart is the seed's: a single
    map may have 0.3 or 0.8.
    """
    from atlas.findings.classes import compare_classes
    from atlas.findings.ranks import Space

    cases = (
        ("cifar", "layer2", 1, "ResNet-20 layer2"),
        ("cifar", "layer3", 1, "ResNet-20 layer3"),
        ("shapes", "block3", 4, "the embedded set, block3"),
    )
    seeds = range(2 if quick else 5)
    figures = []
    for name, layer, positions, said in cases:
        data = activations(cache, name, layer, positions)
        step = 4 if quick else 1
        rows, image = data.rows[::step], data.image_of[::step]
        label, known = data.store.images.label, len(data.store.classes)

        def judged(plane: Any, rows: Any = rows, image: Any = image, label: Any = label, known: int = known) -> float:
            keep = np.isfinite(plane).all(axis=1)
            raw, flat = Space(rows, keep, "cosine"), Space(np.asarray(plane, np.float32), keep)
            return float(compare_classes(raw, flat, image, label, known).centroids or 0)

        theirs = [judged(peer(rows, seed)) for seed in seeds]
        base = statistics.fmean(theirs)
        for method in ("tsne", "umap"):
            ours = [judged(here(rows, method, seed).positions) for seed in seeds]
            told = {"umap-learn": theirs, "here": ours, "rows": len(rows)}
            span = f"{min(ours):.2f} to {max(ours):.2f}; umap-learn {base:.2f}, {min(theirs):.2f} to {max(theirs):.2f}"
            what = f"{method} here: correlation of class centroids, {said} ({span})"
            figures.append(Figure(what, statistics.fmean(ours), None, "", base, details=told))
    return figures


def planted(_: Path, quick: bool) -> list[Figure]:
    """Gaussian clusters in 64 dimensions, the last of one in a thousand."""
    from atlas.layouts.neighbors import find_neighbors

    total, rng = 20_000 if quick else 100_000, np.random.default_rng(0)
    of = np.append(rng.integers(0, 20, total - total // 1000), np.full(total // 1000, 20))
    rows = (rng.normal(size=(21, 64))[of] + 0.5 * rng.normal(size=(total, 64))).astype(np.float32)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    full = (of[find_neighbors(unit, 15).indices] == of[:, None]).mean()
    figures = []
    for method in ("tsne", "umap"):
        pure = (of[nearest(here(rows, method).positions, np.arange(total))] == of[:, None]).mean(axis=1)
        for name, value in (("all", pure.mean()), ("the rare one", pure[of == 20].mean())):
            label = f"{method} here: purity of planted clusters, {name} (full space {full:.3f})"
            figures.append(Figure(label, float(value), None, "", 0.95))
    return figures


def placed(cache: Path, quick: bool) -> list[Figure]:
    import atlas

    data = activations(cache, "imagenet", "features.10", 100)
    rows = data.rows[:: 4 if quick else 1]
    anchors = draw(rows, 3000)
    true = truth(rows, anchors)
    layout = atlas.compute_layout(rows, fit=len(rows) // 2)
    fitted, others = (recall(layout.positions, anchors[s], true[s]) for s in _states(layout, anchors))
    there = np.flatnonzero(np.isin(layout.state, (0, 1)))
    from scipy.spatial import cKDTree

    gap = cKDTree(layout.positions[there]).query(layout.positions[there], 2, workers=-1)[0][:, 1]
    close = float((gap[layout.state[there] == 1] < 1e-4).mean())
    name = f"half of {len(rows):,} placed"
    return [
        Figure(f"{name}: recall ({others:.3f}) against the fitted ones'", others / fitted, None, "x", 0.6),
        Figure(f"{name}: share within 1e-4 of another", 100 * close, None, "%", 1.0, "<"),
    ]


def _states(layout: Any, anchors: Any) -> tuple[Any, Any]:
    return layout.state[anchors] == 0, layout.state[anchors] == 1


def million(cache: Path, quick: bool) -> list[Figure]:
    """The same network at a larger input; compared with the recall of the smaller case."""
    import atlas

    small = activations(cache, "imagenet", "features.10", 100)
    anchors = draw(small.rows, 2000)
    base = recall(here(small.rows, "tsne").positions, anchors, truth(small.rows, anchors))
    del small
    data = activations(cache, "imagenet", "features.10", 200 if quick else 1000, side=544)
    total, store, layer = len(data.rows), data.store, data.layer
    del data
    layout, seconds, processor = timed(lambda: atlas.compute_layout(store, layer=layer, kind="positions"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rows = store.layers[layer].rows("positions")[:]
    anchors = draw(rows, 2000)
    kept = recall(layout.positions, anchors, truth(rows, anchors))
    told = {"recall_15": kept, "states": layout.counts(), "processor_seconds": processor}
    return [
        Figure(f"{total:,} x 512: time", seconds, processor, "s", 480, "<=", told),
        Figure(f"{total:,} x 512: memory at its peak", peak, None, "GB", 4, "<="),
        Figure(f"{total:,} x 512: recall at 15 ({kept:.3f}) against 100,000's", kept / base, None, "x", 0.6),
    ]


def main() -> None:
    """Measure the parts that are asked for, and report."""
    options = arguments(__doc__ or "", only="parts, with commas", cache="folder of the stores, extracted once")
    wanted = options.only.split(",") if options.only else list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        sys.exit(f"--only knows {', '.join(PARTS)}, not {', '.join(unknown)}")
    cache = Path(options.cache or tempfile.mkdtemp())
    cache.mkdir(parents=True, exist_ok=True)
    test_data()
    warm_up()
    figures = [figure for name in PARTS if name in wanted for figure in globals()[name](cache, options.quick)]
    report(figures, "layout", options)


if __name__ == "__main__":
    main()
