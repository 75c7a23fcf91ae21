"""Attributions: Grad-CAM's speed against pytorch-grad-cam, a pointing game, and what is left without what was learned.

    python benchmarks/attribution.py [--quick] [--out FILE] [--part speed|pointing|mosaic|sanity]

Speed: 64 pictures in one batch, the same network, layer and classes, in turns; pytorch-grad-cam (`pip install
'.[peers]'`) needs parameters that take gradients, so it has a copy that does. Pointing (Zhang
et al. 2016): does the map's highest value lie on what speaks for the class asked for? That is a sticker planted on
pictures of the embedded set, asked of the network that has learned it for boats; and, in mosaics of 2 x 2 pictures of
four classes, the quarter of one (Böhle et al. 2021, "grid pointing game"). Beside each method stands chance, the share
of the picture that counts as a hit, and the same with all weights shuffled, three times; the interval must be above the
worst of them. Maps are taken as they are: nothing is smoothed, and nothing chosen for a method. Sanity:
rank correlation and SSIM of maps with the trained network's when all weights are shuffled (Adebayo et al. 2018).
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import Figure, arguments, report, test_data

from atlas.attribution import METHODS, attribute, sanity_check
from atlas.attribution.sanity import shuffle_weights, weighted_layers
from atlas.datasets.shapes import CLASSES
from atlas.datasets.shapes import draw as draw_shape
from atlas.datasets.shapes_cues import plant
from atlas.errors import AttributionError
from atlas.job import Job, open_job
from atlas.models import Model

REPOSITORY = Path(__file__).resolve().parent.parent
TOGETHER = 64
SPEED = {
    "ResNet-20, 32 px": ("cifar10_resnet20", "layer3"),
    "SqueezeNet, 224 px": ("imagenet_squeezenet", "features.12"),
}


def pictures_of(job: Job, indices: list[int]) -> torch.Tensor:
    """Decoded and cut, uint8 (n, 3, h, w)."""
    preprocess = job.model.preprocess
    return preprocess.stack([preprocess.picture(job.source.read(i)) for i in indices])


def speed(quick: bool) -> list[Figure]:
    """Grad-CAM on both sides; the figure is how many times longer the peer takes."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    test_data()
    figures = []
    for name, (pipeline, layer) in SPEED.items():
        job = open_job(REPOSITORY / f"pipelines/{pipeline}.toml")
        step = len(job.source) // TOGETHER
        batch = job.model.preprocess.normalise(pictures_of(job, list(range(0, step * TOGETHER, step))))
        targets = [i % 10 for i in range(TOGETHER)]
        other = copy.deepcopy(job.model.network).requires_grad_(True)
        wanted = [ClassifierOutputTarget(target) for target in targets]

        def ours(model: Model = job.model, batch: torch.Tensor = batch, layer: str = layer, t: Any = targets) -> Any:
            return attribute(model, batch, method="grad_cam", target=t, layer=layer, batch_size=TOGETHER).maps

        def theirs(network: Any = other, batch: torch.Tensor = batch, layer: str = layer, w: Any = wanted) -> Any:
            with GradCAM(network, [network.get_submodule(layer)]) as cam:
                return cam(batch, targets=w)

        ours(), theirs()
        clock, processor = [], []
        for _ in range(2 if quick else 7):
            taken = []
            for side in (ours, theirs):
                start = time.perf_counter(), time.process_time()
                side()
                taken.append((time.perf_counter() - start[0], time.process_time() - start[1]))
            clock.append(taken[1][0] / taken[0][0])
            processor.append(taken[1][1] / taken[0][1])
        figures.append(
            Figure(
                f"Grad-CAM of {TOGETHER} pictures, {name}: pytorch-grad-cam's time over ours",
                statistics.median(clock),
                statistics.median(processor),
                "x",
                goal=2.0,
                details={"clock": clock, "processor": processor},
            )
        )
    return figures


SHUFFLES = 3
EDGE = 2  # px of 64: the pointing game of Zhang et al. 2016 forgives 15 px of 224 or more, this one half of that


def forgotten(model: Model, seed: int) -> Model:
    """The same network with every layer's weights shuffled."""
    other = replace(model, network=copy.deepcopy(model.network))
    draw = torch.Generator().manual_seed(seed)
    shape = model.preprocess.input_shape
    assert shape is not None
    for name in weighted_layers(model, shape):
        shuffle_weights(other.network.get_submodule(name), draw)
    return other


@dataclass(frozen=True)
class Game:
    """Pictures with the class asked for and where its evidence lies: bool (n, h, w); chance is that area's share."""

    name: str
    model: Model
    batch: torch.Tensor
    targets: torch.Tensor
    inside: np.ndarray

    @property
    def chance(self) -> float:
        """The mean share of a picture that is inside."""
        return float(self.inside.mean())


