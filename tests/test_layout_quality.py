"""What an atlas keeps of its layouts' quality, and what is told of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from atlas.errors import StoreError
from atlas.findings import measure_quality, measure_stability
from atlas.layout_quality import _icon_figures, quality_tables, tell_quality
from atlas.pipeline import build
from atlas.storage import open_atlas, open_store
from atlas.storage.verify import describe, verify
from tests.tiny import write_tiny_pipeline


@dataclass(frozen=True)
class LevelStub:
    """What the icons' figures read of a level."""

    cells: int
    has_icon: NDArray[np.bool_]
    scores: SimpleNamespace
    nearest: NDArray[np.int64]

    @property
    def trust(self) -> LevelStub:
        return self

    def __len__(self) -> int:
        return self.cells


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny pipeline and its finished atlas."""
    folder = tmp_path_factory.mktemp("tiny")
    build(write_tiny_pipeline(folder), folder / "whole.atlas", overrides=["icons.levels=1"])
    return folder


def test_the_atlas_holds_what_is_measured_on_its_store(folder: Path) -> None:
    atlas, store = open_atlas(folder / "whole.atlas"), open_store(folder / "whole.store")
    for layer in atlas.layers:
        stored = store.layers[layer.name]
        found = measure_quality(
            stored.rows("positions"), layer.layout, stored.image_of("positions"), store.images.label, classes=16
        )
        for name, value in found.figures().items():
            assert layer.quality[name] == (value if value is None else pytest.approx(value, abs=1e-6))
        known = np.isfinite(layer.sample_recall)
        assert np.flatnonzero(known).tolist() == sorted(found.anchors.tolist())
        coarse = layer.levels[0]
        grid = coarse.level
        for cell in range(len(coarse)):
            members = grid.members[grid.start[cell] : grid.start[cell + 1]]
            expected = layer.sample_recall[members][known[members]].mean()
            assert coarse.layout_trust[cell] == pytest.approx(expected, abs=1e-6)
        assert len(layer.levels[1].layout_trust) == len(layer.levels[1])
    assert describe(folder / "whole.atlas")["layers"][0]["quality"]["recall_15"] == atlas.layers[0].quality["recall_15"]
    assert verify(folder / "whole.atlas") == []


def test_stability_is_measured_once_and_kept(folder: Path, tmp_path: Path) -> None:
    for name in ("whole.atlas", "whole.store"):
        shutil.copytree(folder / name, tmp_path / name)
    atlas = tmp_path / "whole.atlas"
    before = tell_quality(atlas, second_seed=False)
    assert before["layers"]["3"]["layout"]["stability"] is None
    told = tell_quality(atlas)
    layout = told["layers"]["3"]["layout"]
    assert 0 < layout["stability"] <= 1
    assert 0 < layout["recall_15"] <= layout["recall_50"] <= 1
    assert set(told["layers"]["3"]["icons"]) >= {"centre", "robust", "windowed", "strength", "matched"}
    assert set(told["layers"]["3"]["classes"]) <= set(open_atlas(atlas).classes)
    shutil.rmtree(tmp_path / "whole.store")  # now it is known, the store is not needed
    assert tell_quality(atlas)["layers"]["3"]["layout"]["stability"] == layout["stability"]
    assert verify(atlas) == []
    assert open_atlas(atlas).complete


def test_a_stability_that_cannot_be_told_is_tried_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("whole.atlas", "whole.store"):
        shutil.copytree(folder / name, tmp_path / name)
    atlas = tmp_path / "whole.atlas"
    monkeypatch.setattr("atlas.layout_quality.measure_stability", lambda *_: None)
    assert tell_quality(atlas)["layers"]["3"]["layout"]["stability"] is None
    shutil.rmtree(tmp_path / "whole.store")
    assert tell_quality(atlas)["layers"]["3"]["layout"]["stability"] is None
    assert verify(atlas) == []


def test_a_second_seed_that_was_broken_off_gives_what_one_go_gives(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        shutil.copytree(folder / "whole.atlas", tmp_path / name / "whole.atlas")
        shutil.copytree(folder / "whole.store", tmp_path / name / "whole.store")
    measured = []

    def once(*told: object) -> float | None:
        if measured:
            raise KeyboardInterrupt
        measured.append(measure_stability(*told))  # type: ignore[arg-type]
        return measured[0]

    with monkeypatch.context() as patch:
        patch.setattr("atlas.layout_quality.measure_stability", once)
        with pytest.raises(KeyboardInterrupt):
            tell_quality(tmp_path / "two" / "whole.atlas")
    whole, broken = (tell_quality(tmp_path / name / "whole.atlas")["layers"] for name in ("one", "two"))
    for layer in ("1", "3"):
        assert broken[layer]["layout"]["stability"] == pytest.approx(whole[layer]["layout"]["stability"], abs=0.02)


def test_a_person_reads_each_figure_beside_what_it_means() -> None:
    known = {"recall_15": 0.25, "stability": None, "placed_recall_15": None, "states": {"fitted": 1200, "outlier": 3}}
    bare = {"recall_15": None, "states": {"fitted": 9}}
    layers = {
        "one": {"layout": known, "icons": {"centre": 0.5}, "classes": {}},
        "two": {"layout": bare, "icons": {"centre": None}, "classes": {}},
    }
    layout, icons = quality_tables({"layers": layers})
    rows = {row["layout"]: row for row in layout}
    assert (rows["recall_15"]["one"], rows["recall_15"]["two"]) == ("0.250", "not known")
    assert "15 nearest on the map" in rows["recall_15"]["meaning"]
    assert rows["stability"]["one"] == "not known"
    assert "placed_recall_15" not in rows
    assert (rows["fitted samples"]["one"], rows["outlier samples"]["two"]) == ("1,200", "0")
    assert "placed samples" not in rows
    assert {row["icons"]: row["one"] for row in icons}["centre"] == "0.500"
    known["placed_recall_15"] = 0.1
    assert "placed_recall_15" in {row["layout"] for row in quality_tables({"layers": layers})[0]}


def test_an_icon_alone_in_its_level_is_not_counted_as_matched() -> None:
    def level(nearest: list[int], drawn: list[bool]) -> LevelStub:
        score = np.full(len(nearest), 0.5, np.float32)
        scores = SimpleNamespace(centre=score, robust=score, windowed=score, strength=score)
        return LevelStub(len(nearest), np.array(drawn), scores, np.array(nearest))

    alone, others = level([-1, 1], [False, True]), level([0, 2, 2, -1], [True] * 4)
    assert _icon_figures(SimpleNamespace(levels=[alone]))["matched"] is None
    assert _icon_figures(SimpleNamespace(levels=[alone, others]))["matched"] == 0.5


def test_a_missing_store_is_told(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "whole.atlas", tmp_path / "whole.atlas")
    with pytest.raises(StoreError, match=r"store of .* is missing .*--no-second-seed"):
        tell_quality(tmp_path / "whole.atlas")
    assert tell_quality(tmp_path / "whole.atlas", second_seed=False)["layers"]["1"]["layout"]["recall_15"] > 0


def test_lost_figures_are_measured_again(folder: Path, tmp_path: Path) -> None:
    for name in ("whole.atlas", "whole.store", "whole.work"):
        shutil.copytree(folder / name, tmp_path / name)
    for name in ("tiny.toml", "tinynet.py", "pictures.toml"):
        shutil.copy(folder / name, tmp_path)
    (tmp_path / "whole.atlas" / "layers" / "0" / "quality.npz").unlink()
    built = build(tmp_path / "tiny.toml", tmp_path / "whole.atlas", overrides=["icons.levels=1"])
    assert built.layers[0].quality == open_atlas(folder / "whole.atlas").layers[0].quality
    assert verify(tmp_path / "whole.atlas") == []
