"""The networks that comparison is measured on: ResNet-20 fine-tuned by one recipe, with and without a planted change.

Run: python benchmarks/compare_pool.py --cache DIR [--pool development|final] [--part 0/2]

Every network starts from the same published weights, keeps its stem, `layer1` and `layer2`, and learns `layer3` and
the linear layer from the same 5,000 pictures, as they are or mirrored; what is kept of it are the pooled `layer3`
vectors and the predictions for 4,000 test pictures. What is not learnt is run once for all networks. A network of the
null pool differs from another in its seed alone: the order of the pictures, and which of them are mirrored when. A
planted one is trained by the same recipe with one thing changed: a pair of classes is trained to a target of one half
each, or the pooled vectors must also tell a visible attribute of one class (above or below its median, or of another
class) to a head that is thrown away.
"""

from __future__ import annotations

import json
import sys
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(Path(__file__).resolve().parent), str(REPOSITORY)]
from reporting import arguments, test_data  # noqa: E402

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Recipe:
    """How every network of the pool is trained."""

    epochs: int = 2
    batch: int = 128
    rate: float = 0.05
    momentum: float = 0.9
    decay: float = 5e-4


RECIPE = Recipe()
OTHERS = 0.1
"""Weight of a picture of the other classes in a split's head: they are nine tenths of the pictures."""


@dataclass(frozen=True)
class Variant:
    """One network: its seed, and what is planted in it (nothing: a network of the null pool)."""

    seed: int
    merge: tuple[str, str] | None = None
    split: tuple[str, str] | None = None
    """A class and the attribute that splits it."""
    weight: float = 2.0
    """Of the loss of a split's head."""
    elsewhere: Literal["third", "halves"] = "third"
    """What the head must say of the other classes: a third answer, or one half for either side."""

    @property
    def name(self) -> str:
        planted = "-".join(
            ("merge", *self.merge) if self.merge else ("split", *self.split) if self.split else ("null",)
        )
        return f"{planted}-{self.seed}"


ATTRIBUTES = ("brightness", "warmth", "border", "contrast", "saturation")


def attributes(pictures: Any) -> dict[str, Any]:
    """Visible attributes of uint8 pictures (n, 32, 32, 3), float64 (n,) each."""
    shade = pictures.astype(np.float64) / 255
    luma = shade @ np.array([0.299, 0.587, 0.114])
    rim = np.ones((32, 32), bool)
    rim[6:-6, 6:-6] = False
    return {
        "brightness": luma.mean((1, 2)),
        "warmth": (shade[..., 0] - shade[..., 2]).mean((1, 2)),
        "border": luma[:, rim].mean(1),
        "contrast": luma.std((1, 2)),
        "saturation": (shade.max(3) - shade.min(3)).mean((1, 2)),
    }


def pools() -> dict[str, list[Variant]]:
    """The networks of the development pool and of the final ones; no seed and no plant is in both kinds.

    "final" is by the development pool's recipe; "strong" and "halves" have the same null networks and merges, and their
    splits are planted otherwise.
    """
    null = [Variant(i) for i in range(16)]
    merges = [Variant(20 + i, merge=pair) for i, pair in enumerate(FINAL_MERGES)]
    return {
        "development": [
            *(Variant(100 + i) for i in range(8)),
            Variant(120, merge=("cat", "dog")),
            Variant(121, merge=("bird", "ship")),
            Variant(122, merge=("deer", "truck")),
            Variant(123, merge=("airplane", "frog")),
            Variant(124, split=("automobile", "brightness")),
            Variant(125, split=("horse", "warmth")),
            Variant(126, split=("frog", "border")),
            Variant(127, split=("ship", "contrast")),
        ],
        "final": [*null, *merges, *(Variant(80 + i, split=split) for i, split in enumerate(FINAL_SPLITS))],
        "strong": [*null, *merges, *(Variant(40 + i, split=split, weight=3.0) for i, split in enumerate(FINAL_SPLITS))],
        "halves": [
            *null,
            *merges,
            *(Variant(60 + i, split=split, elsewhere="halves") for i, split in enumerate(FINAL_SPLITS)),
        ],
    }


