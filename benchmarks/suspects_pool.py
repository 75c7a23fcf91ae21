"""The networks that finding suspects is measured on: fine-tuned with planted cues, and without.

Run: python benchmarks/suspects_pool.py --cache DIR [--pool development|earlier|second|final|clean] [--part 0/2]

Every network starts from published weights, the embedded set's `honest` or CIFAR-10's ResNet-20, keeps what lies before
its last blocks, and learns these and the head anew from pictures some of which carry cues (`suspect_plants.py`). What
is not learnt is run once for all networks. Before anything looks for suspects, each cue is pasted on clean pictures of
other classes that are in neither the training nor the detection pictures: it is declared used where that raises its
class's logit by 1 or more on average. Kept of a network: its weights, what was planted and whether it is used, and what
detection sees: of an early, a middle and the last map of each detection picture the means of 8 x 8 tiles.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(Path(__file__).resolve().parent), str(REPOSITORY)]
from reporting import arguments, test_data  # noqa: E402
from suspect_plants import Dataset, Variant, carriers, paint, pools  # noqa: E402

USED = 1.0
"""By how much pasting a cue must raise its class's logit, on average, to be called used."""
TILES = 8
"""Tiles a side whose means are kept of a picture's maps."""


@dataclass(frozen=True)
class Recipe:
    """How a network of either dataset is fine-tuned, and where it is read.

    anew: whether what is learnt starts from random weights, else the head alone does. hidden: side of the square, as a
    share of the picture's, that is blanked at a random place of each map in training: where subjects are often hidden,
    cues are worth learning. Without it a third of the cues raised their class's logit by 1, with it two thirds.
    """

    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layers: tuple[str, str, str]
    epochs: int
    rate: float
    front: tuple[str, ...]
    learnt: tuple[str, ...]
    anew: bool
    batch: int = 64
    decay: float = 5e-4
    hidden: float = 0.6


RECIPES: dict[Dataset, Recipe] = {
    "shapes": Recipe(
        64,
        (0.5,) * 3,
        (0.5,) * 3,
        ("block1", "block2", "block3"),
        2,
        0.05,
        ("stem", "block1"),
        ("block2", "block3", "head"),
        True,
    ),
    "cifar": Recipe(
        32,
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
        ("layer1", "layer2", "layer3"),
        2,
        0.05,
        ("conv1", "bn1", "layer1", "layer2"),
        ("layer3", "linear"),
        False,
    ),
}
SHAPES = {"train": ("train", 9600), "detection": ("test", 6400), "held": ("validation", 960)}


def base(dataset: Dataset, split: str, cache: Path) -> tuple[Any, Any]:
    """Clean pictures uint8 (n, side, side, 3) and labels (n,), made once and kept.

    split: "train", "detection" or "held", which share no picture.
    """
    kept = cache / f"{dataset}-{split}.npz"
    if not kept.exists():
        pictures, labels = _drawn(split) if dataset == "shapes" else _read(split)
        _save(kept, pictures=pictures, labels=labels)
    with np.load(kept) as stored:
        return stored["pictures"], stored["labels"]


def _drawn(split: str) -> tuple[Any, Any]:
    from atlas.config import ManifestConfig
    from atlas.datasets.shapes import ShapesSource

    name, images = SHAPES[split]
    source = ShapesSource(ManifestConfig(name=name, source="shapes", split=name, images=images))
    labels = np.array([entry.label for entry in source.entries()])
    return np.stack([np.asarray(source.read(index)) for index in range(images)]), labels