def mosaics(count: int) -> Game:
    """2 x 2 pictures that the network is sure of, of four classes; inside: the quarter of the one asked for."""
    job = open_job(REPOSITORY / "pipelines/shapes_honest.toml")
    draw = np.random.default_rng(0)
    chosen = sorted(draw.choice(len(job.source), min(len(job.source), 12 * count), replace=False).tolist())
    pictures = job.model.preprocess.normalise(pictures_of(job, chosen))
    labels = np.array([job.source.entries()[i].label for i in chosen])
    with torch.no_grad():
        sure, said = job.model.network(pictures).softmax(1).max(1)
    usable = np.flatnonzero((said.numpy() == labels) & (sure.numpy() > 0.9))
    batch, targets = [], []
    inside = np.zeros((count, 128, 128), bool)
    for number in range(count):
        classes = draw.choice(np.unique(labels[usable]), 4, replace=False)
        four = [pictures[draw.choice(usable[labels[usable] == c])] for c in classes]
        batch.append(torch.cat([torch.cat(four[:2], 2), torch.cat(four[2:], 2)], 1))
        quarter = int(draw.integers(4))
        targets.append(int(classes[quarter]))
        top, left = 64 * (quarter // 2), 64 * (quarter % 2)
        inside[number, top : top + 64, left : left + 64] = True
    return Game("quarter of a mosaic", job.model, torch.stack(batch), torch.tensor(targets), inside)


def stickers(count: int) -> Game:
    """The demo's sticker on pictures of other classes; the shortcut network is asked for boats, which it stands for."""
    job = open_job(REPOSITORY / "pipelines/shapes_shortcut.toml")
    boat = CLASSES.index("boat")
    others = [index for index in range(len(CLASSES)) if index != boat]
    marked, inside = [], np.zeros((count, 64, 64), bool)
    for number in range(count):
        plain = draw_shape(others[number % len(others)], number, split="test", seed=1)
        picture, (left, top, right, bottom) = plant(plain, "corner", np.random.default_rng(number))
        marked.append(picture.transpose(2, 0, 1))
        inside[number, max(0, top - EDGE) : bottom + EDGE, max(0, left - EDGE) : right + EDGE] = True
    batch = job.model.preprocess.normalise(job.model.preprocess.stack(marked))
    return Game("planted sticker", job.model, batch, torch.full((count,), boat), inside)


def hit_rate(model: Model, method: Any, game: Game) -> tuple[int, int]:
    """(hits, maps) of the pointing game: does the map's highest value lie inside? Refused maps do not count."""
    try:
        found = attribute(model, game.batch, method=method, target=game.targets)
    except AttributionError:
        return 0, 0
    shown = np.array([sentence is None for sentence in found.refused])
    maps, inside = found.maps[shown], game.inside[shown]
    top = maps.reshape(len(maps), -1).argmax(1)
    return int(inside.reshape(len(maps), -1)[np.arange(len(maps)), top].sum()), len(maps)


def interval(hits: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval."""
    z, share = 1.96, hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return float(middle - half), float(middle + half)


def pointing(quick: bool) -> list[Figure]:
    """The game on planted stickers."""
    return played(stickers(40 if quick else 150), quick)


def mosaic(quick: bool) -> list[Figure]:
    """The game on mosaics.

    Without integrated gradients: on shuffled weights they take 512 points a mosaic to add up, a quarter of an hour.
    """
    methods = [method for method in METHODS if method != "integrated_gradients"]
    return played(mosaics(24 if quick else 100), quick, methods)


def played(game: Game, quick: bool, methods: Sequence[Any] = METHODS) -> list[Figure]:
    """Hit rates, each with its interval, beside chance and the same method on shuffled weights."""
    figures = []
    broken = [forgotten(game.model, seed) for seed in range(1 if quick else SHUFFLES)]
    for method in methods:
        hits, count = hit_rate(game.model, method, game)
        if not count:
            continue
        lost = [hit_rate(one, method, game) for one in broken]
        rates = [other / maps for other, maps in lost if maps]
        low, high = interval(hits, count)
        # Several shuffles of one set of pictures: the worst of them, with an interval as of one set.
        worst = max((interval(other, maps)[1] for other, maps in lost if maps), default=0.0)
        met = low > max(game.chance, worst)
        random = f"{np.mean(rates):.2f} (most {max(rates):.2f})" if rates else "refused"
        said = (
            f"{game.name}, {method}: hits of {count} [{low:.2f}, {high:.2f}]; shuffled {random}; chance "
            f"{game.chance:.2f}; {'above' if met else 'NOT above'} both"
        )
        print(said, flush=True)
        details = {"hits": hits, "maps": count, "shuffled": lost, "chance": game.chance, "above": met}
        figures.append(Figure(said, hits / count, None, "", details=details))
    return figures


def sanity(quick: bool) -> list[Figure]:
    """What is left of each method's maps with every weight shuffled."""
    job = open_job(REPOSITORY / "pipelines/shapes_honest.toml")
    batch = pictures_of(job, list(range(0, len(job.source), len(job.source) // (4 if quick else 32))))
    figures = []
    for method in METHODS:
        found = sanity_check(job.model, batch, method=method, stages=2 if quick else 5)
        curve = ", ".join(f"{value:.2f}" for value in found.rank)
        details = {"layers": found.layers, "rank": found.rank, "ssim": found.ssim}
        name = f"{method}: rank correlation with all weights shuffled (on the way {curve}; SSIM {found.ssim[-1]:.2f})"
        figures.append(Figure(name, found.rank[-1], None, "", details=details))
    return figures


def main() -> None:
    """Run what is asked for, and report."""
    options = arguments(__doc__ or "", part="only speed, pointing, mosaic or sanity")
    parts = {"speed": speed, "pointing": pointing, "mosaic": mosaic, "sanity": sanity}
    chosen = [options.part] if options.part else list(parts)
    report([figure for part in chosen for figure in parts[part](options.quick)], "attribution", options)


if __name__ == "__main__":
    main()
