"""Trained networks: what is promised is kept, whichever way the network is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.attribution import attribute
from atlas.job import Job, open_job


def pictures(job: Job, indices: tuple[int, ...]) -> torch.Tensor:
    return job.model.preprocess.stack([job.model.preprocess.picture(job.source.read(i)) for i in indices])


@pytest.mark.real
@pytest.mark.parametrize(
    ("pipeline", "indices", "layer"),
    [("cifar10_resnet20", (0, 3000, 7000), "layer3"), ("imagenet_squeezenet", (207, 285), "features")],
)
def test_sums_are_kept_in_float32(repository: Path, pipeline: str, indices: tuple[int, ...], layer: str) -> None:
    job = open_job(repository / f"pipelines/{pipeline}.toml")
    batch = pictures(job, indices)
    for method in ("lrp", "deeplift"):
        found = attribute(job.model, batch, method=method)
        assert found.balance.error.max() < 1e-3
        assert found.refused == (None,) * len(indices)
    assert attribute(job.model, batch, method="grad_cam").layer == layer
    lost = (1e-3 * batch.float()).byte()  # black pictures: saliency is still finite
    assert np.isfinite(attribute(job.model, lost, method="saliency").values).all()


def test_the_embedded_networks_maps_stay_on_the_object(repository: Path) -> None:
    """A mosaic of four pictures: Grad-CAM and LRP find the quarter of the class asked for, every time."""
    job = open_job(repository / "pipelines/shapes_honest.toml")
    entries = job.source.entries()
    chosen = {}
    for index in range(0, len(entries), 7):
        batch = job.model.preprocess.normalise(pictures(job, (index,)))
        with torch.no_grad():
            shares = job.model.network(batch).softmax(1)[0]
        if int(shares.argmax()) == entries[index].label and shares.max() > 0.95:
            chosen.setdefault(entries[index].label, batch[0])
        if len(chosen) == 4:
            break
    classes = list(chosen)
    four = [chosen[label] for label in classes]
    mosaic = torch.cat([torch.cat(four[:2], 2), torch.cat(four[2:], 2)], 1)
    found = {
        m: attribute(job.model, mosaic.expand(4, -1, -1, -1), method=m, target=classes) for m in ("grad_cam", "lrp")
    }
    for one in found.values():
        quarters = one.maps.clip(0).reshape(4, 2, 64, 2, 64).sum((2, 4)).reshape(4, 4)
        assert quarters.argmax(1).tolist() == [0, 1, 2, 3]
