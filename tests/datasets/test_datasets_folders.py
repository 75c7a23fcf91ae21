from __future__ import annotations

import os
import shutil
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.datasets import ImageFolder

from atlas.config import ManifestConfig
from atlas.datasets import ImageSource, open_source
from atlas.datasets.source import Listing
from atlas.errors import ConfigError, DataError, PictureError
from atlas.records import Entry

Open = Callable[..., ImageSource]
Write = Callable[..., Path]
Picture = Callable[..., bytes]


def listed(source: ImageSource) -> list[tuple[str, str | None]]:
    return [(e.id, source.classes[e.label] if e.label >= 0 else None) for e in source.entries()]


def test_a_tree_is_read_as_torchvision_reads_it(write: Write, open_data: Open, picture: Picture) -> None:
    names = ["zebra/1.png", "ant/2.png", "ant/10.png", "ant/deep/er/3.png", "Bee/x.png", "Bee/.hidden.png"]
    root = write({name: picture(i) for i, name in enumerate(names)} | {"ant/notes.txt": b"x", "ant/.DS_Store": b"x"})
    source = open_data("folder", root)
    oracle = ImageFolder(str(root), is_valid_file=lambda p: p.endswith(".png") and not Path(p).name.startswith("."))
    assert source.classes == tuple(oracle.classes) == ("Bee", "ant", "zebra")
    expected = sorted((Path(p).relative_to(root).as_posix(), oracle.classes[label]) for p, label in oracle.samples)
    assert listed(source) == expected
    for i, entry in enumerate(source.entries()):
        assert source.index_of(entry.id) == i
        assert source.read(i).getpixel((0, 0)) == (names.index(entry.id), 0, 7)


def test_a_flat_folder_has_no_labels(write: Write, open_data: Open, picture: Picture) -> None:
    source = open_data("folder", write({"b.jpg": picture(1), "a.png": picture(0)}))
    assert source.classes == ()
    assert list(source.entries()) == [Entry("a.png"), Entry("b.jpg")]
    assert source.read(1).mode == "RGB"


def test_pictures_beside_class_folders_have_no_label(write: Write, open_data: Open, picture: Picture) -> None:
    source = open_data("folder", write({"cat/1.png": picture(1), "dog/1.png": picture(1), "x.png": picture(0)}))
    assert listed(source) == [("cat/1.png", "cat"), ("dog/1.png", "dog"), ("x.png", None)]


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["test/cat/1.png", "test/dog/1.png"], ["cat", "dog"]),
        (["train/cat/1.png", "test/cat/1.png", "test/dog/1.png"], ["cat", "dog", "cat"]),
        (["train/1.png", "test/1.png"], ["test", "train"]),
        (["a/b/cat/1.png", "a/b/1.png", "a/b/dog/x/1.png"], [None, "cat", "dog"]),
        (["cat/1.png", "cat/2.png"], ["cat", "cat"]),
        (["a/cat/1.png", "a/cat/2.png"], ["cat", "cat"]),
    ],
)
def test_which_folder_is_the_class(
    names: list[str], classes: list[str], write: Write, open_data: Open, picture: Picture
) -> None:
    assert [c for _, c in listed(open_data("folder", write({n: picture(0) for n in names})))] == classes


def test_odd_names(write: Write, open_data: Open, picture: Picture) -> None:
    names = ["größe/ünï côde.png", "猫/写真 1.PNG", 'a&b <c>/it\'s "here".png', "new\nline/%20#?.png", "e\u0301/1.png"]
    root = write({name: picture(i) for i, name in enumerate(names)})
    source = open_data("folder", root)
    assert [e.id for e in source.entries()] == sorted(names)
    for name in names:
        assert source.read(source.index_of(name)).getpixel((0, 0)) == (names.index(name), 0, 7)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_names_that_are_not_utf8(tmp_path: Path, open_data: Open, picture: Picture) -> None:
    root = tmp_path / "data"
    root.mkdir()
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.png")).write_bytes(picture(3))
    source = open_data("folder", root)
    assert [e.id for e in source.entries()] == ["caf\\xe9.png"]
    assert source.read(source.index_of("caf\\xe9.png")).getpixel((0, 0)) == (3, 0, 7)


@pytest.mark.timeout(20)
def test_symlinks_are_followed_and_loops_end(write: Write, tmp_path: Path, open_data: Open, picture: Picture) -> None:
    root = write({"cat/1.png": picture(1), "dog/1.png": picture(2)})
    (root / "cat" / "again").symlink_to(root)
    (root / "dog" / "again").symlink_to(root / "cat")
    (root / "self").symlink_to(root / "self")
    (root / "self.png").symlink_to(root / "self.png")
    (root / "zoo").symlink_to(root / "cat")
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "1.png").write_bytes(picture(3))
    (root / "owl").symlink_to(outside)
    source = open_data("folder", root)
    assert [e.id for e in source.entries()] == ["cat/1.png", "dog/1.png", "owl/1.png", "self.png"]
    assert source.classes == ("cat", "dog", "owl")
    with pytest.raises(PictureError, match="cannot be opened"):
        source.read(3)


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_picture(write: Write, open_data: Open, picture: Picture) -> None:
    root = write({"a.png": picture(1)})
    os.mkfifo(root / "b.png")
    assert len(open_data("folder", root)) == 1


