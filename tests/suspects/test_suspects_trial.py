"""The causal test on networks whose weights are known: what is used, what is not, what is no cue at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from planted_cues import MARK, SIDE, YELLOW, World, make_candidate, make_probe, make_trial, make_world
from scipy.ndimage import gaussian_filter
from torch import nn

from atlas.models import Model, Preprocess, layer_shapes
from atlas.suspects.causal import Estimate, try_suspect
from atlas.suspects.probe import Probe, lowered, raised
from atlas.suspects.verdicts import judge

CORNER = (1 - MARK / SIDE, 1 - MARK / SIDE, 1.0, 1.0)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    wide = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    high = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return wide * high / (sum(areas) - wide * high)


def test_a_mark_that_has_weight_is_used_and_spurious(world: World) -> None:
    probe = make_probe(world, mark=0.2)
    outcome = try_suspect(probe, make_trial(world, probe, world.marked), world.label, 0)
    verdict = judge(make_candidate(world, world.marked), outcome)
    assert (verdict.used, verdict.spurious) == ("yes", "likely")
    assert overlap(outcome.place.box, CORNER) > 0.6
    assert outcome.place.density < 0.2


def test_a_mark_that_does_no_more_than_natural_parts_do_is_not_called_spurious(world: World) -> None:
    probe = make_probe(world, mark=0.2)
    outcome = try_suspect(probe, make_trial(world, probe, world.marked), world.label, 0)
    pasted = next(test for test in outcome.tests if test.name == "paste")
    candidate = make_candidate(world, world.marked)
    assert judge(candidate, outcome).beyond == pytest.approx(pasted.logit.low - max(pasted.controls))
    strong = replace(pasted, controls=(*pasted.controls, pasted.logit.mean))
    beside = replace(outcome, tests=tuple(strong if test is pasted else test for test in outcome.tests))
    verdict = judge(candidate, beside)
    assert (verdict.used, verdict.spurious) == ("yes", "unclear")
    assert "a natural part of the class" in verdict.why_spurious


def test_pasting_changes_the_logit_by_what_the_weights_say(world: World) -> None:
    weight = 0.2
    probe = make_probe(world, weight)
    trial = make_trial(world, probe, world.marked)
    outcome = try_suspect(probe, trial, world.label, 0)
    pasted = next(test for test in outcome.tests if test.name == "paste")
    corner = world.pictures[trial.others, :, -MARK:, -MARK:].astype(float)
    gained = (np.array(YELLOW, float)[:, None, None] - corner) / 127.5  # in the network's units, mean and std 0.5
    change = weight * (gained * np.array([1, 1, -1])[:, None, None]).sum((1, 2, 3)) / 4  # pooled by 2 x 2
    assert pasted.logit.mean == pytest.approx(change[: pasted.images].mean(), rel=0.1)
    assert pasted.logit.low < pasted.logit.mean < pasted.logit.high


def test_a_mark_without_weight_is_not_used(world: World) -> None:
    probe = make_probe(world, mark=0.0)
    outcome = try_suspect(probe, make_trial(world, probe, world.marked), world.label, 0)
    verdict = judge(make_candidate(world, world.marked), outcome)
    assert (verdict.used, verdict.spurious) == ("no", "unlikely")
    assert overlap(outcome.place.box, CORNER) > 0.6


def test_a_natural_part_is_not_called_spurious(world: World) -> None:
    probe = make_probe(world, mark=0.2)
    large = world.large & (world.label == 0) & ~world.marked
    outcome = try_suspect(probe, make_trial(world, probe, large), world.label, 0)
    assert judge(make_candidate(world, large), outcome).spurious != "likely"


def test_a_tint_is_given_whole() -> None:
    """A colour over all of the picture has no box: its look is given, exactly as it was painted."""
    world = make_world(painted=False)
    tint = np.array([250, 240, 5], np.float32)[:, None, None]
    pictures = world.pictures.copy()
    pictures[world.marked] = world.pictures[world.marked] * 0.65 + tint * 0.35
    tinted = World(pictures, world.label, world.marked, world.large, world.discovery)
    probe = make_probe(tinted, mark=0.2)
    trial = make_trial(tinted, probe, tinted.marked)
    outcome = try_suspect(probe, trial, tinted.label, 0)
    assert outcome.place.box == (0, 0, 1, 1)
    others = trial.others[:96]
    truth = (world.pictures[others] * 0.65 + tint * 0.35).astype(np.uint8)
    expected = (probe.logits(truth) - probe.logits(world.pictures[others]))[:, 0].mean()
    pasted = next(test for test in outcome.tests if test.name == "paste")
    assert pasted.logit.mean == pytest.approx(expected, rel=0.25)
    candidate, beside = make_candidate(tinted, tinted.marked), (replace(pasted, controls=(0.1,)),)
    plain = replace(outcome, plain=1.0, plain_natural=(0.5,), tests=beside)  # natural parts that are unlike it
    assert (judge(candidate, plain).used, judge(candidate, plain).spurious) == ("yes", "likely")
    hardly = judge(candidate, replace(plain, arrived=0.2))
    assert hardly.spurious == "unclear"
    assert "the look that was given hardly has what they share" in hardly.why_spurious


class Specks(nn.Module):
    """Class 0 is red in the middle, or has pixels that are unlike their surroundings, wherever they are."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        around = torch.full((3, 1, 3, 3), -1 / 8)
        around[:, :, 1, 1] = 1
        self.maps = nn.Sequential(
            nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect", groups=3, bias=False), nn.ReLU()
        )
        self.maps[0].weight.data = around
        self.weight = weight

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        specks = self.weight * self.maps(pictures).sum(dim=(1, 2, 3))
        red = pictures[:, 0, 10:14, 10:14].mean(dim=(1, 2)) - pictures[:, 2, 10:14, 10:14].mean(dim=(1, 2))
        return torch.stack([specks + red, -red], dim=1)


