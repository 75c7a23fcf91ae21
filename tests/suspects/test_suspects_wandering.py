"""Patches at no fixed place: found pixel for pixel, told from what many pictures have, and tried by the network."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_cues import SIDE, World, make_candidate, make_trial, make_world
from scipy.ndimage import gaussian_filter
from torch import nn

from atlas.models import Model, Preprocess, layer_shapes
from atlas.suspects.causal import try_suspect
from atlas.suspects.probe import Probe
from atlas.suspects.verdicts import judge
from atlas.suspects.wandering import Patch, find_patch, telling

CROSS = np.array([[1, 0, 0, 0, 1], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 1, 0, 1, 0], [1, 0, 0, 0, 1]], bool)
ONE, OTHER = np.array([250, 240, 5], np.uint8), np.array([5, 15, 250], np.uint8)


def smooth(images: int, side: int, seed: int) -> np.ndarray:
    """Pictures with broad colours, as pictures have."""
    noise = np.random.default_rng(seed).normal(0, 255, (images, 3, side, side))
    broad = gaussian_filter(noise, (0, 0, side / 10, side / 10))
    return (128 + broad * 45 / broad.std()).clip(0, 255).astype(np.uint8)


def marked(pictures: np.ndarray, seed: int, scale: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Pictures with the cross somewhere; top and left of it in each."""
    rng, found = np.random.default_rng(seed), pictures.copy()
    ink = np.kron(CROSS, np.ones((scale, scale), bool))
    size = len(ink)
    corners = rng.integers(0, pictures.shape[2] - size + 1, (len(pictures), 2))
    for picture, (top, left) in zip(found, corners.tolist(), strict=True):
        under = picture[:, top : top + size, left : left + size]
        under[:] = np.where(ink, ONE[:, None, None], OTHER[:, None, None])
    return found, corners


def slopes_at(corners: np.ndarray, side: int, size: int, wrong: float, seed: int) -> np.ndarray:
    """A network's answer: in most pictures somewhere on the mark, in some elsewhere."""
    rng, found = np.random.default_rng(seed), np.zeros((len(corners), side, side), np.float32)
    for one, (top, left) in zip(found, corners.tolist(), strict=True):
        y, x = np.add((top, left), rng.integers(0, size, 2)) if rng.random() > wrong else rng.integers(0, side, 2)
        one[y, x] = 1
    return found


def boxes_of(corners: np.ndarray, side: int, size: int) -> np.ndarray:
    return np.concatenate([corners[:, ::-1], corners[:, ::-1] + size], axis=1) / side


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
def test_the_best_fit_is_that_of_every_window_tried_in_turn(high: int, wide: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (3, 2, 9, 7)).astype(np.uint8)
    patch = Patch(rng.uniform(0, 255, (2, high, wide)).astype(np.float32), rng.random((2, high, wide), np.float32))
    fits, corners = patch.fit(pictures)
    for picture, fit, corner in zip(pictures.astype(float), fits, corners, strict=True):
        tried = {
            (top, left): -(
                (patch.weight * (picture[:, top : top + high, left : left + wide] - patch.mean) ** 2).sum()
                / patch.weight.sum()
            )
            for top in range(9 - high + 1)
            for left in range(7 - wide + 1)
        }
        assert fit == pytest.approx(max(tried.values()), rel=1e-3, abs=0.5)
        assert tried[tuple(corner.tolist())] == pytest.approx(max(tried.values()), rel=1e-3, abs=0.5)


@pytest.mark.parametrize(("side", "scale"), [(32, 1), (64, 2), (160, 5)])
def test_a_mark_that_is_elsewhere_in_each_picture_is_found_pixel_for_pixel(side: int, scale: int) -> None:
    """Though the network's answer is off it in a quarter of them, and one in ten does not have it."""
    size = 5 * scale
    members, corners = marked(smooth(48, side, 0), 1, scale)
    members[::10] = smooth(48, side, 9)[::10]
    usual = smooth(48, side, 2)
    patch = find_patch(members, usual, slopes_at(corners, side, size, 0.25, 3))
    assert patch is not None
    others, truth = marked(smooth(40, side, 4), 5, scale)
    assert telling(patch, others, smooth(40, side, 6)) > 0.99
    assert np.abs(np.array(patch.boxes_in(others)) - boxes_of(truth, side, size)).max() <= 3 / min(side, 128)