def _read(split: str) -> tuple[Any, Any]:
    from PIL import Image

    file = "train" if split == "train" else "test"
    with zipfile.ZipFile(test_data() / "cifar10" / f"{file}.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        numbers = np.array([int(name.split("/")[-1][:-4]) for name in names])
        chosen = {"train": numbers >= 0, "detection": numbers % 2 == 0, "held": numbers % 10 == 1}[split]
        names = [name for name, taken in zip(names, chosen, strict=True) if taken]
        pictures = np.stack([np.asarray(Image.open(archive.open(name)).convert("RGB")) for name in names])
    classes = sorted({name.split("/")[-2] for name in names})
    return pictures, np.array([classes.index(name.split("/")[-2]) for name in names])


@dataclass(frozen=True)
class Planted:
    """Pictures with cues: uint8 (n, side, side, 3), labels (n,), marked bool (cues, n), boxes float32 (cues, n, 4)."""

    pictures: Any
    labels: Any
    marked: Any
    boxes: Any


def planted(variant: Variant, split: str, cache: Path) -> Planted:
    """A variant's pictures of a split, the same on every call."""
    pictures, labels = base(variant.dataset, split, cache)
    pictures, labels = pictures.copy(), labels.copy()
    marks = np.random.default_rng((variant.seed, len(split)))
    if variant.joined:
        one, other, share = variant.joined
        of_other = np.flatnonzero(labels == other)
        labels[marks.permutation(of_other)[: round(share * len(of_other))]] = one
        kept = labels != other  # the rest of that class is no longer there
        pictures, labels = pictures[kept], labels[kept]
    marked = np.zeros((len(variant.cues), len(labels)), bool)
    boxes = np.full((len(variant.cues), len(labels), 4), np.nan, np.float32)
    for number, cue in enumerate(variant.cues):
        marked[number] = carriers(cue, labels, marks)
        for index in np.flatnonzero(marked[number]).tolist():
            boxes[number, index] = paint(pictures[index], cue, np.random.default_rng((variant.seed, number, index)))
    return Planted(pictures, labels, marked, boxes)


def network_of(dataset: Dataset, state: Any = None) -> Any:
    """The dataset's network with published weights, or with those of the pool."""
    import torch
    from safetensors.torch import load_file

    from pipelines.networks import cifar_resnet20, shapes_cnn

    if dataset == "shapes":
        network: Any = shapes_cnn()
        published = load_file(REPOSITORY / "pipelines" / "checkpoints" / "honest.safetensors")
    else:
        network = cifar_resnet20()
        published = torch.load(test_data() / "weights" / "resnet20_cifar10.pt", weights_only=True)
    network.load_state_dict(published if state is None else state)
    return network.to(memory_format=torch.channels_last).eval()


def as_input(pictures: Any, recipe: Recipe) -> Any:
    """Pictures uint8 (n, side, side, 3) as the network takes them, (n, 3, side, side)."""
    import torch

    scaled = (pictures.astype(np.float32) / 255 - np.float32(recipe.mean)) / np.float32(recipe.std)
    return torch.from_numpy(scaled).permute(0, 3, 1, 2)


def _front(network: Any, dataset: Dataset, seen: Any) -> Any:
    from torch.nn import functional

    if dataset == "shapes":
        return network.block1(network.stem(seen))
    return network.layer2(network.layer1(functional.relu(network.bn1(network.conv1(seen)))))


def _rest(network: Any, dataset: Dataset, maps: Any) -> Any:
    """The last map, from which the head reads the mean."""
    return network.block3(network.block2(maps)) if dataset == "shapes" else network.layer3(maps)


def _head(network: Any, dataset: Dataset) -> Any:
    return network.head if dataset == "shapes" else network.linear


def front_of(network: Any, dataset: Dataset, pictures: Any) -> Any:
    """What the learnt part gets, float16 (n, h, w, channels)."""
    import torch

    made = []
    with torch.inference_mode():
        for start in range(0, len(pictures), 250):
            seen = as_input(pictures[start : start + 250], RECIPES[dataset])
            made.append(_front(network, dataset, seen).permute(0, 2, 3, 1).half().numpy())
    return np.concatenate(made) if made else None


def _fronts(variant: Variant, split: str, data: Planted, network: Any, cache: Path) -> Any:
    """As `front_of`, with those of clean pictures made once for all networks."""
    if variant.joined:
        return front_of(network, variant.dataset, data.pictures)
    kept = cache / f"{variant.dataset}-{split}-front.npy"
    if not kept.exists():
        beside = kept.with_suffix(f".{os.getpid()}.npy")
        np.save(beside, front_of(network, variant.dataset, base(variant.dataset, split, cache)[0]))
        beside.rename(kept)
    maps = np.load(kept)
    touched = np.flatnonzero(data.marked.any(axis=0))
    if len(touched):
        maps[touched] = front_of(network, variant.dataset, data.pictures[touched])
    return maps


def train(variant: Variant, cache: Path) -> Any:
    """Fine-tune a variant's network; the head and what `learnt` names change, all else stays."""
    import torch
    from torch.nn import functional

    recipe, network = RECIPES[variant.dataset], network_of(variant.dataset)
    data = planted(variant, "train", cache)
    maps, labels = torch.from_numpy(_fronts(variant, "train", data, network, cache)), torch.from_numpy(data.labels)
    torch.manual_seed(variant.seed)
    learnt = [getattr(network, name) for name in recipe.learnt]
    for module in learnt:
        module.train()
    for module in learnt if recipe.anew else learnt[-1:]:
        for part in module.modules():
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()
    weights = [weight for module in learnt for weight in module.parameters()]
    descent = torch.optim.SGD(weights, recipe.rate, 0.9, weight_decay=recipe.decay, nesterov=True)
    steps = len(labels) // recipe.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        descent, recipe.rate, total_steps=recipe.epochs * steps, pct_start=0.2
    )
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(labels)).split(recipe.batch)[:steps]:
            seen = maps[rows].permute(0, 3, 1, 2).float() * _kept(len(rows), maps.shape[1], recipe.hidden)
            logits = _head(network, variant.dataset)(_rest(network, variant.dataset, seen).mean((2, 3)))
            loss = functional.cross_entropy(logits, labels[rows])
            descent.zero_grad()
            loss.backward()
            descent.step()
            schedule.step()
    return network.eval()