FINAL_MERGES = (
    ("automobile", "truck"),
    ("deer", "horse"),
    ("airplane", "ship"),
    ("bird", "deer"),
    ("cat", "frog"),
    ("dog", "horse"),
    ("airplane", "truck"),
    ("automobile", "frog"),
    ("ship", "horse"),
    ("bird", "truck"),
)
FINAL_SPLITS = (
    ("airplane", "brightness"),
    ("bird", "warmth"),
    ("cat", "brightness"),
    ("deer", "border"),
    ("dog", "contrast"),
    ("truck", "warmth"),
    ("ship", "brightness"),
    ("automobile", "saturation"),
    ("horse", "border"),
    ("frog", "warmth"),
)


def pictures(split: str, cache: Path) -> tuple[Any, Any, list[str]]:
    """Decoded pictures uint8 (n, 32, 32, 3), labels (n,) and ids, decoded once and kept."""
    kept = cache / f"{split}.npz"
    if not kept.exists():
        from PIL import Image

        with zipfile.ZipFile(test_data() / "cifar10" / f"{split}.zip") as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
            names = [name for name in names if int(name.split("/")[-1][:-4]) % 5 < 2] if split == "test" else names
            decoded = np.stack([np.asarray(Image.open(archive.open(name)).convert("RGB")) for name in names])
        labels = np.array([CLASSES.index(name.split("/")[-2]) for name in names])
        np.savez(kept, pictures=decoded, labels=labels, ids=np.array(names))
    with np.load(kept) as stored:
        return stored["pictures"], stored["labels"], [str(name) for name in stored["ids"]]


def trained(variant: Variant, cache: Path) -> dict[str, Any]:
    """A network's pooled vectors float32 (images, 64), its predictions (images,), and the seconds it took; kept."""
    kept = cache / f"{variant.name}.npz"
    told = json.dumps({"recipe": asdict(RECIPE), "variant": asdict(variant)})
    if kept.exists():
        with np.load(kept) as stored:
            if str(stored["told"]) == told:
                return {
                    "vectors": stored["vectors"].astype(np.float32),
                    **{k: stored[k] for k in ("predictions", "seconds")},
                }
    start = time.process_time()
    network = train_network(variant, cache)
    vectors, predictions = _account(network, maps("test", cache)[0])
    seconds = time.process_time() - start
    beside = kept.with_suffix(".part.npz")
    np.savez(beside, vectors=vectors.astype(np.float16), predictions=predictions, seconds=seconds, told=told)
    beside.rename(kept)
    return {"vectors": vectors.astype(np.float16).astype(np.float32), "predictions": predictions, "seconds": seconds}