def test_broken_files_are_listed_and_refused_one_by_one(write: Write, open_data: Open, picture: Picture) -> None:
    root = write({"a.png": b"", "b.png": b"no picture", "c.png": picture(1)[:40], "d.png": picture(9)})
    (root / "e.png").symlink_to(root / "gone.png")
    source = open_data("folder", root)
    reasons = {}
    for i, entry in enumerate(source.entries()):
        try:
            source.read(i)
        except PictureError as error:
            reasons[entry.id] = str(error)
    assert list(reasons) == ["a.png", "b.png", "c.png", "e.png"]
    assert "empty" in reasons["a.png"]
    assert "not a picture" in reasons["b.png"]
    assert "cannot be opened: No such file" in reasons["e.png"]
    assert not any(".png" in reason for reason in reasons.values())  # the reason alone: the caller adds the id


def test_a_file_gone_after_opening(write: Write, open_data: Open, picture: Picture) -> None:
    root = write({"a.png": picture(1)})
    source = open_data("folder", root)
    (root / "a.png").unlink()
    with pytest.raises(PictureError, match="cannot be opened"):
        source.read(0)


def test_folders_that_cannot_be_used(write: Write, tmp_path: Path, open_data: Open, picture: Picture) -> None:
    root = write({"readme.txt": b"x", "one.png": picture(0), "empty/notes.csv": b"x"})
    with pytest.raises(DataError, match=r"nowhere does not exist: check 'path' in the manifest 'test'"):
        open_data("folder", "nowhere")
    with pytest.raises(DataError, match=r"empty holds no pictures"):
        open_data("folder", root / "empty")
    with pytest.raises(DataError, match=r"one.png is a file, not a folder"):
        open_data("folder", root / "one.png")
    with pytest.raises(ConfigError, match=r"lacks 'path'"):
        open_data("folder")
    with pytest.raises(ConfigError, match=r"\$\{ATLAS_NO_SUCH\}, which is not set"):
        open_data("folder", "${ATLAS_NO_SUCH}/x")
    with pytest.raises(DataError, match=r"data is flat, so labels = \"folders\" finds no class folders"):
        open_data("folder", root, labels="folders")


def test_an_unknown_id_names_the_nearest(write: Write, open_data: Open, picture: Picture) -> None:
    source = open_data("folder", write({f"cat/{i:04d}.png": picture(0) for i in range(300)}))
    with pytest.raises(DataError, match=r"no image has the id 'cat/0150.pgn'; did you mean 'cat/0150.png'\?"):
        source.index_of("cat/0150.pgn")


def test_the_fingerprint_knows_ids_labels_and_sizes_but_no_place(
    write: Write, tmp_path: Path, open_data: Open, picture: Picture
) -> None:
    root = write({"cat/1.png": picture(1), "dog/2.png": picture(2)})
    first = open_data("folder", root).fingerprint
    shutil.copytree(root, tmp_path / "copy")
    assert open_data("folder", tmp_path / "copy").fingerprint == first
    assert open_data("folder", root, labels="none").fingerprint != first
    (root / "cat" / "1.png").write_bytes(picture(1) + b" ")
    longer = open_data("folder", root).fingerprint
    assert longer != first
    (root / "cat" / "1.png").rename(root / "cat" / "3.png")
    assert open_data("folder", root).fingerprint not in (first, longer)


def test_many_threads_read_the_right_pictures(write: Write, open_data: Open, picture: Picture) -> None:
    source = open_data("folder", write({f"{i % 5}/{i:03d}.png": picture(i) for i in range(200)}))
    barrier = threading.Barrier(8)

    def read(worker: int) -> bool:
        barrier.wait()
        order = np.random.default_rng(worker).permutation(200)
        return all(
            source.read(i).getpixel((0, 0))[0] == int(source.entries()[i].id.split("/")[1][:3]) for i in order.tolist()
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


def test_relative_paths_are_relative_to_the_manifest(write: Write, tmp_path: Path, picture: Picture) -> None:
    write({"a.png": picture(0)})
    assert len(open_source(ManifestConfig(name="x", source="folder", path="data"), tmp_path)) == 1


ids = st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), unique=True, min_size=1)


@settings(max_examples=200, deadline=None)
@given(ids)
def test_a_listing_is_the_list_that_it_was_made_from(ids: list[str]) -> None:
    listing = Listing(ids, np.arange(len(ids)))
    plain = [Entry(id, i) for i, id in enumerate(ids)]
    assert list(listing) == plain
    assert [listing[i] for i in range(len(ids))] == plain
    assert listing[-1] == plain[-1]
    assert listing[1::2] == plain[1::2]
    assert [listing.index_of(id) for id in ids] == list(range(len(ids)))
    with pytest.raises(IndexError):
        listing[len(ids)]


def test_a_listing_refuses_two_equal_ids() -> None:
    with pytest.raises(DataError, match="two images have the id 'a'"):
        Listing(["b", "a", "a"])


def test_a_listing_is_small() -> None:
    def held(count: int) -> int:
        ids = [f"train/n{i % 1000:08d}/image_{i:07d}.JPEG" for i in range(count)]
        labels = np.zeros(count, np.int32)
        tracemalloc.start()
        listing = Listing(ids, labels)
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(listing) == count
        return size

    # 35 bytes of id, 8 of its end, 8 of its place in order, 4 of label that the caller brought.
    assert held(11_000) - held(1_000) < 60 * 10_000
