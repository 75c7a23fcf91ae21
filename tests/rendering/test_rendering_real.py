"""Icons of a trained network: strong, along their directions, and told apart from the other cells'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from atlas.config import PreprocessConfig
from atlas.models import Model, as_grid, capture, layer_shapes, load_model
from atlas.rendering import render_icons
from atlas.rendering.objective import window

pytestmark = pytest.mark.real
LAYER = "features.10"


@pytest.fixture(scope="module")
def squeezenet(test_data: Path) -> Model:
    preprocess = PreprocessConfig(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    checkpoint = test_data / "weights" / "squeezenet1_0_imagenet.pt"
    return load_model("torchvision:squeezenet1_0", checkpoint=checkpoint, preprocess=preprocess)


def pooled(model: Model, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The window's mean activation for pictures uint8 (n, c, h, w)."""
    batch = torch.from_numpy(pictures)
    shape = layer_shapes(model, [LAYER], tuple(batch.shape[1:]))[LAYER]  # type: ignore[arg-type]
    with torch.no_grad(), capture(model.network, [LAYER]) as run:
        found = as_grid(run(model.preprocess.normalise(batch))[LAYER], shape)
    return torch.einsum("npc,p->nc", found, window(shape.height, shape.width)).numpy()


@pytest.fixture(scope="module")
def directions(squeezenet: Model, test_data: Path) -> NDArray[np.float32]:
    """What the layer gives for eight pictures of different classes."""
    files = sorted((test_data / "imagenet_sample" / "images").glob("*/*"))[40::125]
    pictures = []
    for file in files:
        with Image.open(file) as image:
            pictures.append(squeezenet.preprocess.picture(image))
    return pooled(squeezenet, np.stack(pictures))


def test_each_icon_is_nearest_to_its_own_direction(squeezenet: Model, directions: NDArray[np.float32]) -> None:
    mean = directions.mean(0)
    icons = render_icons(squeezenet, LAYER, directions, size=64, steps=40, device="cpu", mean=mean)
    found = pooled(squeezenet, icons.images.transpose(0, 3, 1, 2).copy()) - mean
    likeness = found @ (directions - mean).T
    likeness /= np.linalg.norm(directions - mean, axis=1)
    assert (likeness.argmax(1) == np.arange(len(directions))).mean() >= 7 / 8
    assert np.median(icons.centre) > 0.6
    assert np.median(icons.robust) > 0.6
    assert np.median(icons.windowed) > 0.55
    assert np.median(icons.strength) > 1.5
    assert np.median(icons.images.reshape(len(icons), -1).std(1) / 255) > 0.18
