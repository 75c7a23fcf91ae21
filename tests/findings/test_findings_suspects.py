"""Candidates for cues: planted Gaussian structure is found, and nothing where nothing is planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from atlas.findings.suspect_candidates import LISTED, Samples, find_candidates

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
    assert len(np.intersect1d(found[0].images, planted)) > 0.85 * len(planted)
    assert np.isin(found[0].images, planted).mean() > 0.8
    assert found[0].p < 5e-3
    assert np.linalg.norm(found[0].direction) == pytest.approx(1, abs=1e-5)


def test_nothing_planted_nothing_listed() -> None:
    """At a rate of 2 %: of 12 networks one may list a group, and no more than that."""
    listed = [len(find_candidates(gaussian(seed))) for seed in range(12)]
    assert sum(listed) <= 1


def test_what_stands_out_too_little_is_given_where_a_test_can_tell() -> None:
    samples = gaussian(0, carriers=50)
    proven = find_candidates(samples)
    more = find_candidates(samples, unproven=3)
    assert [one.p for one in more[: len(proven)]] == [one.p for one in proven]
    assert len(more) == len(proven) + 3
    assert min(one.p for one in more[len(proven) :]) > LISTED
    few = find_candidates(samples, limit=1, unproven=1)
    assert [one.p <= LISTED for one in few] == [True, False]


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
    assert len(shared) > 0.9 * max(len(one.images), len(other.images))  # starts are drawn by their numbers


def mark_in_a_corner(seed: int = 0, images: int = 900, side: int = 8) -> tuple[Samples, NDArray[np.int64]]:
    """A dense map of noise in which 45 images of class 2 and 5 others have something in the lower right corner."""
    rng = np.random.default_rng(seed)
    middles = (np.arange(side) + 0.5) / side
    where = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2)
    label = np.arange(images) % CLASSES
    maps = rng.normal(size=(images, side * side, 8)) + 0.5 * rng.normal(size=(CLASSES, 1, 8))[label]
    planted = np.r_[np.flatnonzero(label == 2)[:45], np.flatnonzero(label == 4)[:5]]
    maps[planted[:, None], np.flatnonzero((where > 0.75).all(axis=1)), 3] += 3
    samples = Samples(
        rows=maps.reshape(-1, 8).astype(np.float32),
        image=np.repeat(np.arange(images), side * side),
        where=np.tile(where, (images, 1)).astype(np.float32),
        pooled=maps.mean(axis=1).astype(np.float32),
        peak=maps.max(axis=1).astype(np.float32),
        label=label,
        prediction=np.where(np.isin(np.arange(images), planted), 2, label),
        confidence=np.full(images, 0.9, np.float32),
        effects=None,
        classes=tuple("abcdef"),
    )
    return samples, planted


def test_a_small_mark_is_found_at_its_place() -> None:
    samples, planted = mark_in_a_corner()
    found = find_candidates(samples)[0]
    assert found.on == "rows"
    assert np.isin(planted, found.images).mean() > 0.9
    assert np.isin(found.images, planted).mean() > 0.9
    assert np.abs(found.direction).argmax() == 3
    assert found.direction[3] > 0.9
    assert (samples.where[found.rows[:40]] > 0.75).all()
    assert found.figures["place"] > 0.5
    assert np.isin(found.usual, planted).mean() < 0.05
    assert (samples.label[found.usual] == 2).all()


def test_what_is_found_on_one_half_is_known_of_the_other() -> None:
    samples, planted = mark_in_a_corner(1, images=1800)
    half = np.random.default_rng(0).random(1800) < 0.5
    found = find_candidates(samples, discovery=half)[0]
    carries = np.isin(np.arange(1800), planted)
    assert np.isfinite(found.membership).all()
    inside = found.membership[~half & carries]
    assert (inside >= found.threshold).mean() > 0.85
    assert (found.membership[~half & ~carries] >= found.threshold).mean() < 0.02


def test_positions_of_one_picture_are_no_further_evidence() -> None:
    """Each row five times over: as surprising as before, not more."""
    once = gaussian(3, carriers=40)
    often = replace(
        once,
        rows=np.repeat(once.rows, 5, axis=0),
        image=np.repeat(once.image, 5),
        where=np.repeat(once.where, 5, axis=0),
    )
    one, other = find_candidates(once)[0], find_candidates(often)[0]
    assert other.p >= one.p
    assert len(other.images) == len(one.images)


def test_what_two_layers_show_is_one_candidate() -> None:
    early = gaussian(5, carriers=50)
    late = replace(early, pooled=early.pooled[:, ::-1].copy(), peak=early.peak[:, ::-1].copy())
    found = find_candidates([early, late])
    assert len(found) == 1
    assert found[0].figures["views"] >= 3
    assert found[0].layer in (0, 1)


def test_a_cluster_of_errors_is_told_as_one() -> None:
    samples = gaussian(6, carriers=60, strength=8.0)
    planted = carried(samples.label, 60)
    prediction = samples.prediction.copy()
    prediction[planted] = 5
    found = find_candidates(replace(samples, prediction=prediction))[0]
    assert found.kind == "errors"
    assert (found.label, found.feeds) == (2, 5)
    assert found.figures["accuracy_gap_high"] < 0


def test_a_cluster_of_several_labels_that_are_predicted_as_one_is_shared() -> None:
    rng = np.random.default_rng(7)
    samples = gaussian(7)
    chosen = np.r_[np.flatnonzero(samples.label == 2)[:50], np.flatnonzero(samples.label != 2)[:40]]
    pooled = samples.pooled.copy()
    pooled[chosen] += 9 * np.linalg.qr(rng.normal(size=(12, 1)))[0].ravel().astype(np.float32)
    prediction = samples.prediction.copy()
    prediction[chosen] = 2
    found = find_candidates(replace(samples, pooled=pooled, peak=pooled, prediction=prediction))[0]
    assert (found.kind, found.feeds) == ("shared", 2)
    assert found.figures["pull_low"] > 0.5


def test_the_two_sides_of_a_class_are_one_candidate_the_side_that_is_recognised() -> None:
    """A third of the class carries the cue, and those without it are taken for others."""
    samples = gaussian(11)
    own = np.flatnonzero(samples.label == 2)
    pooled, prediction = samples.pooled.copy(), samples.label.copy()
    pooled[own[::3], 0] += 9 * samples.pooled[:, 0].std()
    prediction[np.setdiff1d(own, own[::3])] = 4
    found = find_candidates(replace(samples, pooled=pooled, peak=pooled, prediction=prediction))
    assert [one.label for one in found] == [2]
    assert np.isin(found[0].images, own[::3]).mean() > 0.95
    assert found[0].feeds == 2
    assert found[0].figures["of_class"] > 0.9


def test_without_labels_predictions_take_their_place() -> None:
    samples = gaussian(8, carriers=50, strength=9.0)
    found = find_candidates(replace(samples, label=np.full_like(samples.label, -1), prediction=samples.label))
    assert found
    assert np.isin(found[0].images, carried(samples.label, 50)).mean() > 0.7
    assert "accuracy_gap" not in found[0].figures


def test_too_few_images_of_every_class_give_an_empty_list() -> None:
    assert find_candidates(gaussian(9, images=100)) == []
