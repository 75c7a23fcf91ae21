"""What an atlas's record says between its stages, and what its pictures show where none could be read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from atlas.layouts import bin_into_cells, describe_cells
from atlas.records import CellStatistics, Icons, Layout, Level
from atlas.storage.atlas import open_atlas
from atlas.storage.atlas_writer import AtlasWriter
from atlas.storage.verify import describe, verify

SIZE, IMAGES = 16, 12
GREY = np.full((SIZE, SIZE, 3), 128, np.uint8)


def filled(path: Path) -> tuple[AtlasWriter, Level, CellStatistics, Icons]:
    """An atlas with images and the samples of one layer; and a level of it with icons, yet to be written."""
    writer = AtlasWriter(path, name="t", fingerprint="one")
    writer.write_images([f"i{n}" for n in range(IMAGES)])
    rng = np.random.default_rng(0)
    layout = Layout(rng.uniform(size=(IMAGES, 2)).astype(np.float32), np.zeros(IMAGES, np.uint8))
    own = np.arange(IMAGES)
    writer.write_layer_samples(
        0, name="l", kind="mean", channels=3, layout=layout, image_of=own, icon_size=SIZE, patch_size=SIZE
    )
    level = bin_into_cells(layout, own, level=0, min_images=1)
    statistics = describe_cells(level, rng.normal(size=(IMAGES, 3)), own)
    images = rng.integers(0, 256, (int(level.kept.sum()), SIZE, SIZE, 3), dtype=np.uint8)
    score = np.linspace(0.1, 0.9, len(images), dtype=np.float32)
    return writer, level, statistics, Icons(images, score, score, score, score)


def test_a_crash_while_a_level_is_replaced_leaves_an_unfinished_atlas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, level, statistics, icons = filled(tmp_path / "a.atlas")
    writer.write_level(0, level, statistics)
    writer.finish()

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    again = AtlasWriter.resume(writer.path)
    with monkeypatch.context() as patch:
        patch.setattr("atlas.storage.atlas_writer.hash_file", crash)
        with pytest.raises(KeyboardInterrupt):
            again.write_level(0, level, statistics, icons)
    left = open_atlas(writer.path)
    assert left.layers[0].levels == ()
    assert not left.complete
    again = AtlasWriter(writer.path, name="t", fingerprint="one")
    again.write_level(0, level, statistics, icons)
    assert verify(again.finish().path) == []


def test_a_replaced_level_leaves_a_finished_atlas_finished(tmp_path: Path) -> None:
    writer, level, statistics, icons = filled(tmp_path / "a.atlas")
    writer.write_level(0, level, statistics)
    assert not open_atlas(writer.path).complete
    writer.finish()
    AtlasWriter.resume(writer.path).write_level(0, level, statistics, icons)
    assert open_atlas(writer.path).complete


def test_other_stages_that_strike_levels_leave_an_unfinished_atlas(tmp_path: Path) -> None:
    writer, level, statistics, _ = filled(tmp_path / "a.atlas")
    writer.write_patches(0, np.arange(3), lambda k: GREY)
    writer.write_level(0, level, statistics)
    writer.finish()
    AtlasWriter.resume(writer.path).write_patches(0, np.arange(4), lambda k: GREY)
    assert not open_atlas(writer.path).complete


def test_a_level_without_any_kept_cell_lacks_no_icons(tmp_path: Path) -> None:
    writer, level, statistics, _ = filled(tmp_path / "a.atlas")
    nothing = replace(level, kept=np.zeros(len(level), bool))
    none = np.zeros(0, np.float32)
    writer.write_level(0, level, statistics)
    assert not writer.has_level(0, 0, icons=True)
    for icons in (None, Icons(np.zeros((0, SIZE, SIZE, 3), np.uint8), none, none, none, none)):
        writer.write_level(0, nothing, statistics, icons)
        assert writer.has_level(0, 0, icons=True)
        assert AtlasWriter.resume(writer.path).has_level(0, 0, icons=True)


def test_a_picture_that_cannot_be_read_leaves_its_slot_grey(tmp_path: Path) -> None:
    writer, *_ = filled(tmp_path / "a.atlas")

    def read(k: int) -> NDArray[np.uint8] | None:
        return None if k == 1 else np.full((4, 4), 250, np.uint8)

    writer.write_thumbnails(read)
    writer.write_patches(0, np.array([5, 7, 9]), read, workers=2)
    atlas = writer.finish()
    layer = atlas.layers[0]
    assert (atlas.thumbnail(1) == 128).all()
    assert np.array_equal(layer.patch(1), GREY)
    for picture in (atlas.thumbnail(0), atlas.thumbnail(2), layer.patch(0), layer.patch(2)):
        assert picture.min() > 240
    assert layer.header.patches == 3
    assert verify(atlas.path) == []


def test_notes_are_read_back_and_described(tmp_path: Path) -> None:
    notes = ("Accuracy is 0.3: the class names may be in another order.", "naïve 猫")
    skipped = [("a.jpg", "the file is empty"), ("b.jpg", "truncated")]
    path = tmp_path / "a.atlas"
    AtlasWriter(path, name="t", fingerprint="one", notes=notes, skipped=skipped)
    assert AtlasWriter(path, name="t", fingerprint="one").header.notes == notes
    assert open_atlas(path).notes == notes
    assert (describe(path)["notes"], describe(path)["skipped"]) == (list(notes), 2)


def test_an_atlas_written_before_there_were_notes_has_none(tmp_path: Path) -> None:
    path = tmp_path / "a.atlas"
    AtlasWriter(path, name="t", fingerprint="one")
    header = json.loads((path / "atlas.json").read_text())
    assert header.pop("notes") == []
    (path / "atlas.json").write_text(json.dumps(header))
    assert open_atlas(path).notes == ()
    assert describe(path)["notes"] == []