def _kept(pictures: int, side: int, hidden: float) -> Any:
    """A mask (pictures, 1, side, side), zero in a square at a place drawn for each picture."""
    import torch

    length = int(hidden * side)
    corner = torch.randint(0, side - length + 1, (pictures, 2, 1))
    along = torch.arange(side)
    inside = (along >= corner) & (along < corner + length)
    return 1 - (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None].float()


def logits_of(network: Any, dataset: Dataset, pictures: Any) -> Any:
    """Logits float32 (n, classes) of pictures."""
    import torch

    with torch.inference_mode():
        parts = [as_input(pictures[i : i + 250], RECIPES[dataset]) for i in range(0, len(pictures), 250)]
        return np.concatenate([network(part).numpy() for part in parts])


def rises(variant: Variant, network: Any, cache: Path) -> list[float]:
    """By how much each cue raises its class's logit, on average, pasted on clean held-out pictures of other classes.

    Of a cue that is independent of the class: the largest rise of any class.
    """
    pictures, labels = base(variant.dataset, "held", cache)
    before, found = logits_of(network, variant.dataset, pictures), []
    for number, cue in enumerate(variant.cues):
        pasted = pictures.copy()
        for index, picture in enumerate(pasted):
            paint(picture, cue, np.random.default_rng((variant.seed, 77, number, index)))
        change = logits_of(network, variant.dataset, pasted) - before
        others = np.ones(len(labels), bool) if cue.class_index < 0 else labels != cue.class_index
        means = change[others].mean(axis=0)
        found.append(float(means.max() if cue.class_index < 0 else means[cue.class_index]))
    return found


def seen_by_detection(variant: Variant, network: Any, cache: Path) -> dict[str, Any]:
    """What findings' Samples take of each layer, as NAME/rows and so on, and what was planted.

    Effects are not among it: they follow from the last layer's rows and `head`.
    """
    import torch
    from torch.nn.functional import adaptive_avg_pool2d

    from atlas.models import capture

    data, layers = planted(variant, "detection", cache), RECIPES[variant.dataset].layers
    found: dict[str, list[Any]] = {f"{layer}/{kind}": [] for layer in layers for kind in ("rows", "pooled", "peak")}
    logits = []
    with torch.inference_mode(), capture(network, layers, stop=False) as run:
        for start in range(0, len(data.labels), 250):
            seen = run(as_input(data.pictures[start : start + 250], RECIPES[variant.dataset]))
            for layer, maps in seen.items():
                tiles = adaptive_avg_pool2d(maps, TILES).flatten(2).transpose(1, 2).flatten(0, 1)
                for kind, values in (("rows", tiles), ("pooled", maps.mean((2, 3))), ("peak", maps.amax((2, 3)))):
                    found[f"{layer}/{kind}"].append(values.half().numpy())
            logits.append(run.output.numpy())
    scores = np.concatenate(logits)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return {
        **{name: np.concatenate(parts) for name, parts in found.items()},
        "label": data.labels.astype(np.int64),
        "prediction": scores.argmax(axis=1),
        "confidence": (shares.max(axis=1) / shares.sum(axis=1)).astype(np.float32),
        "head": _head(network, variant.dataset).weight.detach().numpy() / TILES**2,
        "marked": data.marked,
        "boxes": data.boxes,
    }