def speck_probe(pictures: np.ndarray, weight: float) -> Probe:
    model = Model(Specks(weight).eval(), "specks", Preprocess((0.5,), (0.5,), crop=(SIDE, SIDE)), ("red", "blue"), "")
    return Probe(model, "maps", layer_shapes(model, ["maps"])["maps"], lambda image: pictures[image])


def dusty(pictures: np.ndarray, seed: int) -> np.ndarray:
    rng, found = np.random.default_rng(seed), pictures.copy()
    for picture in found:
        picture[:, rng.integers(0, SIDE, 9), rng.integers(0, SIDE, 9)] = 250
    return found


def test_dust_that_lies_nowhere_twice_is_given_as_it_is() -> None:
    """No two members are alike anywhere, and a mean of them is no dust: what is fine in one of them is."""
    world = make_world(painted=False)
    smooth = gaussian_filter(world.pictures.astype(np.float32), (0, 0, 2, 2)).astype(np.uint8)
    pictures = np.where(world.marked[:, None, None, None], dusty(smooth, 0), smooth)
    dusted = World(pictures, world.label, world.marked, world.large, world.discovery)
    probe = speck_probe(pictures, 0.06)
    trial = make_trial(dusted, probe, dusted.marked)
    outcome = try_suspect(probe, trial, dusted.label, 0)
    others = trial.others[:96]
    expected = (probe.logits(dusty(smooth[others], 1)) - probe.logits(smooth[others]))[:, 0].mean()
    given = next(test for test in outcome.tests if test.name == "paste")
    assert expected > 1
    assert given.logit.mean == pytest.approx(expected, rel=0.25)
    assert 0.7 < outcome.arrived < 1.3
    candidate = make_candidate(dusted, dusted.marked)
    assert judge(candidate, outcome).used == "yes"
    unused = try_suspect(speck_probe(pictures, 0.0), trial, dusted.label, 0)
    assert judge(candidate, unused).used == "no"
    for unseen in (0.1, float("nan")):  # what did not arrive says nothing
        assert judge(candidate, replace(unused, arrived=unseen)).used == "undecided"


def test_too_few_pictures_are_left_undecided(world: World) -> None:
    few = np.zeros(len(world.label), bool)
    few[np.flatnonzero(world.marked & world.discovery)[:20]] = True
    few[np.flatnonzero(world.marked & ~world.discovery)[:5]] = True
    probe = make_probe(world, mark=0.2)
    outcome = try_suspect(probe, make_trial(world, probe, few), world.label, 0)
    assert outcome.tests == ()
    assert judge(make_candidate(world, few), outcome).used == "undecided"


def test_a_cluster_that_is_all_of_its_class_has_nothing_beside_it(world: World) -> None:
    probe = make_probe(world, mark=0.2)
    trial = make_trial(world, probe, world.marked)
    outcome = try_suspect(probe, replace(trial, usual=trial.usual[:0]), world.label, 0)
    verdict = judge(make_candidate(world, world.label == 0), outcome)
    assert (verdict.used, verdict.spurious) == ("undecided", "unclear")


def test_without_a_trial_nothing_is_claimed(world: World) -> None:
    verdict = judge(make_candidate(world, world.marked), None)
    assert (verdict.used, verdict.spurious) == ("untested", "unclear")


def test_a_direction_is_lowered_and_raised_at_every_position(world: World) -> None:
    probe = make_probe(world, mark=0.2)
    direction = np.array([1, 0, 0], np.float32)
    maps = probe.maps(world.pictures[:4])
    below = lowered(direction, 0.1)(torch.from_numpy(maps)).numpy()
    assert below[..., 0].max() <= 0.1 + 1e-6
    assert np.array_equal(below[..., 1:], maps[..., 1:])
    by = np.linspace(0, 1, maps.shape[1], dtype=np.float32)
    above = raised(direction, by)(torch.from_numpy(maps)).numpy()
    assert np.allclose(above[..., 0] - maps[..., 0], by, atol=1e-6)
    after = probe.logits(world.pictures[:4], raised(direction, by)) - probe.logits(world.pictures[:4])
    weights = probe.model.network.head.weight[:, : maps.shape[1]].numpy()
    assert np.allclose(after, weights @ by, atol=1e-4)


def test_an_interval_holds_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for number in range(300):
        estimate = Estimate.of(rng.normal(1, 2, 60), number)
        held += estimate.low <= 1 <= estimate.high
    assert 0.9 <= held / 300 <= 0.98
