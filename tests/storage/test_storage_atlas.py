"""The atlas folder: what is written is read back, whole or absent, and damage is told in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from planted import HOSTILE, ICON, write_planted_atlas

from atlas.errors import StoreError
from atlas.layouts import bin_into_cells, describe_cells
from atlas.records import CellStatistics, Icons, Layout, Level
from atlas.storage import sheets
from atlas.storage.atlas import Atlas, open_atlas
from atlas.storage.atlas_header import read_header
from atlas.storage.atlas_writer import AtlasWriter
from atlas.storage.tables import write_arrays
from atlas.storage.verify import describe, verify

SIZE = 16


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted_atlas(tmp_path_factory.mktemp("planted") / "p.atlas", images=300, levels=2, icon_levels=1)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    return write_planted_atlas(tmp_path / "d.atlas", images=40, levels=1)


def start(path: Path, fingerprint: str = "one", force: bool = False) -> AtlasWriter:
    return AtlasWriter(path, name="t", fingerprint=fingerprint, classes=["a", "b"], aligned=True, force=force)


def fill(writer: AtlasWriter, images: int = 12) -> tuple[Level, CellStatistics, Icons]:
    """Write all but the levels; return a level with its icons. One image per cell of level 0's diagonal and more."""
    writer.write_images([f"i{n}" for n in range(images)], label=np.arange(images) % 2)
    writer.write_thumbnails(lambda n: np.full((20, 10, 3), n, np.uint8))
    rng = np.random.default_rng(0)
    positions = rng.uniform(size=(images, 2)).astype(np.float32)
    layout = Layout(positions, np.zeros(images, np.uint8))
    writer.write_layer_samples(
        0, name="l", kind="mean", channels=3, layout=layout, image_of=np.arange(images), icon_size=SIZE, patch_size=SIZE
    )
    writer.write_patches(0, np.arange(images), lambda k: np.full((4, 4), 20 * k, np.uint8))
    level = bin_into_cells(layout, np.arange(images), level=0, min_images=1)
    statistics = describe_cells(level, rng.normal(size=(images, 3)), np.arange(images), classes=2)
    images_ = rng.integers(0, 256, (int(level.kept.sum()), SIZE, SIZE, 3), dtype=np.uint8)
    score = np.linspace(0.1, 0.9, len(images_), dtype=np.float32)
    return level, statistics, Icons(images_, score, score, score, score)


def same(one: object, other: object) -> None:
    for field in fields(one):  # type: ignore[arg-type]
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    writer = start(tmp_path / "a.atlas")
    level, statistics, icons = fill(writer)
    writer.write_level(0, level, statistics, icons)
    atlas = writer.finish()
    assert (atlas.complete, atlas.classes, len(atlas.images), len(atlas.layers)) == (True, ("a", "b"), 12, 1)
    stored = atlas.layer("l").levels[0]
    same(stored.level, level)
    same(stored.statistics, statistics)
    np.testing.assert_array_equal(stored.scores.strength, icons.strength)
    for cell in range(len(level)):
        np.testing.assert_array_equal(stored.icon(cell), icons.images[cell])
        assert stored.find(int(level.column[cell]), int(level.row[cell])) == cell
    assert atlas.images.ids[:2] == ["i0", "i1"]
    assert atlas.images.ids.index_of("i7") == 7
    assert atlas.images.prediction.tolist() == [-1] * 12
    assert np.isnan(atlas.images.confidence).all()
    assert verify(atlas.path) == []


def test_pictures_are_letterboxed_and_found_by_index(tmp_path: Path) -> None:
    writer = start(tmp_path / "a.atlas")
    fill(writer)
    atlas = open_atlas(writer.path)
    thumbnail = atlas.thumbnail(9)
    assert thumbnail.shape == (96, 96, 3)
    assert abs(int(thumbnail[48, 48, 0]) - 9) < 3  # inside the upright picture
    assert abs(int(thumbnail[48, 2, 0]) - sheets.GREY) < 3  # beside it
    assert abs(int(atlas.layers[0].patch(5)[8, 8, 0]) - 100) < 3


def test_sheets_beyond_the_first(tmp_path: Path) -> None:
    paths = sheets.write_sheets(tmp_path / "s", 600, 16, lambda i: np.full((8, 8), i % 256, np.uint8), workers=2)
    assert [path.name for path in paths] == ["00000.jpg", "00001.jpg", "00002.jpg"]
    reader = sheets.Sheets(tmp_path / "s", 600, 16, "thumbnail")
    for index in (0, 17, 255, 256, 511, 599):
        assert abs(int(reader[index].mean()) - index % 256) <= 2
    for index in (-1, 600):
        with pytest.raises(StoreError, match=f"no thumbnail {index}: the thumbnails are 0 to 599"):
            reader[index]