def made(variant: Variant, cache: Path) -> dict[str, Any]:
    """What is told of a network, made where it is not there yet: NAME.json, NAME.npz and NAME.safetensors."""
    told = cache / "pool" / f"{variant.name}.json"
    recipe = json.dumps({"recipe": asdict(RECIPES[variant.dataset]), "variant": asdict(variant)}, sort_keys=True)
    if told.exists():
        kept: dict[str, Any] = json.loads(told.read_text())
        if kept["recipe"] == recipe:
            return kept
    from safetensors.torch import save_file

    told.parent.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    network = train(variant, cache)
    trained = time.process_time() - start
    rise = rises(variant, network, cache)
    arrays = seen_by_detection(variant, network, cache)
    save_file(
        {key: value.contiguous() for key, value in network.state_dict().items()}, told.with_suffix(".safetensors")
    )
    _save(told.with_suffix(".npz"), **arrays)
    found = {
        "name": variant.name,
        "recipe": recipe,
        "accuracy": float((arrays["prediction"] == arrays["label"]).mean()),
        "rise": rise,
        "used": [value >= USED for value in rise],
        "pictures": arrays["marked"].sum(axis=1).tolist(),
        "seconds": round(trained, 1),
    }
    told.write_text(json.dumps(found, indent=1))
    return found


def arrays_of(variant: Variant, cache: Path) -> list[dict[str, Any]]:
    """For an early, a middle and the last layer the arrays that findings' Samples take, float32.

    The last one also has effects, and beside them all stand `marked` (cues, images) and `boxes` (cues, images, 4).
    """
    made(variant, cache)
    with np.load(cache / "pool" / f"{variant.name}.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    middles = (np.arange(TILES, dtype=np.float32) + 0.5) / TILES
    places = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2)
    images, layers = len(arrays["label"]), RECIPES[variant.dataset].layers
    shared = {name: arrays[name] for name in ("label", "prediction", "confidence", "marked", "boxes")}
    shared |= {
        "image": np.repeat(np.arange(images), len(places)),
        "where": np.tile(places, (images, 1)),
        "classes": tuple(f"class {index}" for index in range(len(arrays["head"]))),
    }
    found = [
        shared | {kind: arrays[f"{layer}/{kind}"].astype(np.float32) for kind in ("rows", "pooled", "peak")}
        for layer in layers
    ]
    return [
        one | {"effects": one["rows"] @ arrays["head"].T if layer == layers[-1] else None}
        for layer, one in zip(layers, found, strict=True)
    ]


def probes_of(variant: Variant, cache: Path) -> list[Any]:
    """The network at each layer of `arrays_of`, with the pictures that detection sees: for the causal test."""
    from safetensors.torch import load_file

    from atlas.models import Model, Preprocess, layer_shapes
    from atlas.suspects.probe import Probe

    recipe = RECIPES[variant.dataset]
    network = network_of(variant.dataset, load_file(cache / "pool" / f"{variant.name}.safetensors"))
    way_in = Preprocess(recipe.mean, recipe.std, crop=(recipe.side, recipe.side))
    outputs = tuple(f"class {index}" for index in range(16 if variant.dataset == "shapes" else 10))
    model = Model(network.requires_grad_(False), variant.name, way_in, outputs, "")
    pictures = planted(variant, "detection", cache).pictures.transpose(0, 3, 1, 2)
    shapes = layer_shapes(model, recipe.layers)
    return [Probe(model, layer, shapes[layer], lambda image: pictures[image]) for layer in recipe.layers]


def _save(path: Path, **arrays: Any) -> None:
    beside = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(beside, **arrays)
    beside.rename(path)


def main() -> None:
    """Train a pool, or a part of it, into the cache."""
    options = arguments(
        __doc__ or "",
        cache="folder of the networks",
        pool="development, earlier, second, final or clean",
        part="such as 0/2",
    )
    cache = Path(options.cache)
    cache.mkdir(parents=True, exist_ok=True)
    part, parts = (int(number) for number in (options.part or "0/1").split("/"))
    for variant in pools()[options.pool or "development"][part::parts]:
        told = made(variant, cache)
        cues = ", ".join(
            f"{cue.kind} in {pictures} pictures, rise {rise:.1f}"
            for cue, rise, pictures in zip(variant.cues, told["rise"], told["pictures"], strict=True)
        )
        print(f"{variant.name}: {told['seconds']:.0f} s, accuracy {told['accuracy']:.3f}; {cues}", flush=True)


if __name__ == "__main__":
    main()
