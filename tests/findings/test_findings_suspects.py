"""Candidates for cues: planted Gaussian structure is found, and nothing where nothing is planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from atlas.findings.suspect_candidates import Samples, find_candidates

CLASSES = 6


def gaussian(seed: int, images: int = 1500, channels: int = 12, carriers: int = 0, strength: float = 6.0) -> Samples:
    """Classes as Gaussians; `carriers` images of class 2 and a tenth as many others are moved along one direction."""
    rng = np.random.default_rng(seed)
    label = np.arange(images) % CLASSES
    centres = 3 * rng.normal(size=(CLASSES, channels))
    pooled = centres[label] + rng.normal(size=(images, channels)) * rng.uniform(0.5, 2, channels)
    prediction = np.where(rng.random(images) < 0.9, label, rng.integers(0, CLASSES, images))
    chosen = carried(label, carriers)
    pooled[chosen] += strength * np.linalg.qr(rng.normal(size=(channels, 1)))[0].ravel()
    prediction[chosen] = np.where(rng.random(len(chosen)) < 0.8, 2, prediction[chosen])
    peak = pooled + rng.normal(size=pooled.shape)
    return Samples(
        rows=pooled.astype(np.float32),
        image=np.arange(images),
        where=rng.random((images, 2)).astype(np.float32),
        pooled=pooled.astype(np.float32),
        peak=peak.astype(np.float32),
        label=label,
        prediction=prediction,
        confidence=rng.random(images).astype(np.float32),
        effects=None,
        classes=tuple("abcdef"),
    )


def carried(label: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    inside, outside = np.flatnonzero(label == 2), np.flatnonzero(label != 2)
    return np.r_[inside[:count], outside[: count // 10]]


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_cluster_comes_first_and_its_members_are_the_carriers(seed: int) -> None:
    samples = gaussian(seed, carriers=50)
    found = find_candidates(samples)
    assert found
    planted = carried(samples.label, 50)
    assert (found[0].label, found[0].feeds) == (2, 2)
    assert len(np.intersect1d(found[0].images, planted)) > 0.9 * len(planted)
    assert np.isin(found[0].images, planted).mean() > 0.8
    assert found[0].p < 5e-3
    assert np.linalg.norm(found[0].direction) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_nothing_planted_nothing_listed(seed: int) -> None:
    assert find_candidates(gaussian(seed)) == []


def test_twenty_five_images_are_enough() -> None:
    samples = gaussian(1, images=1800, carriers=25, strength=9.0)
    found = find_candidates(samples)
    planted = carried(samples.label, 25)
    assert found
    assert len(np.intersect1d(found[0].images, planted)) >= 0.9 * len(planted)


def test_the_order_of_the_images_does_not_matter() -> None:
    samples = gaussian(2, carriers=60)
    turn = np.random.default_rng(0).permutation(len(samples.label))
    turned = replace(
        samples,
        **{
            name: getattr(samples, name)[turn]
            for name in ("rows", "where", "pooled", "peak", "label", "prediction", "confidence")
        },
    )
    one, other = find_candidates(samples)[0], find_candidates(turned)[0]
    shared = np.intersect1d(one.images, turn[other.images])
    assert len(shared) > 0.95 * max(len(one.images), len(other.images))