def test_an_interrupted_run_of_sheets_goes_on(tmp_path: Path) -> None:
    def stop(index: int) -> NDArray[np.uint8]:
        if index >= 300:
            raise KeyboardInterrupt
        return np.zeros((4, 4), np.uint8)

    with pytest.raises(KeyboardInterrupt):
        sheets.write_sheets(tmp_path, 600, 8, stop)
    assert [path.name for path in tmp_path.iterdir()] == ["00000.jpg"]
    asked: list[int] = []
    sheets.write_sheets(tmp_path, 600, 8, asked.append)
    assert asked == list(range(256, 600))


def test_tiles_have_y_up(planted: Path) -> None:
    # The planted icons carry a white disc where their cell lies on the map: it must fall there in the tile too.
    level = open_atlas(planted).layers[0].levels[0]
    tile = level.tile(0, 0)
    for cell in np.flatnonzero(level.has_icon):
        column, row = int(level.level.column[cell]), int(level.level.row[cell])
        icon = tile[(7 - row) * ICON : (8 - row) * ICON, column * ICON : (column + 1) * ICON]
        np.testing.assert_array_equal(icon, level.icon(cell))
        y, x = np.argwhere((icon == 255).all(axis=2)).mean(axis=0)
        assert x == pytest.approx(12 + 72 * (column + 0.5) / 8, abs=1)
        assert y == pytest.approx(84 - 72 * (row + 0.5) / 8, abs=1)
    assert level.tiles == {(0, 0)}
    png = level.tile_png(0, 0)
    assert png is not None
    assert png.startswith(b"\x89PNG")


def test_accessors_refuse_what_is_not_there(planted: Path) -> None:
    atlas = open_atlas(planted)
    layer = atlas.layers[0]
    bare = layer.levels[1]  # written without icons
    assert not bare.has_icon.any()
    assert (bare.tile(1, 1) == 255).all()
    assert bare.tile_png(1, 1) is None
    assert bare.find(-1, 0) is None
    assert bare.find(16, 0) is None
    for call in (
        lambda: atlas.thumbnail(300),
        lambda: atlas.thumbnail(-1),
        lambda: atlas.thumbnail_sheet(2),
        lambda: layer.patch(10**9),
        lambda: layer.levels[0].icon(-1),
        lambda: layer.levels[0].icon(len(layer.levels[0])),
        lambda: layer.levels[0].tile(1, 0),
        lambda: bare.icon(0),
        lambda: bare.tile_png(2, 0),
        lambda: atlas.images.ids.index_of("nobody"),
    ):
        with pytest.raises(StoreError):
            call()
    with pytest.raises(StoreError, match="did you mean 'layer1'"):
        atlas.layer("layer")


def test_hostile_names_come_back_as_they_are(tmp_path: Path) -> None:
    path = write_planted_atlas(tmp_path / "h.atlas", images=24, classes=8, levels=1, hostile_names=True)
    atlas = open_atlas(path)
    assert [name.rsplit(" ", 1)[0] for name in atlas.classes] == list(HOSTILE)
    assert all(name in atlas.images.ids[i] for i, name in enumerate(atlas.classes))
    assert verify(path) == []


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    one = write_planted_atlas(tmp_path / "1.atlas", images=60, levels=2)
    other = write_planted_atlas(tmp_path / "2.atlas", images=60, levels=2)
    assert read_header(one) == read_header(other)
    assert (one / "atlas.json").read_bytes() == (other / "atlas.json").read_bytes()


def test_icons_can_be_added_later(tmp_path: Path) -> None:
    writer = start(tmp_path / "a.atlas")
    level, statistics, icons = fill(writer)
    writer.write_level(0, level, statistics)
    writer.finish()
    assert (writer.has_level(0, 0), writer.has_level(0, 0, icons=True)) == (True, False)
    again = AtlasWriter.resume(writer.path)
    again.write_level(0, level, statistics, icons)
    atlas = again.finish()
    assert again.has_level(0, 0, icons=True)
    assert atlas.layers[0].levels[0].header.icons == len(icons)
    assert verify(atlas.path) == []


def test_a_crash_while_a_level_is_written_leaves_it_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = start(tmp_path / "a.atlas")
    level, statistics, icons = fill(writer)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    for place in ("atlas.storage.atlas_writer.write_icon_tiles", "atlas.storage.atlas_writer.hash_file"):
        with monkeypatch.context() as patch:
            patch.setattr(place, crash)
            with pytest.raises(KeyboardInterrupt):
                writer.write_level(0, level, statistics, icons)
        assert open_atlas(writer.path).layers[0].levels == ()
        writer = start(writer.path)
        assert not writer.has_level(0, 0)
    writer.write_level(0, level, statistics, icons)
    writer.finish()
    assert verify(writer.path) == []


