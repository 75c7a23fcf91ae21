"""ResNet-20 against ResNet-56 with references: what the deeper network does beyond what a new seed does.

Run: python benchmarks/compare_depth.py --cache DIR [--quick] [--out F]

The published weights are each of one training, so nothing says what a second one would change. Here both networks are
trained on by one recipe, that of compare_pool.py (`layer3` and the linear layer, two epochs of CIFAR-10's 5,000
pictures): ResNet-56 with one seed, ResNet-20 with one as the network compared and four as its references. Stem,
`layer1` and `layer2` are the published ones in all ResNet-20, so the floor is what retraining the last stage changes,
and less than what training from scratch would. Networks, stores and atlases are kept in the cache; training is timed
apart.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from compare_pool import REPOSITORY, Variant, train_network
from reporting import Figure, arguments, report, test_data

SEED, REFERENCES = 200, (201, 202, 203, 204)
PIPELINE = """
[data]
manifest = "{manifest}"
{limit}
[model]
factory = "python:pipelines.networks:cifar_resnet{depth}"
checkpoint = "{checkpoint}"
layers = ["layer3"]
classes = "folders"

[model.preprocess]
resize = 32
crop = 32
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]

[layout]
rows = "mean"

[icons]
levels = 1
"""


def checkpoint(depth: int, seed: int, cache: Path) -> tuple[Path, float | None]:
    """A trained network's weights, and the processor time that training took; None where they were there."""
    import torch

    kept = cache / f"resnet{depth}-{seed}.pt"
    if kept.exists():
        return kept, None
    start = time.process_time()
    network = train_network(Variant(seed), cache, depth)
    took = time.process_time() - start
    torch.save(network.state_dict(), kept.with_suffix(".part"))
    kept.with_suffix(".part").rename(kept)
    return kept, took


def pipeline(name: str, depth: int, weights: Path, cache: Path, quick: bool) -> Path:
    """Write a pipeline file for a network; return its path."""
    path = cache / f"{name}.toml"
    manifest = REPOSITORY / "data_manifests" / "cifar10_test.toml"
    limit = "limit = 2000\n" if quick else ""
    path.write_text(PIPELINE.format(manifest=manifest, limit=limit, depth=depth, checkpoint=weights))
    return path


def told(diff: Any) -> list[Figure]:
    """A comparison's figures, with its list and its classes as details."""
    document, rows = diff.document, []
    for key in ("cka", "procrustes", "neighbor_overlap"):
        low, high = document["noise_floor"][key]
        rows.append(Figure(f"{key} (retrained {low:.3f} to {high:.3f})", document[key], None, ""))
    beyond = [row["class"] for row in document["classes"] if row["p"] is not None and row["p"] <= 0.05]
    rows.append(Figure("classes of 10 with fewer neighbours in common than retrained", len(beyond), None, ""))
    more = {
        "changes": [[change["p"], change["text"]] for change in document["changes"]],
        "classes": document["classes"],
    }
    more |= {"beyond": beyond, "tested": document["tested"].get("tests"), "flips": document["flips"]}
    return [*rows, Figure("listed changes", len(document["changes"]), None, "", details=more)]


def main() -> None:
    """Train, extract, compare, report."""
    options = arguments(__doc__ or "", cache="folder of the networks and their atlases")
    test_data()  # which the manifest names
    cache = Path(options.cache).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    from atlas.comparison import compare
    from atlas.pipeline import build, extract_store

    size = "-quick" if options.quick else ""
    trained = {(20, SEED): "shallow", (56, SEED): "deep"} | {(20, seed): f"seed{seed}" for seed in REFERENCES}
    weights, seconds = {}, {}
    for (depth, seed), name in trained.items():
        weights[name], seconds[name] = checkpoint(depth, seed, cache)
    files = {
        name + size: pipeline(name + size, depth, weights[name], cache, options.quick)
        for (depth, _), name in trained.items()
    }
    references = [
        extract_store(file, cache / f"{name}.store") for name, file in files.items() if name.startswith("seed")
    ]
    atlases = {
        name: build(file, cache / f"{name}.atlas") for name, file in files.items() if not name.startswith("seed")
    }
    start = time.process_time()
    diff = compare(*atlases.values(), out=cache / f"shallow-deep{size}.diff", references=references)
    figures = [*told(diff), Figure("comparison, processor time", time.process_time() - start, None, "s")]
    for name, built in atlases.items():
        right = float((built.images.prediction == built.images.label).mean())
        figures.append(Figure(f"accuracy of {name}", 100 * right, None, "%"))
    for name, took in seconds.items():
        if took is not None:
            figures.append(Figure(f"training {name}, processor time", took, None, "s"))
    report(figures, "compare_depth", options)


if __name__ == "__main__":
    main()
