"""A tiny pipeline on the embedded pictures: a network of random weights, quick to build and to kill."""

from __future__ import annotations

from pathlib import Path

NETWORK = """
import torch
from torch import nn


def make():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(3, 12, 5, stride=4), nn.ReLU(), nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 16),
        )
"""

PIPELINE = """
[data]
manifest = "pictures.toml"

[model]
factory = "python:tinynet:make"
layers = ["1", "3"]
classes = "folders"

[model.preprocess]
crop = 64
mean = [0.5]
std = [0.5]

[extract]
positions = 2
part = 24
batch = 16

[layout]
neighbors = 5

[grid]
levels = 2
min_images = 2

[icons]
size = 32
steps = 4
levels = 2

[run]
deterministic = true
workers = 2
"""


def write_tiny_pipeline(folder: Path, images: int = 96) -> Path:
    """Write a network, a manifest and a pipeline into the folder; return the pipeline's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tinynet.py").write_text(NETWORK)
    (folder / "pictures.toml").write_text(f'name = "pictures"\nsource = "shapes"\nsplit = "test"\nimages = {images}\n')
    path = folder / "tiny.toml"
    path.write_text(PIPELINE)
    return path


def write_folder_pipeline(folder: Path, network: str, layer: str, resize: str = "") -> Path:
    """Write a pipeline over `folder/pictures`, whose class folders lie there already; return its path.

    network: a module that defines `network()`. resize: further lines of the preprocessing, before its crop to 16 px.
    """
    module = f"net_{folder.name.replace('-', '_')}"  # modules of one process must not bear one name
    (folder / f"{module}.py").write_text(network)
    (folder / "data.toml").write_text('name = "two"\nsource = "folder"\npath = "pictures"\n')
    path = folder / "p.toml"
    path.write_text(
        f'[data]\nmanifest = "data.toml"\n[model]\nfactory = "python:{module}:network"\nlayers = [{layer}]\n'
        f'classes = "folders"\n[model.preprocess]\n{resize}crop = 16\nmean = [0.5]\nstd = [0.5]\n'
    )
    return path
