"""Stores: what is written is read back, whole or not at all, and damage is said in one sentence."""

from __future__ import annotations

import errno
import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas.errors import StoreError
from atlas.records import LayerShape
from atlas.storage import files
from atlas.storage.moments import Moments
from atlas.storage.parts import Effects, ImageTable, LayerRows, LayerSpec, Part, Skipped
from atlas.storage.store import ActivationStore, describe_store, open_store, verify_store
from atlas.storage.store_index import INDEX, SUMS, StoreHeader
from atlas.storage.store_writer import StoreWriter
from atlas.storage.verify import describe, verify

SPECS = (
    LayerSpec("conv", LayerShape("map", 5, 4, 3), "output", ("mean", "max", "center"), 3, 2, 4),
    LayerSpec("head", LayerShape("vector", 7), "input", ("mean",), 0, 1, 4),
    LayerSpec("ragged", LayerShape("vector", 2), "output", (), None),
)
HEADER = StoreHeader(
    "made-up", "abc", SPECS, "here", ("cat", "dög"), ("a", "b", "c", "d"), True, {"seed": 1, "why": "ünïcode"}
)


def image_ids(count: int) -> list[str]:
    return [f"test/ĉat {i}/{i:04d}.jpg" for i in range(count)]


def half(rng: np.random.Generator, *shape: int) -> Any:
    return rng.normal(size=shape).astype(np.float16)


def single(rng: np.random.Generator, *shape: int) -> Any:
    return rng.random(size=shape).astype(np.float32)


def made_part(number: int, covered: range, skip: set[int] = frozenset()) -> Part:
    """A part full of random numbers, drawn from its number."""
    rng = np.random.default_rng(number)
    kept = np.array([i for i in covered if i not in skip], np.int64)
    n, ids = len(kept), image_ids(covered.stop)
    images = ImageTable(
        [ids[i] for i in kept],
        kept,
        *(rng.integers(1, 500, (4, n)).astype(np.int32)[i] % (500, 500, 2, 4)[i] for i in range(4)),
        single(rng, n),
        rng.permuted(np.tile(np.arange(5, dtype=np.int32), (n, 1)), axis=1),
        single(rng, n, 5),
        single(rng, n, 4),
    )
    per_image = rng.integers(0, 4, n)
    ragged = np.repeat(np.arange(n), per_image)
    layers = (
        LayerRows(
            {kind: half(rng, n, 5) for kind in SPECS[0].pools},
            half(rng, n * 3, 5),
            np.repeat(np.arange(n), 3),
            single(rng, n * 3, 2),
            single(rng, n * 3, 4),
            Effects(
                (np.arange(n)[:, None] * 3 + np.arange(2)).ravel(),
                np.tile(np.arange(4, dtype=np.int32), (n * 2, 1)),
                single(rng, n * 2, 4),
            ),
        ),
        LayerRows(
            {"mean": half(rng, n, 7)},
            effects=Effects(np.arange(n), np.zeros((n, 4), np.int32), single(rng, n, 4)),
        ),
        LayerRows({}, half(rng, len(ragged), 2), ragged, single(rng, len(ragged), 2), single(rng, len(ragged), 4)),
    )
    skipped = [Skipped(i, ids[i], "is no picture") for i in covered if i in skip]
    return Part(covered.start, len(covered), images, layers, skipped)


def write_store(
    path: Path, entries: int = 10, size: int = 4, skip: set[int] = frozenset(), order: Any = None
) -> ActivationStore:
    writer = StoreWriter(path, HEADER, entries, size)
    for number in order or range(writer.parts):
        writer.write(number, made_part(number, writer.range_of(number), skip))
    writer.finish(writer.join(), ["look here"])
    return open_store(path)


def write_parts(writer: StoreWriter, numbers: range) -> None:
    for number in numbers:
        writer.write(number, made_part(number, writer.range_of(number)))


