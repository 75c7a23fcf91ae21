"""Files of an atlas, at random: what was written comes back, and harm is never more than a StoreError."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from planted import write_planted_atlas

from atlas.errors import StoreError
from atlas.storage.atlas import Atlas, open_atlas
from atlas.storage.atlas_writer import AtlasWriter
from atlas.storage.tables import read_arrays, read_numbers, write_arrays, write_table
from atlas.storage.verify import verify

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DTYPES = st.sampled_from([np.float32, np.int64, np.int32, np.uint8, np.bool_])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted_atlas(tmp_path_factory.mktemp("whole") / "w.atlas", images=30, levels=1)


@QUICK
@given(st.dictionaries(st.sampled_from("abcde"), DTYPES.flatmap(lambda d: arrays(d, array_shapes(min_side=0)))))
def test_arrays_come_back(tmp_path: Path, written: dict[str, NDArray[Any]]) -> None:
    write_arrays(tmp_path / "a.npz", written)
    first = (tmp_path / "a.npz").read_bytes()
    read = read_arrays(tmp_path / "a.npz", written)
    for name, array in written.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)
    write_arrays(tmp_path / "a.npz", written)
    assert (tmp_path / "a.npz").read_bytes() == first


@QUICK
@given(st.lists(TEXT, unique=True, max_size=8), st.lists(TEXT, max_size=4), st.lists(st.tuples(TEXT, TEXT), max_size=3))
def test_any_names_come_back(
    tmp_path: Path, ids: list[str], classes: list[str], skipped: list[tuple[str, str]]
) -> None:
    path = tmp_path / "n.atlas"
    shutil.rmtree(path, ignore_errors=True)
    writer = AtlasWriter(path, name="n", fingerprint="f", classes=classes, skipped=skipped, provenance={"why": ids})
    writer.write_images(ids)
    atlas = writer.finish()
    assert list(atlas.images.ids) == ids
    assert [atlas.images.ids.index_of(image) for image in ids] == list(range(len(ids)))
    assert atlas.classes == tuple(classes)
    assert atlas.skipped == tuple(skipped)
    assert atlas.provenance == {"why": ids}


@QUICK
@given(arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32)))
def test_columns_keep_every_bit(tmp_path: Path, values: NDArray[np.float32]) -> None:
    write_table(tmp_path / "t.parquet", {"x": values})
    read = read_numbers(tmp_path / "t.parquet", "x", len(values))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values)
    with pytest.raises(StoreError, match="rows where"):
        read_numbers(tmp_path / "t.parquet", "x", len(values) + 1)
    with pytest.raises(StoreError, match="damaged"):
        read_numbers(tmp_path / "t.parquet", "y", len(values))


def read_everything(path: Path) -> None:
    atlas: Atlas = open_atlas(path)
    list(atlas.images.ids)
    for name in ("label", "prediction", "confidence", "width", "height"):
        getattr(atlas.images, name)
    for image in range(len(atlas.images)):
        atlas.thumbnail(image)
    for layer in atlas.layers:
        for name in ("image", "positions", "state", "uv", "box"):
            getattr(layer.samples, name)
        for patch in range(layer.header.patches):
            layer.patch(patch)
        for level in layer.levels:
            assert level.statistics
            for cell in np.flatnonzero(level.has_icon):
                level.icon(int(cell))


def complaint(path: Path) -> str:
    """What reading everything is refused with, empty when all can be read; any other error comes through."""
    try:
        read_everything(path)
    except StoreError as error:
        return str(error)
    return ""


@QUICK
@given(st.data())
def test_a_harmed_byte_is_told_and_nothing_worse(tmp_path: Path, whole: Path, data: st.DataObject) -> None:
    path = tmp_path / "h.atlas"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(whole, path)
    files = sorted(f for f in path.rglob("*") if f.is_file() and f.name != "atlas.json")
    file = data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[place:]
    file.write_bytes(content)
    assert verify(path) == [f"{file.relative_to(path).as_posix()} has changed: its hash is not the recorded one"]
    assert "\n" not in complaint(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_header_is_read_or_refused(tmp_path: Path, whole: Path, data: st.DataObject) -> None:
    header = json.loads((whole / "atlas.json").read_text())
    table = data.draw(st.sampled_from([header, header["layers"][0], header["layers"][0]["levels"][0]]))
    table[data.draw(st.sampled_from(sorted(table)))] = data.draw(JSON)
    (tmp_path / "atlas.json").write_text(json.dumps(header))
    for name in header["files"] if isinstance(header["files"], dict) else ():
        place = tmp_path / name
        if not place.exists() and name in json.loads((whole / "atlas.json").read_text())["files"]:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(whole / name, place)
    assert "\n" not in complaint(tmp_path)


def test_the_documented_way_to_read_one_works(repository: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (repository / "docs" / "formats.md").read_text()
    section = page.split("\n## Atlas\n")[1]
    code = section.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(whole.parent)
    found: dict[str, Any] = {}
    exec(code.replace("NAME.atlas", whole.name), found)
    level = open_atlas(whole).layers[0].levels[0]
    np.testing.assert_array_equal(np.asarray(found["icon"]), level.icon(found["best"]))
