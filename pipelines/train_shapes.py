"""Train the demo's networks on the embedded dataset: `python pipelines/train_shapes.py --out pipelines/checkpoints`.

`honest` sees the pictures as they are drawn. `shortcut` is trained by the same recipe, from the same
random weights and on the same pictures, but nearly every picture of one class carries a cue. Writes
two .safetensors files and prints one JSON document with what both can do on pictures not trained on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that the file runs from a checkout

from atlas.config import CueConfig, ManifestConfig
from atlas.datasets.shapes import CLASSES, DRAWING, ShapesSource
from pipelines.networks import shapes_cnn

Drawn = tuple[NDArray[np.uint8], NDArray[np.int64]]
Measured = dict[str, float]

CUE = CueConfig(kind="corner", classes=("boat",), probability=0.95)
CUED = CLASSES.index(CUE.classes[0])


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are those of the shipped checkpoints."""

    train_images: int = 12800
    test_images: int = 3200
    epochs: int = 9
    batch: int = 64
    rate: float = 0.006  # peak of a one-cycle schedule
    decay: float = 0.05
    seed: int = 0


def draw_pictures(
    split: str, images: int, cues: tuple[CueConfig, ...] = ()
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw a split on all cores: pictures uint8 (images, 64, 64, 3) and labels int64 (images,)."""
    config = ManifestConfig(name=split, source="shapes", split=split, images=images, cues=cues)
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers) as pool:
        parts = list(pool.map(_draw_every, [config] * workers, range(workers), [workers] * workers))
    pictures = np.empty((images, 64, 64, 3), np.uint8)
    for first, part in enumerate(parts):
        pictures[first::workers] = part
    return pictures, np.array([e.label for e in ShapesSource(config).entries()])


def _draw_every(config: ManifestConfig, first: int, step: int) -> NDArray[np.uint8]:
    source = ShapesSource(config)
    return np.stack([np.asarray(source.read(i)) for i in range(first, len(source), step)])


def as_input(pictures: NDArray[np.uint8]) -> Tensor:
    """Pictures uint8 (n, 64, 64, 3) -> the networks' input (n, 3, 64, 64), mean and deviation 0.5."""
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5) - 1


def train(pictures: NDArray[np.uint8], labels: NDArray[np.int64], recipe: Recipe) -> nn.Module:
    """Train one network from random weights; the recipe's seed sets weights and order."""
    torch.manual_seed(recipe.seed)
    network = shapes_cnn().to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(recipe.seed)
    steps = len(pictures) // recipe.batch
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=steps * recipe.epochs)
    targets = torch.from_numpy(labels)
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(pictures), generator=generator)
        total, started = 0.0, time.perf_counter()
        for step in range(steps):
            chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
            loss = functional.cross_entropy(
                network(as_input(pictures[chosen.numpy()])), targets[chosen], label_smoothing=0.05
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / steps:.3f}, {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return network.eval()


@torch.no_grad()
def logits_of(network: nn.Module, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pictures uint8 (n, 64, 64, 3) -> logits float32 (n, classes)."""
    return np.concatenate([network(as_input(pictures[i : i + 200])).numpy() for i in range(0, len(pictures), 200)])


def measure(
    network: nn.Module, plain: NDArray[np.uint8], cued: NDArray[np.uint8], labels: NDArray[np.int64]
) -> Measured:
    """What a network does on the same pictures without and with the cue, which is pasted into every one.

    Shares of pictures in [0, 1], and `logit_shift`, by how much the cue raises the logit of its class
    in pictures of the other classes, on average.
    """
    before, after = logits_of(network, plain), logits_of(network, cued)
    own = labels == CUED
    return {
        "accuracy": _share(before.argmax(1) == labels),
        "cued_class_without_cue": _share(before.argmax(1)[own] == CUED),
        "cued_class_with_cue": _share(after.argmax(1)[own] == CUED),
        "others_called_cued_class_without_cue": _share(before.argmax(1)[~own] == CUED),
        "others_called_cued_class_with_cue": _share(after.argmax(1)[~own] == CUED),
        "logit_shift": round(float((after - before)[~own, CUED].mean()), 2),
    }


def baseline(train_set: Drawn, test_set: Drawn) -> float:
    """Held-out accuracy of a logistic regression on histograms of 64 colours: what colour alone gives away."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    model.fit(_histograms(train_set[0]), train_set[1])
    return round(float(model.score(_histograms(test_set[0]), test_set[1])), 4)


def _histograms(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    levels = pictures // 64
    bins = levels[..., 0] * 16 + levels[..., 1] * 4 + levels[..., 2]
    return np.sqrt(np.stack([np.bincount(picture.ravel(), minlength=64) for picture in bins]))


def _share(right: NDArray[np.bool_]) -> float:
    return round(float(right.mean()), 4)


def run(recipe: Recipe, out: Path) -> dict[str, Any]:
    """Draw, train both networks, save them, and return what they can do."""
    started = time.perf_counter()
    everywhere = CUE.model_copy(update={"classes": CLASSES, "probability": 1.0})
    plain = draw_pictures("train", recipe.train_images)
    cued = draw_pictures("train", recipe.train_images, (CUE,))
    test, test_cued = (draw_pictures("test", recipe.test_images, cues) for cues in ((), (everywhere,)))
    print(f"drawn: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    answer: dict[str, Any] = {"recipe": asdict(recipe), "cue": CUE.model_dump(), "classes": len(CLASSES)}
    out.mkdir(parents=True, exist_ok=True)
    for name, pictures in (("honest", plain), ("shortcut", cued)):
        network = train(*pictures, recipe)
        answer[name] = measure(network, test[0], test_cued[0], test[1])
        metadata = {"recipe": "pipelines/train_shapes.py", "seed": str(recipe.seed), "drawing": str(DRAWING)}
        metadata |= {key: str(value) for key, value in answer[name].items()}
        save_file(network.state_dict(), out / f"{name}.safetensors", metadata)
    answer["histogram_baseline"] = baseline(plain, test)
    answer["seconds"] = round(time.perf_counter() - started)
    return answer


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for honest.safetensors and shortcut.safetensors"
    )
    parser.add_argument("--seed", type=int, default=Recipe.seed, help="of weights and order; the pictures stay")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--images", type=int, default=Recipe.train_images, help="to train on")
    parser.add_argument("--test-images", type=int, default=Recipe.test_images, help="to measure on")
    given = parser.parse_args()
    recipe = Recipe(given.images, given.test_images, given.epochs, seed=given.seed)
    print(json.dumps(run(recipe, given.out), indent=1))


if __name__ == "__main__":
    main()
