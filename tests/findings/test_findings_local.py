"""What changed in groups of samples, against loops, scipy's t-test and planted moves."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from atlas.findings.local import (
    Groups,
    SampleChange,
    adjusted,
    describe_change,
    effect_changes,
    group_means,
    groups_of_labels,
)
from atlas.findings.significance import against_retraining
from atlas.findings.similarity import measure_alignment
from atlas.layouts import rows as rows_room

SAMPLES, IMAGES, COUNT = 360, 120, 6


@pytest.fixture
def groups() -> Groups:
    """Some samples in no group; the last group empty."""
    of = np.random.default_rng(0).integers(-1, COUNT - 1, SAMPLES)
    rows = np.flatnonzero(of >= 0)
    return Groups(of[rows], rows, COUNT)


def change(seed: int = 0, pairs: int = 3) -> SampleChange:
    rng = np.random.default_rng(seed)
    overlap = rng.uniform(0, 0.6, SAMPLES).astype(np.float32)
    labels = rng.integers(-1, 4, IMAGES).astype(np.int32)
    kept = np.clip([overlap + rng.normal(0.02, 0.1, SAMPLES) for _ in range(pairs)], 0, 1).astype(np.float32)
    says = tuple(np.where(rng.random(IMAGES) < 0.7, labels, rng.integers(-1, 4, IMAGES)).astype(np.int32) for _ in "ab")
    return SampleChange(
        np.sort(rng.integers(0, IMAGES, SAMPLES)),
        overlap,
        rng.normal(size=SAMPLES).astype(np.float32),
        kept if pairs else None,
        labels,
        says,  # type: ignore[arg-type]
    )


def rows_of(width: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(SAMPLES, width)) + 2


def described(groups: Groups, told: SampleChange, x: NDArray[np.float64], y: NDArray[np.float64]):
    alignment = measure_alignment(x, y, told.image_of)
    return describe_change(groups, told, (group_means(x, groups), group_means(y, groups)), alignment)


def test_counts_shares_and_means_are_those_of_a_loop(groups: Groups) -> None:
    told = change()
    found = described(groups, told, rows_of(9, 1), rows_of(7, 2))
    one, other = told.predictions
    assert one is not None
    assert other is not None
    for g in range(COUNT):
        members = groups.rows[groups.of == g]
        images = sorted({int(told.image_of[m]) for m in members})
        assert found.images[g] == len(images)
        if not images:
            assert np.isnan([found.overlap[g], found.flips[g], found.accuracy_one[g], found.p[g]]).all()
            continue
        assert found.overlap[g] == pytest.approx(np.mean([told.overlap[m] for m in members]), abs=1e-6)
        assert found.denser[g] == pytest.approx(np.mean([told.denser[m] for m in members]), abs=1e-6)
        both = [i for i in images if one[i] >= 0 and other[i] >= 0]
        assert found.flips[g] == pytest.approx(np.mean([one[i] != other[i] for i in both]), abs=1e-6)
        for says, accuracy in ((one, found.accuracy_one), (other, found.accuracy_other)):
            judged = [i for i in images if says[i] >= 0 and told.labels[i] >= 0]
            assert accuracy[g] == pytest.approx(np.mean([says[i] == told.labels[i] for i in judged]), abs=1e-6)


def test_p_holds_each_groups_overlap_against_pairs_of_retrainings(groups: Groups) -> None:
    told = change()
    found = described(groups, told, rows_of(9, 1), rows_of(7, 2))
    assert told.kept is not None

    def angles(overlap: NDArray[np.float32]) -> NDArray[np.float64]:
        rows = []
        for g in range(COUNT - 1):
            members = groups.rows[groups.of == g]
            images = told.image_of[members]
            each = [overlap[members][images == image].mean() for image in np.unique(images)]
            rows.append(-np.arcsin(np.sqrt(np.mean(each))) * np.sqrt(len(each)))
        return np.array(rows)

    recipe = np.stack([angles(one) for one in told.kept])
    p = against_retraining(recipe, angles(told.overlap), 1e-5).p
    np.testing.assert_allclose(found.p[:-1], false_discovery_control(p), rtol=1e-3)
    assert np.isnan(found.p[-1])
    np.testing.assert_allclose(found.floor[0], told.kept.mean(axis=0)[groups.rows[groups.of == 0]].mean(), rtol=1e-5)
    for few in (0, 1):  # one reference makes one pair: nothing is known of how far retrainings differ
        assert np.isnan(described(groups, change(pairs=few), rows_of(9, 1), rows_of(7, 2)).p).all()


def test_retrainings_seldom_seem_to_have_changed_a_group_and_a_change_does() -> None:
    """Networks that are one geometry with noise of their own, which is the same for all images of a group."""
    rng = np.random.default_rng(0)
    images, count = 600, 12
    of = np.repeat(np.arange(count), images // count)
    groups = Groups(of, np.arange(images), count)
    alarms, found = 0, 0
    for _ in range(60):
        pairs = 0.5 + 0.02 * rng.normal(size=(4, count))[:, of] + 0.1 * rng.normal(size=(4, images))
        pairs = np.clip(pairs, 0, 1).astype(np.float32)
        labels = np.full(images, -1, np.int32)
        told = SampleChange(np.arange(images), pairs[3], pairs[3], pairs[:3], labels, (None, None))
        rows = rng.normal(size=(images, 3))
        alarms += bool((described(groups, told, rows, rows).p <= 0.05).any())
        less = np.where(of == 4, pairs[3] - 0.25, pairs[3]).clip(0, 1).astype(np.float32)
        told = SampleChange(np.arange(images), less, less, pairs[:3], labels, (None, None))
        found += int(np.nanargmin(described(groups, told, rows, rows).p) == 4)
    assert alarms <= 6
    assert found >= 57


def test_a_group_that_moved_is_told_after_rotation_and_scale(groups: Groups) -> None:
    x = rows_of(9, 1)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(9, 9)))[0]
    still = described(groups, change(), x, 4 * x @ rotation + 3)
    np.testing.assert_allclose(still.shift[:-1], 0, atol=1e-4)
    moved = x.copy()
    members = groups.rows[groups.of == 2]
    moved[members] += 3 * np.eye(9)[0]
    found = described(groups, change(), x, 4 * moved @ rotation + 3)
    assert found.shift[:-1].argmax() == 2
    # By hand: both centred and scaled to the same spread, the one rotation that fits all, centroids compared.
    centred = [(m - m.mean(axis=0)) / np.sqrt(((m - m.mean(axis=0)) ** 2).sum(axis=1).mean()) for m in (x, moved)]
    left, _, right = np.linalg.svd(centred[0].T @ centred[1])
    turned = centred[1] @ (left @ right).T
    apart = [np.linalg.norm((centred[0] - turned)[groups.rows[groups.of == g]].mean(axis=0)) for g in range(COUNT - 1)]
    np.testing.assert_allclose(found.shift[:-1], apart, rtol=1e-3)


def test_group_means_do_not_depend_on_blocks(groups: Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    x = rows_of(9, 1)
    monkeypatch.setattr(rows_room, "BLOCK_BYTES", 8 * 9 * 31)
    found = group_means(x, groups)
    for g in range(COUNT - 1):
        np.testing.assert_allclose(found[g], x[groups.rows[groups.of == g]].mean(axis=0), rtol=1e-6)
    assert np.isnan(found[-1]).all()


def test_the_effects_that_changed_most_are_told_in_order() -> None:
    one = np.array([[0, 1, 2], [3, -1, -1]], np.int32), np.array([[5, 1, -1], [2, np.nan, np.nan]], np.float32)
    other = np.array([[2, 0, 7], [3, -1, -1]], np.int32), np.array([[3, 4.5, 2], [2, np.nan, np.nan]], np.float32)
    classes, values = effect_changes(one, other)
    assert classes[0].tolist() == [2, 0, -1, -1, -1]  # 1 and 7 are listed by one of them alone
    np.testing.assert_allclose(values[0], [4, -0.5, np.nan, np.nan, np.nan])
    assert classes[1].tolist() == [-1] * 5  # unchanged


def test_labels_make_groups_and_p_keeps_its_gaps() -> None:
    found = groups_of_labels(np.array([1, -1, 0]), np.array([0, 0, 1, 2, 2]), 3)
    assert (found.rows.tolist(), found.of.tolist(), found.count) == ([0, 1, 3, 4], [1, 1, 0, 0], 3)
    np.testing.assert_allclose(adjusted(np.array([0.01, np.nan, 0.04])), [0.02, np.nan, 0.04])
