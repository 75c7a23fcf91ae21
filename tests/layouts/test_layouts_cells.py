"""What a cell holds, against loops over its samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from atlas.layouts import bin_into_cells, cells, describe_cells, rows
from atlas.records import CellStatistics, Layout, Level

CLASSES, CHANNELS, IMAGES, EACH = 4, 7, 90, 3


@dataclass(frozen=True)
class Effects:
    sample_rows: NDArray[np.int64]
    classes: NDArray[np.int32]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    level: Level
    rows: NDArray[np.float16]
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    prediction: NDArray[np.int64]
    confidence: NDArray[np.float32]
    effects: Effects

    def describe(self, **changes: object) -> CellStatistics:
        arguments: dict[str, object] = {
            "labels": self.label,
            "predictions": self.prediction,
            "confidence": self.confidence,
            "effects": self.effects,
            "classes": CLASSES,
            "outputs": CLASSES,
        }
        return describe_cells(self.level, self.rows, self.image, **{**arguments, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def case() -> Case:
    rng = np.random.default_rng(0)
    total = IMAGES * EACH
    image = np.repeat(np.arange(IMAGES), EACH)
    positions = (rng.beta(2, 3, (total, 2))).astype(np.float32)
    positions[:5] = np.nan
    layout = Layout(positions, rng.integers(0, 4, total).astype(np.uint8))
    activations = rng.normal(size=(total, CHANNELS)).astype(np.float16)
    activations[20:24] = 0  # rows without direction
    confidence = rng.uniform(size=IMAGES).astype(np.float32)
    confidence[::7] = np.nan
    of = np.sort(rng.choice(total, 120, replace=False))
    effects = Effects(
        of,
        np.tile(np.arange(CLASSES, dtype=np.int32), (len(of), 1)),
        rng.normal(size=(len(of), CLASSES)).astype(np.float32),
    )
    return Case(
        bin_into_cells(layout, image, level=0, min_images=2),
        activations,
        image,
        rng.integers(-1, CLASSES, IMAGES),
        rng.integers(-1, CLASSES, IMAGES),
        confidence,
        effects,
    )


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    length = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
    return float(a @ b) / length if length else 0.0


def members(level: Level, cell: int) -> list[int]:
    return level.members[level.start[cell] : level.start[cell + 1]].tolist()


def test_activations_agree_with_loops(case: Case) -> None:
    told = case.describe()
    for cell in range(len(case.level)):
        inside = members(case.level, cell)
        centre = np.mean([case.rows[m].astype(float) for m in inside], axis=0)
        near = {m: cosine(case.rows[m].astype(float), centre) for m in inside}
        np.testing.assert_allclose(told.mean[cell], centre, rtol=1e-6, atol=1e-7)
        assert told.spread[cell] == pytest.approx(1 - mean(list(near.values())), abs=1e-5)
        assert near[told.medoid[cell]] == pytest.approx(max(near.values()), abs=1e-6)
        best: dict[int, float] = {}
        for m, value in near.items():
            best[case.image[m]] = max(value, best.get(case.image[m], -2))
        wanted = sorted(best.values(), reverse=True)[:16]
        shown = told.patches[cell][told.patches[cell] >= 0]
        assert len({int(case.image[m]) for m in shown}) == len(shown) == len(wanted)
        np.testing.assert_allclose(told.patch_cosine[cell][: len(shown)], wanted, atol=1e-6)
        np.testing.assert_allclose([near[m] for m in shown], wanted, atol=1e-6)
        assert np.isnan(told.patch_cosine[cell][len(shown) :]).all()
        assert (told.patches[cell][len(shown) :] == -1).all()


def test_the_image_is_the_unit(case: Case) -> None:
    told = case.describe()
    for cell in range(len(case.level)):
        images = sorted({int(case.image[m]) for m in members(case.level, cell)})
        assert told.label_counts[cell].tolist() == [sum(case.label[i] == c for i in images) for c in range(CLASSES)]
        judged = [i for i in images if case.label[i] >= 0 and case.prediction[i] >= 0]
        right = mean([float(case.label[i] == case.prediction[i]) for i in judged])
        assert told.accuracy[cell] == pytest.approx(right, nan_ok=True)
        sure = mean([float(case.confidence[i]) for i in images if not np.isnan(case.confidence[i])])
        assert told.confidence[cell] == pytest.approx(sure, nan_ok=True)


def check_effects(case: Case, told: CellStatistics, effects: Effects, outputs: int, kept: int) -> None:
    assert told.effect_class.shape == (len(case.level), kept)
    for cell in range(len(case.level)):
        inside = set(members(case.level, cell))
        having = [i for i, row in enumerate(effects.sample_rows) if int(row) in inside]
        assert told.effect_samples[cell] == len(having)
        sums: dict[int, float] = {}
        for i in having:
            seen = set()
            for c, value in zip(effects.classes[i].tolist(), effects.values[i].tolist(), strict=True):
                if c >= 0 and c not in seen:
                    sums[c] = sums.get(c, 0) + value
                    seen.add(c)
        wanted = sorted(((value / len(having), c) for c, value in sums.items()), reverse=True)[:kept]
        filled = told.effect_class[cell] >= 0
        assert filled.sum() == len(wanted)
        assert np.isnan(told.effect_value[cell][~filled]).all()
        np.testing.assert_allclose(told.effect_value[cell][filled], [value for value, _ in wanted], atol=1e-6)
        assert told.effect_class[cell][filled].tolist() == [c for _, c in wanted]


def test_effects_on_all_classes(case: Case) -> None:
    check_effects(case, case.describe(), case.effects, CLASSES, CLASSES)


def test_effects_on_the_strongest_classes_only(case: Case) -> None:
    # 300 outputs, five listed of each sample, the label's last although it may be among the strongest.
    rng = np.random.default_rng(1)
    listed = np.stack([rng.choice(300, 5, replace=False) for _ in case.effects.sample_rows]).astype(np.int32)
    repeated = rng.uniform(size=len(listed)) < 0.5
    listed[repeated, 4] = listed[repeated, 1]
    values = rng.uniform(1, 2, listed.shape).astype(np.float32)
    values[repeated, 4] = values[repeated, 1]
    effects = Effects(case.effects.sample_rows, listed, values)
    check_effects(case, case.describe(effects=effects, outputs=300), effects, 300, 20)


def test_what_is_not_known_is_absent(case: Case) -> None:
    told = case.describe(labels=None, predictions=None, confidence=None, effects=None, classes=0, outputs=0)
    assert told.label_counts.shape == (len(case.level), 0)
    assert told.effect_class.shape == (len(case.level), 0)
    assert np.isnan(told.accuracy).all()
    assert np.isnan(told.confidence).all()
    assert not told.effect_samples.any()


def test_small_blocks_and_groups_give_the_same(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = case.describe()
    monkeypatch.setattr(rows, "BLOCK_BYTES", 8 * CHANNELS * 11)
    monkeypatch.setattr(cells, "BLOCK_BYTES", 8 * CLASSES * 11)
    monkeypatch.setattr(cells, "ACCUMULATOR_BYTES", 8 * CHANNELS * 5)
    parts = case.describe()
    for name in CellStatistics.__dataclass_fields__:
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-6, err_msg=name)


def test_an_empty_level_is_described() -> None:
    layout = Layout(np.full((4, 2), np.nan, np.float32), np.full(4, 2, np.uint8))
    level = bin_into_cells(layout, np.arange(4), level=0, min_images=1)
    told = describe_cells(level, np.ones((4, 3), np.float32), np.arange(4), labels=np.zeros(4, np.int64), classes=2)
    assert told.mean.shape == (0, 3)
    assert told.patches.shape == (0, 16)
    assert told.label_counts.shape == (0, 2)
