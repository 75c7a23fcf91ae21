"""The same figures as captum, zennit and pytorch-grad-cam, on networks that they can read."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from tiny_networks import Functional, model_of, pictures, plain, pooled, seeded
from torch import nn

from atlas.attribution import attribute


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return pictures()


def test_captum_agrees(batch: torch.Tensor) -> None:
    captum = pytest.importorskip("captum.attr", reason="captum is not installed")
    network = seeded(Functional)
    model = model_of(network)
    targets = [0, 1, 2]
    found = attribute(model, batch, method="saliency", target=targets)
    peer = captum.Saliency(network).attribute(batch.clone().requires_grad_(), target=targets, abs=False)
    np.testing.assert_allclose(found.values, peer.detach(), atol=1e-10)
    found = attribute(model, batch, method="integrated_gradients", target=targets, steps=64)
    peer = captum.IntegratedGradients(network).attribute(
        batch.clone(), target=targets, n_steps=64, method="gausslegendre"
    )
    np.testing.assert_allclose(found.values, peer.detach(), atol=1e-10)


def normed() -> nn.Module:
    layers = (nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3, 2), nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(45, 7), nn.Tanh(), nn.Linear(7, 3))


def maximum() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 3))


# Of a maximum right behind a ReLU captum 0.9's contributions miss their own sum (by 0.05 to 0.10 here, of a
# difference of 0.5), so that it is no judge there; ours add up, see the definitions.
@pytest.mark.parametrize("make", [normed, maximum])
def test_captum_agrees_on_deeplift(make, batch: torch.Tensor) -> None:
    captum = pytest.importorskip("captum.attr", reason="captum is not installed")
    network = seeded(make)
    base = pictures(1, seed=8)
    found = attribute(model_of(network), batch, method="deeplift", target=1, baseline=base[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it sets hooks
        peer = captum.DeepLift(network).attribute(batch.clone(), base.expand_as(batch).clone(), target=1)
    np.testing.assert_allclose(found.values, peer.detach(), atol=1e-8)


@pytest.mark.parametrize("norm", [False, True])
def test_zennit_agrees_on_lrp(norm: bool, batch: torch.Tensor) -> None:
    pytest.importorskip("zennit", reason="zennit is not installed")
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.composites import EpsilonPlus

    network = seeded(lambda: plain(norm))
    if norm:
        network[1].eps = 0.0  # zennit leaves it in the norm that it has merged away: 1e-5 apart
    found = attribute(model_of(network), batch, method="lrp", target=2)
    composite = EpsilonPlus(
        epsilon=1e-12, stabilizer=1e-12, zero_params="bias", canonizers=[SequentialMergeBatchNorm()]
    )
    leaf = batch.clone().requires_grad_()
    with composite.context(network.requires_grad_(True)) as changed:
        logits = changed(leaf)
        seed = torch.zeros_like(logits)
        seed[:, 2] = logits[:, 2].detach()
        peer = torch.autograd.grad(logits, leaf, seed)[0]
    np.testing.assert_allclose(found.values, peer, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("make", "layer"), [(pooled, "1"), (Functional, "bn1"), (Functional, "conv2")])
def test_pytorch_grad_cam_agrees(make, layer: str, batch: torch.Tensor) -> None:
    peers = pytest.importorskip("pytorch_grad_cam", reason="pytorch-grad-cam is not installed")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network = seeded(make).float()
    found = attribute(model_of(network), batch.float(), method="grad_cam", target=1, layer=layer)
    network.requires_grad_(True)
    with peers.GradCAM(network, [network.get_submodule(layer)]) as cam:
        peer = cam(batch.float(), targets=[ClassifierOutputTarget(1)] * len(batch))
    # It stretches every map to [0, 1] before and after enlarging.
    low = found.coarse.min((1, 2), keepdims=True)
    high = (found.coarse - low).max((1, 2), keepdims=True)
    ours = torch.nn.functional.interpolate(
        torch.from_numpy((found.coarse - low) / (high + 1e-7))[:, None], size=(8, 8), mode="bilinear"
    )[:, 0].numpy()
    ours = ours - ours.min((1, 2), keepdims=True)
    ours = ours / (1e-7 + ours.max((1, 2), keepdims=True))
    np.testing.assert_allclose(ours, peer, atol=1e-4)