def test_resuming_keeps_what_is_whole_and_drops_what_is_gone(damaged: Path) -> None:
    fingerprint = read_header(damaged).fingerprint
    (damaged / "layers/0/levels/0/cells.npz").unlink()
    (damaged / "layers/0/.beside-1-levels").mkdir()
    writer = AtlasWriter(damaged, name="p", fingerprint=fingerprint)
    assert writer.has_images()
    assert writer.has_thumbnails()
    assert writer.has_samples(0)
    assert writer.has_patches(0)
    assert not writer.has_level(0, 0)
    assert not (damaged / "layers/0/.beside-1-levels").exists()
    assert not open_atlas(damaged).complete
    (damaged / "layers/0/samples.parquet").unlink()
    writer = AtlasWriter(damaged, name="p", fingerprint=fingerprint)
    assert not writer.has_samples(0)
    assert not writer.has_patches(0)
    assert writer.has_images()


def test_another_configuration_is_refused_unless_forced(tmp_path: Path) -> None:
    writer = start(tmp_path / "a.atlas")
    fill(writer)
    writer.finish().marks_path.write_text("{}")
    with pytest.raises(StoreError, match="another configuration"):
        start(writer.path, "two")
    forced = start(writer.path, "two", force=True)
    assert not forced.has_images()
    assert (writer.path / "marks.json").read_text() == "{}"
    assert not (writer.path / "thumbnails").exists()


def test_a_folder_of_other_things_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("x")
    for force in (False, True):
        with pytest.raises(StoreError, match="holds other things"):
            start(tmp_path, force=force)
    with pytest.raises(StoreError, match="is a file"):
        start(tmp_path / "precious.txt")


def test_other_patch_rows_drop_the_levels(tmp_path: Path) -> None:
    writer = start(tmp_path / "a.atlas")
    level, statistics, icons = fill(writer)
    writer.write_level(0, level, statistics, icons)
    writer.write_patches(0, np.arange(12), lambda k: pytest.fail("the same rows are not read again"))
    assert writer.has_level(0, 0)
    writer.write_patches(0, np.array([3, 1]), lambda k: None)
    assert not writer.has_level(0, 0)
    writer.write_level(0, level, statistics, icons)
    stored = open_atlas(writer.path).layers[0].levels[0]
    assert set(stored.statistics.patches.ravel()) == {-1, 1, 3}
    assert (stored.patches[:, 1:][stored.patches[:, :1].repeat(15, 1) < 0] == -1).all()  # padding comes last


DAMAGE = {
    "missing": (lambda f: f.unlink(), "is missing"),
    "truncated": (lambda f: f.write_bytes(f.read_bytes()[:50]), "has changed"),
    "empty": (lambda f: f.write_bytes(b""), "has changed"),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize(
    "name",
    [
        "images.parquet",
        "thumbnails/00000.jpg",
        "layers/0/samples.parquet",
        "layers/0/patches.npz",
        "layers/0/patches/00000.jpg",
        "layers/0/levels/0/cells.npz",
        "layers/0/levels/0/icons/0_0.png",
    ],
)
def test_damage_is_told(damaged: Path, name: str, kind: str) -> None:
    assert verify(damaged) == []
    harm, sentence = DAMAGE[kind]
    harm(damaged / name)
    (told,) = verify(damaged)
    assert name in told
    assert sentence in told

    def read_all() -> None:
        atlas = Atlas(damaged)
        layer = atlas.layers[0]
        assert atlas.images.label.size
        assert layer.samples.positions.size
        atlas.thumbnail(0)
        layer.patch(0)
        assert layer.levels[0].statistics
        layer.levels[0].icon(int(np.flatnonzero(layer.levels[0].has_icon)[0]))

    with pytest.raises(StoreError) as caught:
        read_all()
    assert Path(name).name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_stranger_file_is_told(damaged: Path) -> None:
    (damaged / "marks.json").write_text("{}")
    (damaged / "layers/0/note.txt").write_text("x")
    assert verify(damaged) == ["layers/0/note.txt is not recorded in atlas.json: it is no part of the atlas"]


def change(folder: Path, **values: object) -> None:
    path = folder / "atlas.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"schema": 3}, "newer than the 2"),
        ({"schema": 1}, "older than the 2"),
        ({"schema": "1"}, "'schema'"),
        ({"kind": "store"}, "not an atlas"),
        ({"images": -1}, "'images'"),
        ({"images": True}, "'images'"),
        ({"classes": [1]}, "'classes'"),
        ({"layers": [{}]}, "'states'"),
        ({"layers": {}}, "'layers'"),
        ({"accuracy": 7}, "'accuracy'"),
        ({"skipped": ["x"]}, "'skipped'"),
        ({"files": {"../outside": "0" * 64}}, "'files"),
        ({"files": {"images.parquet": "short"}}, "'files"),
    ],
)
def test_a_wrong_header_is_refused(damaged: Path, values: dict[str, object], sentence: str) -> None:
    change(damaged, **values)
    with pytest.raises(StoreError, match=sentence):
        open_atlas(damaged)