def test_where_pictures_share_nothing_or_a_plain_wall_there_is_no_patch() -> None:
    members, usual = smooth(40, 32, 0), smooth(40, 32, 1)
    slopes = slopes_at(np.full((40, 2), 10), 32, 5, 0.5, 2)
    patch = find_patch(members, usual, slopes)
    assert patch is None or telling(patch, smooth(40, 32, 3), usual) < 0.8
    walls, rng = np.full_like(members, 247), np.random.default_rng(4)
    for wall, member in zip(walls, members, strict=True):  # something of its own before each, nowhere the same
        top, left = rng.integers(0, 20, 2)
        wall[:, top : top + 12, left : left + 12] = member[:, top : top + 12, left : left + 12]
    assert find_patch(walls, usual, (walls[:, 0] == 247).astype(np.float32)) is None


class Crosses(nn.Module):
    """Class 0 is red in the middle, or has the cross anywhere: one filter of three is the cross itself."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        ink = torch.from_numpy(np.where(CROSS, ONE[:, None, None], OTHER[:, None, None]) / 127.5 - 1).float()
        self.maps = nn.Sequential(nn.Conv2d(3, 3, 5, padding=2), nn.ReLU())
        red, blue = torch.zeros_like(ink), torch.zeros_like(ink)
        red[0], blue[2] = 1 / 25, 1 / 25
        self.maps[0].weight.data = torch.stack([10 * ink, red, blue])
        self.maps[0].bias.data = torch.tensor([-7 * float(ink.square().sum()), 1.0, 1.0])
        self.weight = weight

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        crosses = self.weight * self.maps(pictures)[:, 0].amax(dim=(1, 2))
        red = (pictures[:, 0, 10:14, 10:14] - pictures[:, 2, 10:14, 10:14]).mean(dim=(1, 2))
        return torch.stack([crosses + red, -red], dim=1)


def crossed(weight: float) -> tuple[World, Probe]:
    plain = make_world(painted=False)
    soft = gaussian_filter(plain.pictures.astype(np.float32), (0, 0, 1, 1))
    soft = (0.5 * soft + 0.5 * smooth(len(soft), SIDE, 8)).astype(np.uint8)  # no two objects are alike by pixel
    pictures = np.where(plain.marked[:, None, None, None], marked(soft, 7)[0], soft)
    world = replace(plain, pictures=pictures)
    model = Model(Crosses(weight).eval(), "crosses", Preprocess((0.5,), (0.5,), crop=(SIDE, SIDE)), ("red", "blue"), "")
    shape = layer_shapes(model, ["maps"])["maps"]
    return world, Probe(model, "maps", shape, lambda image: pictures[image])


@pytest.mark.parametrize(("weight", "expected"), [(0.015, ("yes", "likely")), (0.0, ("no", "unlikely"))])
def test_a_mark_without_a_place_is_judged_by_giving_the_mark(weight: float, expected: tuple[str, str]) -> None:
    world, probe = crossed(weight)
    trial = make_trial(world, probe, world.marked)
    outcome = try_suspect(probe, trial, world.label, 0)
    assert outcome.place.patch is not None
    verdict = judge(make_candidate(world, world.marked), outcome)
    assert (verdict.used, verdict.spurious) == expected, verdict
    truth = marked(world.pictures[trial.others[:96]], 11)[0]
    before, after = (probe.logits(x)[:, 0].mean() for x in (world.pictures[trial.others[:96]], truth))
    pasted = next(test for test in outcome.tests if test.name == "paste")
    assert pasted.logit.mean == pytest.approx(after - before, rel=0.15, abs=0.05)
    if verdict.spurious == "likely":
        assert re.search(r"has no place, covers \d+% of the class, and the same pixels stand", verdict.why_spurious)


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 12), st.integers(3, 12), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(0, 100))
def test_pictures_of_any_size_are_searched(high: int, wide: int, channels: int, images: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    members, usual = rng.integers(0, 256, (2, images, channels, high, wide)).astype(np.uint8)
    patch = find_patch(members, usual, rng.random((images, high, wide), np.float32))
    if patch is not None:
        assert np.array(patch.boxes_in(members)).min() >= 0
        assert np.array(patch.boxes_in(members)).max() <= 1
