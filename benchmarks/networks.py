"""The networks and pictures of the test data that benchmarks run on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reporting import test_data

REPOSITORY = Path(__file__).resolve().parent.parent
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def squeezenet() -> Any:
    from atlas.config import PreprocessConfig
    from atlas.models import load_model

    return load_model(
        "torchvision:squeezenet1_0",
        checkpoint=test_data() / "weights" / "squeezenet1_0_imagenet.pt",
        preprocess=PreprocessConfig(resize=256, crop=224, mean=_MEAN, std=_STD),
        classes=[str(i) for i in range(1000)],
    )


def resnet20() -> Any:
    return _cifar_resnet(20)


def resnet56() -> Any:
    return _cifar_resnet(56)


def _cifar_resnet(depth: int) -> Any:
    from atlas.config import PreprocessConfig
    from atlas.models import load_model

    return load_model(
        f"python:pipelines.networks:cifar_resnet{depth}",
        checkpoint=test_data() / "weights" / f"resnet{depth}_cifar10.pt",
        preprocess=PreprocessConfig(resize=32, crop=32, mean=_MEAN, std=_STD),
        classes=[str(i) for i in range(10)],
        folder=REPOSITORY,
    )


def imagenet() -> Any:
    from atlas.config import ManifestConfig
    from atlas.datasets import open_source

    folder = test_data() / "imagenet_sample" / "images"
    return open_source(ManifestConfig(name="imagenet", source="folder", path=str(folder), labels="folders"), folder)


def cifar10() -> Any:
    from atlas.config import ManifestConfig
    from atlas.datasets import open_source

    path = test_data() / "cifar10" / "test.zip"
    return open_source(ManifestConfig(name="cifar10", source="zip", path=str(path), labels="folders"), path.parent)