def test_what_is_no_atlas_is_refused(tmp_path: Path) -> None:
    for path, sentence in ((tmp_path / "none", "does not exist"), (tmp_path, "is not an atlas.*name one that")):
        with pytest.raises(StoreError, match=sentence):
            open_atlas(path)
    (tmp_path / "atlas.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        open_atlas(tmp_path)


def test_cells_that_do_not_fit_are_told(tmp_path: Path) -> None:
    writer = start(tmp_path / "a.atlas")
    level, statistics, icons = fill(writer)
    writer.write_level(0, replace(level, members=level.members + 100), statistics, icons)
    writer.finish()
    (told,) = verify(writer.path)
    assert "names samples that do not exist" in told


def test_describe_has_the_keys_of_info(planted: Path) -> None:
    told = describe(planted)
    assert told["kind"] == "atlas"
    assert told["images"] == 300
    assert told["accuracy"] == pytest.approx(298 / 299)
    (layer,) = told["layers"]
    assert {"name": "layer1", "samples": 300, "pool": "sample"}.items() <= layer.items()
    assert layer["states"] == {"fitted": 298, "placed": 0, "outlier": 2, "duplicate": 0, "other": 0}
    assert layer["left_out"] == 1
    assert [level["level"] for level in layer["levels"]] == [0, 1]
    assert set(layer["levels"][0]) == {"level", "side", "cells", "icons"}
    assert layer["levels"][0]["icons"] > 0
    assert layer["levels"][1]["icons"] == 0
    json.dumps(told, allow_nan=False)


def test_reading_needs_no_torch(planted: Path) -> None:
    code = (
        "import sys; from atlas.storage.atlas import open_atlas; a = open_atlas(sys.argv[1]); a.thumbnail(0);"
        "a.layers[0].levels[0].tile(0, 0); assert not {'torch', 'h5py', 'scipy'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code, str(planted)], check=True)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16"])
def test_letterbox_takes_any_mode(mode: str) -> None:
    picture = Image.new("L", (30, 10), 200).convert(mode) if mode != "I;16" else Image.new("I;16", (30, 10), 200)
    assert sheets.letterbox(picture, 96).size == (96, 96)


def test_trust_counts_all_cells_where_icons_count_the_kept_ones(tmp_path: Path) -> None:
    writer = start(tmp_path / "a.atlas")
    level, statistics, icons = fill(writer)
    kept = level.kept.copy()
    kept[0] = False
    level, count = replace(level, kept=kept), int(kept.sum())
    nearest = np.arange(count, dtype=np.int32)
    nearest[1] = 2  # the second icon shows the third cell
    score = np.full(count, 0.9, np.float32)
    score[3] = 0.2
    nearest[4] = -1  # nothing can be told of the fifth
    judged = Icons(icons.images[:count], score, score, score, score, nearest)
    writer.write_level(0, level, statistics, judged, 0.5)
    trust = writer.finish().layer("l").levels[0].trust
    cells = np.arange(len(level))
    expected = np.where(kept, cells, -1)
    expected[2], expected[5] = 3, -1
    assert trust.nearest.tolist() == expected.tolist()
    assert np.flatnonzero(~trust.believable).tolist() == [0, 2, 4, 5]
    assert verify(tmp_path / "a.atlas") == []


@pytest.mark.parametrize(
    ("cell", "nearest", "believable"), [(1, 0, True), (0, 1, False), (1, 99, False), (0, -1, True)]
)
def test_trust_that_cannot_be_is_damage(tmp_path: Path, cell: int, nearest: int, believable: bool) -> None:
    writer = start(tmp_path / "a.atlas")
    level, statistics, icons = fill(writer)
    kept = level.kept.copy()
    kept[0] = False
    level = replace(level, kept=kept)
    count = int(kept.sum())
    score = np.full(count, 0.9, np.float32)
    writer.write_level(0, level, statistics, Icons(icons.images[:count], score, score, score, score))
    file = tmp_path / "a.atlas" / "layers" / "0" / "levels" / "0" / "cells.npz"
    with np.load(file) as stored:
        arrays = dict(stored)
    arrays["nearest"][cell], arrays["believable"][cell] = nearest, believable
    write_arrays(file, arrays)
    writer._record(["layers/0/levels/0/cells.npz"])
    writer.finish()
    assert any("nearest to cells that have none" in damage for damage in verify(tmp_path / "a.atlas"))
