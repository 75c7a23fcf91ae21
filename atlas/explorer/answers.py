"""What a network says of the images: of a comparison's layers each its own, of any other atlas's all the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from atlas.errors import StoreError
from atlas.explorer.confusions import is_wrong
from atlas.storage.atlas import Atlas
from atlas.storage.diff import ARRAYS, DOCUMENT, is_diff, open_diff


@dataclass(frozen=True)
class Answers:
    """One network's answers, (images,) each.

    prediction: int32, index into the atlas's outputs, -1 without one. confidence: float32, NaN without one. accuracy:
    over the layer's images with label and prediction, None where there are none or labels are no outputs. own: whether
    they are another network's than those of the atlas's images.
    """

    prediction: NDArray[np.int32]
    confidence: NDArray[np.float32]
    accuracy: float | None
    own: bool = False


@lru_cache(maxsize=4)  # the same for every page and every table of an atlas
def answers_by_layer(atlas: Atlas) -> tuple[Answers, ...]:
    """What the network of each layer says of the atlas's images. Raises StoreError for a damaged comparison."""
    images = atlas.images
    if not (is_diff(atlas.path) and (atlas.path / DOCUMENT).is_file() and (atlas.path / ARRAYS).is_file()):
        return tuple(Answers(images.prediction, images.confidence, atlas.accuracy) for _ in atlas.layers)
    diff = open_diff(atlas.path)
    if diff.document["of"] != "networks":  # one network, each layer with images of its own
        return tuple(
            Answers(images.prediction, images.confidence, _accuracy(atlas, images.prediction, layer.samples.image))
            for layer in atlas.layers
        )
    prediction, confidence = diff.array("prediction"), diff.array("confidence")
    networks = len(diff.document["networks"])
    if not (prediction.shape == confidence.shape == (networks, len(images)) and networks >= len(atlas.layers)):
        raise StoreError(
            f"{atlas.path / ARRAYS} is damaged: its predictions are {prediction.shape} of {networks} networks and "
            f"{len(images)} images; compare again with --force"
        )
    return tuple(
        Answers(
            prediction[layer.index],
            confidence[layer.index],
            _accuracy(atlas, prediction[layer.index], layer.samples.image),
            own=True,
        )
        for layer in atlas.layers
    )


def _accuracy(atlas: Atlas, prediction: NDArray[np.int32], image: NDArray[np.int32]) -> float | None:
    if not atlas.aligned:
        return None
    there = np.unique(image)
    label, said = atlas.images.label[there], prediction[there]
    judged = (label >= 0) & (said >= 0)
    return float(1 - is_wrong(label, said)[judged].mean()) if judged.any() else None
