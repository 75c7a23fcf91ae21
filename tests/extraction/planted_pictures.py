"""A tiny dataset and a tiny network for the tests of extraction; also runs as a script that can be killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from atlas.datasets.source import ListedSource, Listing
from atlas.errors import PictureError
from atlas.extraction import extract
from atlas.models import Model, Preprocess
from atlas.models.checkpoints import hash_weights

SIDE = 24
CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")
PREPROCESS = Preprocess(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), resize=SIDE, crop=(SIDE, SIDE))


class Pictures(ListedSource):
    """Noise pictures with a bright square, some of them broken; `reads` counts every read."""

    def __init__(
        self, count: int, *, broken: Collection[int] = (), bright: Collection[int] = (), pause: float = 0.0
    ) -> None:
        labels = np.arange(count, dtype=np.int32) % len(CLASSES)
        listing = Listing([f"test/{CLASSES[label]}/{i:05d}.png" for i, label in enumerate(labels)], labels)
        super().__init__("noise", CLASSES, listing, listing.digest(CLASSES))
        self._broken, self._bright, self._pause = frozenset(broken), frozenset(bright), pause
        self.reads: list[int] = []

    def read(self, index: int) -> Image.Image:
        self.reads.append(index)
        time.sleep(self._pause)
        if index in self._broken:
            raise PictureError("is truncated")
        rng = np.random.default_rng(index)
        pixels = rng.integers(0, 120, (SIDE, SIDE + index % 5, 3), dtype=np.uint8)
        y, x = rng.integers(0, SIDE - 8, 2)
        pixels[y : y + 8, x : x + 8] = rng.integers(100, 255, 3)
        if index in self._bright:
            pixels[:] = 255
        return Image.fromarray(pixels)


class TinyNetwork(nn.Module):
    """Two strided convolutions with a ReLU in place between them, global average, a linear head."""

    def __init__(self, classes: int = len(CLASSES), overflow: float = 1.0) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, 2, 1)
        self.relu = nn.ReLU(inplace=True)
        self.deep = nn.Conv2d(6, 8, 3, 2, 1)
        self.act = nn.Tanh()
        self.head = nn.Linear(8, classes)
        self.overflow = overflow

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        # A picture that is white all over is taken beyond what float16, or float32, can hold.
        white = (pictures.amin((1, 2, 3)) > 1.5)[:, None, None, None]
        maps = self.first(pictures * torch.where(white, self.overflow, 1.0))
        return self.head(self.act(self.deep(self.relu(maps))).mean((2, 3)))


def made_model(network: nn.Module | None = None, outputs: Sequence[str] = CLASSES, seed: int = 0) -> Model:
    """A model with weights drawn from a seed, the head included."""
    network = TinyNetwork() if network is None else network
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    network.eval().requires_grad_(False)
    return Model(network, "made-up", PREPROCESS, tuple(outputs), hash_weights(network))


def run(out: Path, workers: int) -> None:
    source = Pictures(90, broken=(7, 33), pause=0.002)
    extract(source, made_model(), ["first", "deep"], out, positions=2, batch=8, part=20, workers=workers)


def run_in_child(out: Path, workers: int) -> int:
    """Extract in a forked process and return its id: it can be killed, and torch is imported only once."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            run(out, workers)
            status = 0
        finally:
            os._exit(status)
    return child


def extract_and_kill(whole: Path, killed: Path, kills: int) -> None:
    """Write one store at a stretch, and another one killed `kills` times, each time in another part."""
    torch.set_num_threads(1)  # no threads of OpenMP's: a forked process would wait for them for ever
    run(whole, 2)
    rng = np.random.default_rng(0)
    for _ in range(kills):
        before = len(list(killed.glob("parts/*.h5")))
        child = run_in_child(killed, int(rng.integers(0, 3)))
        while len(list(killed.glob("parts/*.h5"))) == before and not (killed / "index.h5").exists():
            time.sleep(0.001)
        time.sleep(float(rng.uniform(0, 0.04)))  # somewhere in the next part, or while the index is written
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert os.waitpid(run_in_child(killed, 1), 0)[1] == 0


if __name__ == "__main__":
    extract_and_kill(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
