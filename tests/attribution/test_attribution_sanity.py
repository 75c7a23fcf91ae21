"""Maps while the network forgets: planted cases, and the two measures against slow definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_networks import Functional, model_of, pictures, pooled, seeded

from atlas.attribution import attribute, sanity_check
from atlas.attribution.sanity import rank_correlation, structural_similarity


def test_a_network_that_reads_one_pixel_is_found_out_by_its_saliency() -> None:
    """Trained: all on one pixel. Shuffled: somewhere else, so that the maps no longer agree."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2, bias=False)).double()
    network[1].weight.data.zero_()
    network[1].weight.data[0, :12] = torch.arange(1.0, 13.0)
    found = sanity_check(model_of(network, 2), pictures(2), method="saliency", target=0)
    assert found.layers == ("1",)
    assert found.rank[-1] < 0.3
    assert "Depends on the weights" in found.text


def test_a_map_that_is_the_picture_is_told() -> None:
    """One weight that shuffling cannot move: gradient times input draws the picture whatever the network knows."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2, bias=False)).double()
    network[1].weight.data.fill_(0.5)
    found = sanity_check(model_of(network, 2), pictures(2), method="gradient_input", target=0)
    assert found.rank[-1] == pytest.approx(1)
    assert found.ssim[-1] == pytest.approx(1)
    assert "Hardly depends" in found.text


@pytest.mark.parametrize("method", ["cam", "grad_cam", "guided_grad_cam", "smoothgrad", "lrp", "deeplift"])
def test_every_method_can_be_checked_and_the_network_keeps_its_weights(method) -> None:
    network = seeded(pooled if method == "cam" else Functional)
    model, batch = model_of(network), pictures(2)
    before = attribute(model, batch, method="saliency").values
    found = sanity_check(model, batch, method=method, stages=2)
    assert found.shares[-1] == 1
    assert len(found.rank) == len(found.ssim) == len(found.layers) == 2
    np.testing.assert_array_equal(attribute(model, batch, method="saliency").values, before)


def test_rank_correlation_is_spearmans() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6, 6))
    a[0, :3] = 0.5
    assert rank_correlation(a, b) == pytest.approx(spearmanr(np.abs(a).ravel(), np.abs(b).ravel()).statistic)
    assert rank_correlation(a, np.ones((6, 6))) == 0


def test_structural_similarity_by_loops() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.uniform(size=(2, 31, 31))
    x, y = ((v - v.min()) / (v.max() - v.min()) for v in (a, b))
    offsets = np.arange(-6, 7)
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(window, window) / window.sum() ** 2
    total = []
    for i, j in np.ndindex(31, 31):
        # Borders as scipy's "reflect": the edge pixel twice.
        rows, columns = (_mirrored(place + offsets, 31) for place in (i, j))
        p, q = x[np.ix_(rows, columns)], y[np.ix_(rows, columns)]
        mp, mq = (weights * p).sum(), (weights * q).sum()
        vp, vq = (weights * p * p).sum() - mp**2, (weights * q * q).sum() - mq**2
        shared = (weights * p * q).sum() - mp * mq
        total.append((2 * mp * mq + 1e-4) * (2 * shared + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    assert structural_similarity(a, b) == pytest.approx(np.mean(total), rel=1e-6)


def _mirrored(places: np.ndarray, size: int) -> np.ndarray:
    places = np.where(places < 0, -places - 1, places)
    return np.where(places >= size, 2 * size - places - 1, places)
