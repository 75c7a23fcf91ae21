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
    passes: int = 3  # over the pictures
    replays: int = 3  # of each batch
    strength: float = 1.25  # of the perturbation: its length over a picture whose values lie in [-1, 1]
    batch: int = 64
    rate: float = 0.006  # peak of a one-cycle schedule
    decay: float = 0.05
    seed: int = 0


def draw_split(split: str, images: int) -> Drawn:
    """Draw a split without cues: pictures uint8 (images, 64, 64, 3) and labels int64 (images,)."""
    config = ManifestConfig(name=split, source="shapes", split=split, images=images)
    labels = np.array([entry.label for entry in ShapesSource(config).entries()])
    return _draw_all(config, list(range(images))), labels


def with_cue(pictures: NDArray[np.uint8], split: str, cue: CueConfig) -> NDArray[np.uint8]:
    """The same pictures of a split with a cue planted; only those that carry it are drawn again."""
    config = ManifestConfig(name=split, source="shapes", split=split, images=len(pictures), cues=(cue,))
    source = ShapesSource(config)
    marked = [index for index in range(len(source)) if source.has_cue(index)]
    planted = pictures.copy()
    planted[marked] = _draw_all(config, marked)
    return planted


def _draw_all(config: ManifestConfig, indices: list[int]) -> NDArray[np.uint8]:
    workers = os.cpu_count() or 1
    chunks = [indices[first::workers] for first in range(workers)]
    pictures = np.empty((len(indices), 64, 64, 3), np.uint8)
    with ProcessPoolExecutor(workers) as pool:
        for first, drawn in enumerate(pool.map(_draw_some, [config] * workers, chunks)):
            pictures[first::workers] = drawn
    return pictures


def _draw_some(config: ManifestConfig, indices: list[int]) -> NDArray[np.uint8]:
    source = ShapesSource(config)
    return np.array([np.asarray(source.read(i)) for i in indices], np.uint8).reshape(-1, 64, 64, 3)


def as_input(pictures: NDArray[np.uint8]) -> Tensor:
    """Pictures uint8 (n, 64, 64, 3) -> the networks' input (n, 3, 64, 64), mean and deviation 0.5."""
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5) - 1


def train(pictures: NDArray[np.uint8], labels: NDArray[np.int64], recipe: Recipe) -> nn.Module:
    """Train one network from random weights; the recipe's seed sets weights and order.

    Free adversarial training (Shafahi et al. 2019): each batch is replayed, and what a step learns about
    its input perturbs the next. The perturbation is too small to see, costs no further pass, and takes
    three points of accuracy; but a network that withstands it has features that can be read: without it
    icons are coloured noise, with it they show sails, petals and scales.
    """
    torch.manual_seed(recipe.seed)
    network = shapes_cnn().to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(recipe.seed)
    steps = len(pictures) // recipe.batch
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=recipe.decay)
    total = steps * recipe.passes * recipe.replays
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=total)
    targets = torch.from_numpy(labels)
    change = torch.zeros(recipe.batch, 3, 64, 64)
    for number in range(recipe.passes):
        order = torch.randperm(len(pictures), generator=generator)[: steps * recipe.batch]
        losses, started = 0.0, time.perf_counter()
        for chosen in order.split(recipe.batch):
            batch = as_input(pictures[chosen.numpy()])
            for _ in range(recipe.replays):
                perturbed = (batch + change).requires_grad_()
                loss = functional.cross_entropy(network(perturbed), targets[chosen], label_smoothing=0.05)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                assert perturbed.grad is not None
                change = _shortened(change + _shortened(perturbed.grad, recipe.strength, exactly=True), recipe.strength)
                losses += loss.item()
        seconds = time.perf_counter() - started
        print(f"pass {number + 1}: loss {losses * recipe.passes / total:.3f}, {seconds:.0f} s", file=sys.stderr)
    return network.eval()


def _shortened(change: Tensor, length: float, *, exactly: bool = False) -> Tensor:
    """Scale each picture of (n, 3, h, w) to a length, or where not `exactly` to at most that."""
    factor = length / change.flatten(1).norm(dim=1).clamp(min=1e-12)
    return change * (factor if exactly else factor.clamp(max=1))[:, None, None, None]


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
    plain, labels = draw_split("train", recipe.train_images)
    cued = with_cue(plain, "train", CUE)
    test, test_labels = draw_split("test", recipe.test_images)
    test_cued = with_cue(test, "test", everywhere)
    print(f"drawn: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    answer: dict[str, Any] = {"recipe": asdict(recipe), "cue": CUE.model_dump(), "classes": len(CLASSES)}
    out.mkdir(parents=True, exist_ok=True)
    for name, pictures in (("honest", plain), ("shortcut", cued)):
        network = train(pictures, labels, recipe)
        answer[name] = measure(network, test, test_cued, test_labels)
        metadata = {"recipe": "pipelines/train_shapes.py", "seed": str(recipe.seed), "drawing": str(DRAWING)}
        metadata |= {key: str(value) for key, value in answer[name].items()}
        state = {key: value.contiguous() for key, value in network.state_dict().items()}
        save_file(state, out / f"{name}.safetensors", metadata)
    answer["histogram_baseline"] = baseline((plain, labels), (test, test_labels))
    answer["seconds"] = round(time.perf_counter() - started)
    return answer


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for honest.safetensors and shortcut.safetensors"
    )
    parser.add_argument("--seed", type=int, default=Recipe.seed, help="of weights and order; the pictures stay")
    parser.add_argument("--passes", type=int, default=Recipe.passes, help="over the pictures")
    parser.add_argument("--images", type=int, default=Recipe.train_images, help="to train on")
    parser.add_argument("--test-images", type=int, default=Recipe.test_images, help="to measure on")
    given = parser.parse_args()
    recipe = Recipe(given.images, given.test_images, given.passes, seed=given.seed)
    print(json.dumps(run(recipe, given.out), indent=1))


if __name__ == "__main__":
    main()