def all_arrays(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Every dataset of every HDF5 file of a store, by file and name: type, shape and a hash of the values."""
    found = {}
    for path in sorted(folder.rglob("*.h5")):
        with h5py.File(path) as file:

            def keep(name: str, item: Any, path: Path = path) -> None:
                if isinstance(item, h5py.Dataset):
                    values = item[()]
                    content = repr(values.tolist()).encode() if values.dtype == object else values.tobytes()
                    key = f"{path.relative_to(folder)}:{name}"
                    found[key] = (str(values.dtype), values.shape, hashlib.sha256(content).hexdigest())

            file.visititems(keep)
    return found


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.store", 10, 4, {1, 8, 9})
    parts = [made_part(i, r, {1, 8, 9}) for i, r in enumerate((range(4), range(4, 8), range(8, 10)))]
    assert len(store) == 7
    assert store.skipped == [(image_ids(10)[i], "is no picture") for i in (1, 8, 9)]
    assert (store.name, store.fingerprint, store.classes, store.outputs, store.aligned) == (
        "made-up", "abc", ("cat", "dög"), ("a", "b", "c", "d"), True,
    )  # fmt: skip
    assert store.provenance == {"seed": 1, "why": "ünïcode"}
    assert store.notes == ("look here",)
    assert list(store.images.ids) == [i for p in parts for i in p.images.ids]
    for name in ("index", "width", "height", "label", "prediction", "confidence", "top_class", "top_logit", "box"):
        expected = np.concatenate([getattr(p.images, name) for p in parts])
        assert np.array_equal(getattr(store.images, name), expected), name
        assert getattr(store.images, name).dtype == expected.dtype
    for i, spec in enumerate(SPECS):
        layer = store.layers[spec.name]
        assert (layer.name, layer.shape, layer.tap, layer.kinds) == (spec.name, spec.shape, spec.tap, spec.kinds)
        for kind in spec.pools:
            expected = np.concatenate([p.layers[i].pooled[kind] for p in parts])
            assert np.array_equal(layer.rows(kind)[:], expected)
            assert np.array_equal(layer.image_of(kind), np.arange(7))
            assert np.array_equal(layer.box(kind), store.images.box)
            assert (layer.uv(kind) == 0.5).all()
        if spec.positions != 0:
            assert np.array_equal(layer.rows("positions")[:], np.concatenate([p.layers[i].positions for p in parts]))
            assert np.array_equal(layer.uv("positions"), np.concatenate([p.layers[i].uv for p in parts]))
            assert np.array_equal(layer.box("positions"), np.concatenate([p.layers[i].box for p in parts]))
            ids = [p.images.ids[row] for p in parts for row in p.layers[i].image]
            assert [store.images.ids[row] for row in layer.image_of("positions")] == ids


def test_effects_name_rows_of_the_whole(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.store", 10, 4, {1, 8, 9})
    effects = store.layers["conv"].effects("positions")
    assert np.array_equal(effects.sample_rows, (np.arange(7)[:, None] * 3 + np.arange(2)).ravel())
    assert effects.values.shape == effects.classes.shape == (14, 4)
    assert store.layers["conv"].effects("mean") is None
    assert np.array_equal(store.layers["head"].effects("mean").sample_rows, np.arange(7))
    assert store.layers["ragged"].effects() is None


def test_any_hdf5_tool_reads_the_index_wherever_the_folder_lies(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.store", 10, 4, {1})
    rows, ids = store.layers["conv"].rows("positions")[:], list(store.images.ids)
    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.move(tmp_path / "a.store", tmp_path / "elsewhere" / "b.store"))
    with h5py.File(moved / INDEX) as file:
        assert np.array_equal(file["layers/0/positions/rows"][:], rows)
        assert [i.decode() for i in file["images/id"][:]] == ids
        assert file["layers/0"].attrs["name"] == "conv"
    assert np.array_equal(open_store(moved).layers["conv"].rows()[:], rows)
    assert verify_store(moved) == []


def test_accuracy_is_over_labelled_images(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.store", 40, 16)
    images = store.images
    hit = images.top_class == images.label[:, None]
    assert store.accuracy == pytest.approx(hit[:, 0].mean())
    assert store.accuracy_top5 == pytest.approx(hit.any(axis=1).mean())
    assert store.labelled == 40
    assert describe_store(tmp_path / "a.store")["accuracy"] == store.accuracy


def test_moments_are_those_of_all_rows(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.store", 40, 16)
    for layer in store.layers.values():
        for kind in layer.kinds:
            rows, moments = layer.rows(kind)[:].astype(np.float64), layer.moments_of(kind)
            assert moments.count == len(rows)
            np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(moments.variance, rows.var(axis=0), rtol=1e-12, atol=1e-14)


def test_moments_keep_their_digits_far_from_zero() -> None:
    rows = (np.random.default_rng(0).normal(size=(5000, 3)) * 1e-3 + 1e4).astype(np.float64)
    np.testing.assert_allclose(Moments.of(rows).variance, rows.var(axis=0), rtol=1e-6)


def test_the_order_of_writing_does_not_matter(tmp_path: Path) -> None:
    write_store(tmp_path / "a.store", 10, 4)
    write_store(tmp_path / "b.store", 10, 4, order=[2, 0, 1])
    assert all_arrays(tmp_path / "a.store") == all_arrays(tmp_path / "b.store")
    for name in (INDEX, SUMS, "parts/00001.h5"):
        assert (tmp_path / "a.store" / name).read_bytes() == (tmp_path / "b.store" / name).read_bytes()


def test_a_store_goes_on_with_its_missing_parts(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "a.store", HEADER, 10, 4)
    writer.write(1, made_part(1, writer.range_of(1)))
    with pytest.raises(StoreError, match=r"is unfinished \(1 parts are there\)"):
        open_store(tmp_path / "a.store")
    stamp = (tmp_path / "a.store" / "parts" / "00001.h5").stat().st_mtime_ns
    again = StoreWriter(tmp_path / "a.store", HEADER, 10, 4)
    assert again.missing == [0, 2]
    with pytest.raises(StoreError, match="lacks 2 of 3 parts"):
        again.join()
    for number in again.missing:
        again.write(number, made_part(number, again.range_of(number)))
    again.finish(again.join())
    assert (tmp_path / "a.store" / "parts" / "00001.h5").stat().st_mtime_ns == stamp
    assert verify_store(tmp_path / "a.store") == []


@pytest.mark.parametrize("where", ["finished", "unfinished"])
def test_another_configuration_is_refused(tmp_path: Path, where: str) -> None:
    if where == "finished":
        write_store(tmp_path / "a.store")
    else:
        StoreWriter(tmp_path / "a.store", HEADER, 10, 4).write(0, made_part(0, range(4)))
    (tmp_path / "a.store" / "mine.txt").write_text("kept")
    other = StoreHeader("made-up", "xyz", SPECS)
    with pytest.raises(StoreError, match="another configuration"):
        StoreWriter(tmp_path / "a.store", other, 10, 4)
    assert StoreWriter(tmp_path / "a.store", other, 10, 4, force=True).missing == [0, 1, 2]
    assert (tmp_path / "a.store" / "mine.txt").exists()


def test_parts_of_another_environment_are_made_anew(tmp_path: Path) -> None:
    StoreWriter(tmp_path / "a.store", HEADER, 10, 4).write(0, made_part(0, range(4)))
    elsewhere = StoreHeader("made-up", "abc", SPECS, "there")
    assert StoreWriter(tmp_path / "a.store", elsewhere, 10, 4).missing == [0, 1, 2]


def test_something_else_at_the_path_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    for name, message in (("folder", "is not a store"), ("file", "is a file")):
        with pytest.raises(StoreError, match=message):
            StoreWriter(tmp_path / name, HEADER, 10, 4, force=True)
    with pytest.raises(StoreError, match="does not exist"):
        open_store(tmp_path / "nowhere")
    with pytest.raises(StoreError, match=r"has no index\.h5"):
        open_store(tmp_path / "folder")


def test_other_tools_see_a_missing_part(tmp_path: Path) -> None:
    write_store(tmp_path / "a.store")
    (tmp_path / "a.store" / "parts" / "00001.h5").unlink()
    with h5py.File(tmp_path / "a.store" / INDEX) as file:
        assert np.isnan(file["layers/0/mean"][4:8]).all()
        assert (file["images/label"][4:8] == -1).all()


def test_a_missing_or_truncated_part_is_told(tmp_path: Path) -> None:
    write_store(tmp_path / "a.store")
    part = tmp_path / "a.store" / "parts" / "00001.h5"
    whole = part.read_bytes()
    part.write_bytes(whole[:-100])
    with pytest.raises(StoreError, match=r"00001\.h5 has \d+ bytes, not its \d+"):
        open_store(tmp_path / "a.store")
    assert StoreWriter(tmp_path / "a.store", HEADER, 10, 4).missing == [1]
    part.unlink()
    with pytest.raises(StoreError, match=r"00001\.h5 is missing"):
        open_store(tmp_path / "a.store")
    assert any("00001.h5 is missing" in sentence for sentence in verify_store(tmp_path / "a.store"))


def test_verify_finds_any_changed_byte(tmp_path: Path) -> None:
    write_store(tmp_path / "a.store")
    rng = np.random.default_rng(0)
    for path in sorted((tmp_path / "a.store").rglob("*.h5")):
        whole = path.read_bytes()
        for place in rng.integers(0, len(whole), 5):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
            assert any(path.name in sentence for sentence in verify_store(tmp_path / "a.store"))
        path.write_bytes(whole)
    assert verify_store(tmp_path / "a.store") == []
    (tmp_path / "a.store" / SUMS).unlink()
    assert "missing" in verify_store(tmp_path / "a.store")[0]


def test_a_damaged_index_is_one_sentence(tmp_path: Path) -> None:
    write_store(tmp_path / "a.store")
    index = tmp_path / "a.store" / INDEX
    whole = index.read_bytes()
    for length in (0, 7, 900, len(whole) - 1):
        index.write_bytes(whole[:length])
        with pytest.raises(StoreError, match="damaged or truncated"):
            open_store(tmp_path / "a.store")
    with h5py.File(index, "w") as file:
        file.attrs["kind"] = "something else"
    with pytest.raises(StoreError, match="not the index of a store"):
        open_store(tmp_path / "a.store")


def test_the_hashes_are_those_of_sha256sum(tmp_path: Path) -> None:
    write_store(tmp_path / "a.store")
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum on this machine")
    run = subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=tmp_path / "a.store", check=False)
    assert run.returncode == 0


def test_rows_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "a.store", HEADER, 10, 4)
    part = made_part(0, range(4))
    part.layers[0].pooled["max"][2, 3] = np.inf
    with pytest.raises(StoreError, match="not finite"):
        writer.write(0, part)
    assert list((tmp_path / "a.store").rglob("*.h5")) == []


def test_a_full_disk_leaves_what_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = StoreWriter(tmp_path / "a.store", HEADER, 10, 4)
    writer.write(0, made_part(0, range(4)))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(StoreError, match="the disk is full"):
            writer.write(1, made_part(1, range(4, 8)))
    assert [p.name for p in (tmp_path / "a.store" / "parts").iterdir()] == ["00000.h5"]
    assert StoreWriter(tmp_path / "a.store", HEADER, 10, 4).missing == [1, 2]


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        writer = StoreWriter(small / "a.store", HEADER, 400, 100)
        writer.write(0, made_part(0, range(100)))
        (small / "ballast").write_bytes(bytes(shutil.disk_usage(small).free - 150_000))
        with pytest.raises(StoreError, match="the disk is full"):
            write_parts(writer, range(1, 4))
        (small / "ballast").unlink()
        again = StoreWriter(small / "a.store", HEADER, 400, 100)
        assert 0 not in again.missing
        assert not list(small.rglob(f"{files.BESIDE}*"))
    finally:
        subprocess.run(["umount", small], check=True)


def test_more_parts_than_files_may_be_open(tmp_path: Path) -> None:
    import resource

    store = write_store(tmp_path / "a.store", 240, 2)
    whole = store.layers["conv"].rows("mean")[:]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    here = len(list(Path("/dev/fd").iterdir()))  # a browser and servers of other tests may be open in this process
    resource.setrlimit(resource.RLIMIT_NOFILE, (here + 60, hard))
    try:
        assert np.array_equal(open_store(tmp_path / "a.store").layers["conv"].rows("mean")[:], whole)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not (whole == 0).all(axis=1).any()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_division_into_parts_reads_the_same(tmp_path: Path, data: st.DataObject) -> None:
    entries = data.draw(st.integers(1, 20))
    size = data.draw(st.integers(3, 12))
    skip = data.draw(st.sets(st.integers(0, entries - 1)))
    folder = tmp_path / "h.store"
    shutil.rmtree(folder, ignore_errors=True)
    store = write_store(folder, entries, size, skip)
    kept = [i for i in range(entries) if i not in skip]
    assert store.images.index.tolist() == kept
    assert [name for name, _ in store.skipped] == [image_ids(entries)[i] for i in sorted(skip)]
    layer = store.layers["ragged"]
    rows, whole = layer.rows(), layer.rows()[:]
    assert len(whole) == len(rows) == len(layer.image_of()) == layer.moments.count
    assert (np.diff(layer.image_of()) >= 0).all()
    start, stop = data.draw(st.integers(-40, 70)), data.draw(st.integers(-40, 70))
    step = data.draw(st.integers(1, 5))
    assert np.array_equal(rows[start:stop:step], whole[start:stop:step])
    if len(whole):
        chosen = np.array(data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=40)), np.int64)
        assert np.array_equal(rows[chosen], whole[chosen])
        assert np.array_equal(rows[int(chosen[0]) if len(chosen) else 0], whole[int(chosen[0]) if len(chosen) else 0])
    with h5py.File(folder / INDEX) as file:
        assert np.array_equal(file["layers/2/positions/rows"][:], whole)


def test_rows_refuse_what_they_do_not_have(tmp_path: Path) -> None:
    layer = write_store(tmp_path / "a.store").layers["conv"]
    for key in (10, -11, np.array([3, 10]), np.array([-1]), np.ones(10, bool), slice(None, None, -1)):
        with pytest.raises(IndexError):
            layer.rows("mean")[key]
    assert layer.rows("mean")[np.zeros((0,), np.int64)].shape == (0, 5)
    assert np.asarray(layer.rows("mean"), np.float64).shape == (10, 5)
    with pytest.raises(StoreError, match="no rows of kind 'cls'"):
        layer.rows("cls")
    store = open_store(tmp_path / "a.store")
    with pytest.raises(StoreError, match="did you mean 'conv'"):
        store.layer("convv")
    with pytest.raises(StoreError, match="several layers"):
        store.layer()
    with pytest.raises(StoreError, match="no image"):
        store.images.index_of("nothing")
    assert store.images.index_of(image_ids(10)[3]) == 3


def test_verify_and_info_refuse_what_is_neither_store_nor_atlas(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    for ask in (verify, describe):
        with pytest.raises(StoreError, match="neither a store, an atlas nor a diff"):
            ask(tmp_path)
        with pytest.raises(StoreError, match="does not exist"):
            ask(tmp_path / "absent")
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_verify_tells_an_unfinished_or_harmed_store_from_what_is_none(tmp_path: Path) -> None:
    write_parts(StoreWriter(tmp_path / "begun", HEADER, 10, 4), range(1))
    assert verify(tmp_path / "begun")
    for name in (SUMS, INDEX):
        write_store(tmp_path / name)
        (tmp_path / name / name).unlink()
        assert verify(tmp_path / name)
    write_store(tmp_path / "whole")
    assert verify(tmp_path / "whole") == []