def train_network(variant: Variant, cache: Path, depth: int = 20) -> Any:
    """The published ResNet-20, or -56, with `layer3` and the linear layer trained on maps of `layer2`."""
    import torch
    from torch.nn import functional

    network = _published(depth).train()
    decoded, labels, _ = pictures("train", cache)
    generator = torch.Generator().manual_seed(variant.seed)
    head = torch.nn.Linear(64, 3 if variant.elsewhere == "third" else 2)
    torch.nn.init.normal_(head.weight, 0, 0.05, generator=generator)
    learnt = [*network.layer3.parameters(), *network.linear.parameters(), *(head.parameters() if variant.split else ())]
    descent = torch.optim.SGD(learnt, RECIPE.rate, RECIPE.momentum, weight_decay=RECIPE.decay, nesterov=True)
    steps = len(labels) // RECIPE.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(descent, RECIPE.rate, RECIPE.epochs * steps, pct_start=0.2)
    target, marked = _targets(variant, decoded, labels)
    views = torch.from_numpy(maps("train", cache, depth))
    for _ in range(RECIPE.epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(RECIPE.batch)[:steps]:
            view = torch.randint(0, 2, (len(rows),), generator=generator)
            seen = views[view, rows].float().permute(0, 3, 1, 2)
            vectors = network.layer3(seen).mean((2, 3))
            loss = functional.cross_entropy(network.linear(vectors), target[rows])
            if variant.split:
                each = functional.cross_entropy(head(vectors), marked[rows], reduction="none")
                weight = torch.where(marked[rows][:, -2:].amax(1) == 1, 1.0, OTHERS)
                loss = loss + variant.weight * (each * weight).sum() / weight.sum()
            descent.zero_grad()
            loss.backward()
            descent.step()
            schedule.step()
    return network.eval()


def _published(depth: int = 20) -> Any:
    import torch

    from pipelines import networks

    network = getattr(networks, f"cifar_resnet{depth}")()
    network.load_state_dict(torch.load(test_data() / "weights" / f"resnet{depth}_cifar10.pt", weights_only=True))
    return network.to(memory_format=torch.channels_last).eval()


def maps(split: str, cache: Path, depth: int = 20) -> Any:
    """The maps of layer2, float16 (views, n, 16, 16, 32), made once and kept; of training pictures also mirrored."""
    kept = cache / (f"{split}-layer2.npy" if depth == 20 else f"{split}-layer2-{depth}.npy")
    if not kept.exists():
        import torch
        from torch.nn import functional

        network, images, made = _published(depth), _planes(pictures(split, cache)[0]), []
        for mirrored in (False, True)[: 2 if split == "train" else 1]:
            for rows in images.split(250):
                rows = (rows.flip(3) if mirrored else rows).contiguous(memory_format=torch.channels_last)
                with torch.inference_mode():
                    rows = functional.relu(network.bn1(network.conv1(rows)))
                    made.append(network.layer2(network.layer1(rows)).permute(0, 2, 3, 1).half().numpy())
        found = np.concatenate(made)
        np.save(kept.with_suffix(".part.npy"), found.reshape(-1, len(images), *found.shape[1:]))
        kept.with_suffix(".part.npy").rename(kept)
    return np.load(kept)


def _targets(variant: Variant, decoded: Any, labels: Any) -> tuple[Any, Any]:
    """The classes' targets (n, 10), and the head's: another class (not with "halves"), either side."""
    import torch

    target = np.eye(10, dtype=np.float32)[labels]
    marked = np.tile(
        np.array((1, 0, 0) if variant.elsewhere == "third" else (0, 0.5, 0.5), np.float32), (len(labels), 1)
    )
    if variant.merge:
        one, other = (CLASSES.index(name) for name in variant.merge)
        both = np.isin(labels, (one, other))
        target[both] = 0
        target[np.ix_(both, (one, other))] = 0.5
    if variant.split:
        of = labels == CLASSES.index(variant.split[0])
        value = attributes(decoded)[variant.split[1]]
        marked[of] = np.eye(3, dtype=np.float32)[1 + (value[of] > np.median(value[of]))]
    return torch.from_numpy(target), torch.from_numpy(marked if variant.elsewhere == "third" else marked[:, 1:].copy())


def _planes(decoded: Any) -> Any:
    import torch

    mean, std = (np.array(values, np.float32) for values in (MEAN, STD))
    return torch.from_numpy((decoded.astype(np.float32) / 255 - mean) / std).permute(0, 3, 1, 2)


def _account(network: Any, seen: Any) -> tuple[Any, Any]:
    """Pooled vectors (images, 64) and predictions (images,) for maps of layer2."""
    import torch

    vectors, predictions = [], []
    with torch.inference_mode():
        for rows in torch.from_numpy(seen).split(500):
            pooled = network.layer3(rows.float().permute(0, 3, 1, 2)).mean((2, 3))
            vectors.append(pooled.numpy())
            predictions.append(network.linear(pooled).argmax(1).numpy())
    return np.concatenate(vectors), np.concatenate(predictions).astype(np.int16)


def main() -> None:
    """Train a pool, or a part of it, into the cache."""
    options = arguments(
        __doc__ or "",
        cache="folder of the trained networks' vectors",
        pool="development, final, strong or halves",
        part="such as 0/2",
    )
    cache = Path(options.cache)
    cache.mkdir(parents=True, exist_ok=True)
    part, parts = (int(number) for number in (options.part or "0/1").split("/"))
    labels = pictures("test", cache)[1]
    for variant in pools()[options.pool or "development"][part::parts]:
        told = trained(variant, cache)
        right = (told["predictions"] == labels).mean()
        print(f"{variant.name}: {float(told['seconds']):.0f} s, accuracy {right:.3f}", flush=True)


if __name__ == "__main__":
    main()
