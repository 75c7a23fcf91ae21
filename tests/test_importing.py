"""Activations made elsewhere: every format gives the same store, and every mistake one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from atlas import import_arrays
from atlas.errors import AtlasError, DataError, StoreError
from atlas.layouts import bin_into_cells
from atlas.records import Layout
from atlas.storage.store import ActivationStore
from atlas.storage.verify import verify

ROWS, WIDE = 40, 6
RNG = np.random.default_rng(0)
ACTIVATIONS = RNG.normal(size=(ROWS, WIDE)).astype(np.float32)
IDS = [f"a/{i % 16:02d}.jpg" for i in range(ROWS)]  # two or three samples of each image, not one after the other
LABELS = ["cat" if i % 16 < 9 else "böse" for i in range(ROWS)]
UV = RNG.random((ROWS, 2)).astype(np.float32)
BOX = np.tile(np.array([0.25, 0.5, 0.75, 1.0], np.float32), (ROWS, 1))


def written(folder: Path, form: str) -> Path:
    path = folder / f"acts.{form.split(maxsplit=1)[0]}"
    columns = {"id": IDS, "label": LABELS, "u": UV[:, 0], "v": UV[:, 1]} | dict(
        zip(("left", "top", "right", "bottom"), BOX.T, strict=True)
    )
    if form == "npz":
        np.savez(path, activations=ACTIVATIONS, ids=np.array(IDS), labels=np.array(LABELS), uv=UV, box=BOX)
    elif form == "npy":
        np.save(path, ACTIVATIONS)
        lines = [",".join(columns), *(",".join(str(v) for v in row) for row in zip(*columns.values(), strict=True))]
        path.with_suffix(".csv").write_text("\n".join(lines), encoding="utf-8")
    elif form == "parquet numbers":
        wide = {f"channel {i}": ACTIVATIONS[:, i] for i in range(WIDE)}
        pyarrow.parquet.write_table(pa.table(columns | wide), path)
    else:
        kind = pa.list_(pa.float32(), WIDE) if form == "parquet fixed" else pa.list_(pa.float32())
        lists = pa.array(list(ACTIVATIONS), kind)
        pyarrow.parquet.write_table(
            pa.table(columns | {"activations": lists, "note": ["x"] * ROWS}), path, row_group_size=7
        )
    return path


def check(store: ActivationStore) -> None:
    """The rows in the order of their images, images in the order of their first rows."""
    layer = store.layer()
    order = [i for image in range(16) for i in range(ROWS) if i % 16 == image]
    assert list(store.images.ids) == [f"a/{i:02d}.jpg" for i in range(16)]
    assert np.array_equal(layer.rows()[:], ACTIVATIONS[order].astype(np.float16))
    assert np.array_equal(layer.image_of(), [i % 16 for i in order])
    np.testing.assert_allclose(layer.uv(), UV[order], rtol=1e-6)
    assert np.array_equal(layer.box(), BOX[order])
    assert store.classes == ("böse", "cat")
    assert np.array_equal(store.images.label, [1] * 9 + [0] * 7)
    assert (layer.name, layer.kinds, layer.positions) == ("layer7", ("positions",), None)
    assert (layer.shape.kind, layer.shape.channels) == ("vector", WIDE)
    assert store.accuracy is None
    assert (store.images.prediction == -1).all()
    assert verify(store.path) == []


@pytest.mark.parametrize("form", ["npz", "npy", "parquet lists", "parquet fixed", "parquet numbers"])
@pytest.mark.parametrize("part", [3, 1024])
def test_every_format_gives_the_same_store(tmp_path: Path, form: str, part: int) -> None:
    check(import_arrays(written(tmp_path, form), tmp_path / "a.store", layer="layer7", part=part))


def test_a_mapping_is_as_good_as_a_file(tmp_path: Path) -> None:
    arrays = {"activations": ACTIVATIONS, "id": IDS, "label": LABELS, "uv": UV, "box": BOX}
    check(import_arrays(arrays, tmp_path / "a.store", layer="layer7"))


def test_a_bare_array_has_one_image_a_row(tmp_path: Path) -> None:
    store = import_arrays(ACTIVATIONS, tmp_path / "a.store", part=16)
    layer = store.layer("imported")
    assert layer.kinds == ("positions", "mean")
    for kind in layer.kinds:
        assert np.array_equal(layer.rows(kind)[:], ACTIVATIONS.astype(np.float16))
        assert np.array_equal(layer.image_of(kind), np.arange(ROWS))
    with h5py.File(tmp_path / "a.store" / "parts" / "00000.h5") as file:
        assert file["layers/0/mean"].id.get_offset() == file["layers/0/positions/rows"].id.get_offset()
    assert store.images.ids[3] == "row/00000003"
    assert store.classes == ()
    assert (layer.uv() == 0.5).all()


def test_an_imported_store_can_be_gridded(tmp_path: Path) -> None:
    store = import_arrays(written(tmp_path, "npz"), tmp_path / "a.store")
    layer = store.layer()
    layout = Layout(np.clip(layer.uv(), 0, 1), np.zeros(ROWS, np.uint8))
    level = bin_into_cells(layout, layer.image_of(), level=0, min_images=2)
    assert level.samples.sum() == ROWS


def test_numbers_are_labels_too(tmp_path: Path) -> None:
    numbers = np.arange(ROWS) % 12 - 1
    store = import_arrays({"activations": ACTIVATIONS, "label": numbers}, tmp_path / "a.store")
    assert store.classes == tuple(str(i) for i in range(11))
    assert np.array_equal(store.images.label, numbers)
    classes = [f"class {i}" for i in range(20)]
    named = import_arrays({"activations": ACTIVATIONS, "label": numbers, "classes": classes}, tmp_path / "b.store")
    assert named.classes == tuple(classes)
    assert np.array_equal(named.images.label, numbers)


def test_values_that_do_not_fit_leave_their_image_out(tmp_path: Path) -> None:
    activations = ACTIVATIONS.copy()
    activations[17, 2], activations[5, 0] = 1e6, np.nan  # images 1 and 5
    arrays = {"activations": activations, "id": IDS}
    with pytest.raises(
        DataError, match=r"2 of the first 16 images cannot be used .*a/01\.jpg: activations that are not"
    ):
        import_arrays(arrays, tmp_path / "a.store")
    store = import_arrays(arrays, tmp_path / "a.store", max_unreadable=0.2, part=4)
    assert [name for name, _ in store.skipped] == ["a/01.jpg", "a/05.jpg"]
    assert len(store) == 14
    order = [i for image in range(16) for i in range(ROWS) if i % 16 == image and image not in (1, 5)]
    assert np.array_equal(store.layer().rows()[:], ACTIVATIONS[order].astype(np.float16))
    assert [store.images.ids[i] for i in store.layer().image_of()] == [IDS[i] for i in order]


def test_the_same_file_is_not_imported_twice(tmp_path: Path) -> None:
    path, out = written(tmp_path, "npz"), tmp_path / "a.store"
    first = import_arrays(path, out)
    stamp = (out / "index.h5").stat().st_mtime_ns
    assert import_arrays(path, out).fingerprint == first.fingerprint
    assert (out / "index.h5").stat().st_mtime_ns == stamp
    with pytest.raises(StoreError, match="another configuration"):
        import_arrays(path, out, layer="other")
    assert import_arrays(path, out, layer="other", force=True).layer().name == "other"
    (out / "parts" / "00000.h5").unlink()
    assert len(import_arrays(path, out, layer="other")) == 16


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"activations": np.zeros((2, 3, 4, 4))}, r"shape \(2, 3, 4, 4\): give numbers of shape \(rows, channels\)"),
        ({"activations": np.zeros((0, 3))}, "shape"),
        ({"activations": np.array([["a"]])}, "type <U1"),
        ({"acts": np.zeros((2, 3))}, "has an array 'acts'; did you mean 'activations'"),
        ({"id": ["a"]}, "has no array 'activations'"),
        ({"activations": np.zeros((2, 3)), "id": ["a"]}, r"'id' has shape \(1,\), but 2 rows"),
        ({"activations": np.zeros((2, 3)), "id": ["a", ""]}, "row 1 has no id"),
        ({"activations": np.zeros((2, 3)), "id": ["a", "b"], "ids": ["a", "b"]}, "has 'id' twice"),
        ({"activations": np.zeros((2, 3)), "uv": [[0, 0], [0, 2]]}, "'uv' has values outside 0 to 1"),
        ({"activations": np.zeros((2, 3)), "id": ["a", "a"], "label": ["x", "y"]}, "image 'a' has rows of different"),
        ({"activations": np.zeros((2, 3)), "label": [0, 5], "classes": ["x"]}, "labels are numbers below 1"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, arrays: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        import_arrays(arrays, tmp_path / "a.store")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.store").exists()


def test_files_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    pickled, torn = tmp_path / "pickled.npz", tmp_path / "torn.parquet"
    np.savez(pickled, activations=np.array([[1, "a"]], object))
    torn.write_bytes(b"PAR1 no parquet")
    words, ragged = tmp_path / "words.parquet", tmp_path / "ragged.parquet"
    pyarrow.parquet.write_table(pa.table({"id": ["a"], "text": ["b"]}), words)
    pyarrow.parquet.write_table(pa.table({"activations": [[1.0], [1.0, 2.0]]}), ragged)
    np.save(tmp_path / "wrong.npy", ACTIVATIONS)
    (tmp_path / "wrong.csv").write_text("id,lable\n" + "a,b\n" * ROWS)
    np.save(tmp_path / "short.npy", ACTIVATIONS)
    (tmp_path / "short.csv").write_text("id,label\na,b\n")
    np.save(tmp_path / "half.npy", ACTIVATIONS)
    (tmp_path / "half.csv").write_text("u\n" + "0.5\n" * ROWS)
    (tmp_path / "text.txt").write_text("x")
    for name, message in (
        ("pickled.npz", "cannot be read .*without pickles"),
        ("torn.parquet", "cannot be read"),
        ("words.parquet", "column 'text' is not all numbers"),
        ("ragged.parquet", "lists of different lengths"),
        ("wrong.npy", "column 'lable'; did you mean 'label'"),
        ("short.npy", "'id' has shape"),
        ("half.npy", "a column 'u' but no 'v'"),
        ("text.txt", "is not .npz"),
        ("absent.npz", "does not exist"),
    ):
        with pytest.raises(AtlasError, match=message) as caught:
            import_arrays(tmp_path / name, tmp_path / "a.store")
        assert "\n" not in str(caught.value)
