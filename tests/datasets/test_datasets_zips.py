from __future__ import annotations

import gc
import hashlib
import multiprocessing
import sys
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atlas.datasets import ImageSource
from atlas.errors import ConfigError, DataError, PictureError

Open = Callable[..., ImageSource]
Picture = Callable[..., bytes]
Pack = Callable[..., Path]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    def packed(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, name: str = "data.zip") -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", method) as archive:
            for inner, data in files.items():
                archive.writestr(inner, data)
        return tmp_path / name

    return packed


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_reads_as_zipfile_reads_it(method: int, pack: Pack, open_data: Open, picture: Picture) -> None:
    names = [f"test/{c}/{i}.png" for c in ("dog", "cat") for i in range(12)] + ["test/größe 猫/1.PNG"]
    path = pack({n: picture(i) for i, n in enumerate(names)} | {"test/": b"", "readme.txt": b"x"}, method)
    source = open_data("zip", path)
    assert [e.id for e in source.entries()] == sorted(names)
    assert source.classes == ("cat", "dog", "größe 猫")
    with zipfile.ZipFile(path) as oracle:
        for i, entry in enumerate(source.entries()):
            assert source._bytes(i) == oracle.read(entry.id)
            assert source.read(i).getpixel((0, 0)) == (names.index(entry.id), 0, 7)
            assert source.classes[entry.label] == entry.id.split("/")[1]


def test_large_archives_and_prefixed_ones(tmp_path: Path, open_data: Open, picture: Picture) -> None:
    """Zip64 records, data descriptors (written to a stream), and bytes before the archive."""

    class Stream:
        def __init__(self, path: Path) -> None:
            self.file = path.open("wb")

        def write(self, data: bytes) -> int:
            return self.file.write(data)

        def flush(self) -> None:
            self.file.flush()

    stream = Stream(tmp_path / "data.zip")
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(3):
            with archive.open(f"{i}.png", "w", force_zip64=True) as file:
                file.write(picture(i))
    stream.file.close()
    with zipfile.ZipFile(tmp_path / "data.zip") as archive:
        assert archive.infolist()[0].flag_bits & 8
    prefixed = tmp_path / "prefixed.zip"
    prefixed.write_bytes(b"#!/bin/sh\nexit\n" * 9 + (tmp_path / "data.zip").read_bytes())
    for path in (tmp_path / "data.zip", prefixed):
        source = open_data("zip", path)
        assert [source.read(i).getpixel((0, 0))[0] for i in range(3)] == [0, 1, 2]


def test_names_that_climb_out_are_only_ids(pack: Pack, tmp_path: Path, open_data: Open, picture: Picture) -> None:
    names = ["../../evil.png", "/etc/evil.png", "C:\\evil\\x.png"]
    source = open_data("zip", pack({n: picture(i) for i, n in enumerate(names)}))
    assert {e.id for e in source.entries()} == {"../../evil.png", "/etc/evil.png", "C:/evil/x.png"}
    assert source.read(source.index_of("../../evil.png")).getpixel((0, 0))[0] == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.zip"]


def test_what_a_mac_adds_is_ignored(pack: Pack, open_data: Open, picture: Picture) -> None:
    source = open_data("zip", pack({"cat/1.png": picture(1), "__MACOSX/cat/._1.png": b"x", "cat/._1.png": b"x"}))
    assert [e.id for e in source.entries()] == ["cat/1.png"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_entries_of_one_name_the_last_counts(tmp_path: Path, open_data: Open, picture: Picture) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("a.png", picture(1))
        archive.writestr("a.png", picture(2))
    source = open_data("zip", "data.zip")
    assert len(source) == 1
    assert source.read(0).getpixel((0, 0))[0] == 2


def test_damage_inside_is_told_picture_by_picture(pack: Pack, open_data: Open, picture: Picture) -> None:
    files = {f"{i}.png": picture(i) for i in range(5)}
    path = pack(files | {"5.png": b"", "6.png": b"no picture"}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        offsets = [archive.getinfo(f"{i}.png").header_offset for i in range(5)]
    data[offsets[1] + 60] ^= 0xFF  # inside the picture
    data[offsets[2]] ^= 0xFF  # the entry's signature
    path.write_bytes(data)
    source = open_data("zip", path)
    for i, reason in ((1, "checksum"), (2, "no entry"), (5, "empty"), (6, "not a picture")):
        with pytest.raises(PictureError, match=reason):
            source.read(i)
    assert [source.read(i).getpixel((0, 0))[0] for i in (0, 3, 4)] == [0, 3, 4]


def test_damaged_deflate_and_other_methods(pack: Pack, open_data: Open, picture: Picture) -> None:
    path = pack({"a.png": picture(1)})
    data = bytearray(path.read_bytes())
    data[30 + 5] = 0xFF
    path.write_bytes(data)
    with pytest.raises(PictureError, match="damaged"):
        open_data("zip", path).read(0)
    with pytest.raises(PictureError, match="compression method 14 is not read"):
        open_data("zip", pack({"a.png": picture(1)}, zipfile.ZIP_LZMA)).read(0)


def test_an_encrypted_entry(pack: Pack, open_data: Open, picture: Picture) -> None:
    path = pack({"a.png": picture(1)})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(PictureError, match="encrypted"):
        open_data("zip", path).read(0)


def test_an_entry_that_unpacks_to_more_than_it_says(pack: Pack, open_data: Open) -> None:
    path = pack({"a.png": b"\0" * 10_000_000})
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\1\2") + 24
    data[place : place + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    source = open_data("zip", path)
    tracemalloc.start()
    with pytest.raises(PictureError, match="checksum"):
        source.read(0)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_zips_that_cannot_be_used(pack: Pack, tmp_path: Path, open_data: Open, picture: Picture) -> None:
    (tmp_path / "text.zip").write_bytes(b"this is no zip at all")
    whole = pack({"a.png": picture(1)}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    for name in ("text.zip", "cut.zip"):
        with pytest.raises(DataError, match=rf"{name} is not a zip, or a damaged one .*: fetch it again"):
            open_data("zip", name)
    with pytest.raises(DataError, match=r"gone.zip does not exist"):
        open_data("zip", "gone.zip")
    with pytest.raises(DataError, match=r"is a folder, not a zip: use source = \"folder\""):
        open_data("zip", tmp_path)
    with pytest.raises(DataError, match=r"text only.zip holds no pictures .* among 1 files"):
        open_data("zip", pack({"a.txt": b"x"}, name="text only.zip"))
    with pytest.raises(ConfigError, match="lacks 'path'"):
        open_data("zip")


def test_the_checksum_is_checked(pack: Pack, open_data: Open, picture: Picture) -> None:
    path = pack({"a.png": picture(1)})
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(open_data("zip", path, sha256=right.upper())) == 1
    with pytest.raises(DataError, match=rf"data.zip has the SHA-256 {right}, not the manifest's 00ff"):
        open_data("zip", path, sha256="00ff")
    with pytest.raises(DataError, match=r"gone.zip cannot be read \(No such file or directory\)"):
        open_data("zip", "gone.zip", sha256=right)


def test_the_fingerprint_follows_the_content_and_not_the_packing(pack: Pack, open_data: Open, picture: Picture) -> None:
    files = {"cat/1.png": picture(1), "dog/1.png": picture(2)}
    first = open_data("zip", pack(files)).fingerprint
    again = pack(dict(reversed(files.items())), zipfile.ZIP_STORED, "other.zip")
    assert open_data("zip", again).fingerprint == first
    assert open_data("zip", pack(files | {"dog/1.png": picture(3)})).fingerprint != first


def test_many_threads_read_the_right_pictures(pack: Pack, open_data: Open, encoded: Callable[..., bytes]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 48, 64, 3), dtype=np.uint8)
    noise[:, 0, 0, 0] = np.arange(200)
    files = {f"{i:03d}.bmp": encoded(Image.fromarray(pixels), "BMP") for i, pixels in enumerate(noise)}
    source = open_data("zip", pack(files, zipfile.ZIP_STORED))
    barrier = threading.Barrier(8)

    def read(worker: int) -> bool:
        barrier.wait()
        order = np.random.default_rng(worker).permutation(200)
        return all(source.read(i).getpixel((0, 0))[0] == i for i in order.tolist())

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(read, range(8)))
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_its_own_position(pack: Pack, open_data: Open, picture: Picture) -> None:
    source = open_data("zip", pack({f"{i:03d}.png": picture(i) for i in range(200)}, zipfile.ZIP_STORED))
    source.read(0)
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def read() -> None:
        wrong = 0
        for i in range(200):
            wrong += source.read(i).getpixel((0, 0))[0] != i
        results.put(wrong)

    children = [context.Process(target=read) for _ in range(2)]
    for child in children:
        child.start()
    assert [source.read(i).getpixel((0, 0))[0] for i in range(200)] == list(range(200))
    assert [results.get(timeout=60) for _ in children] == [0, 0]
    for child in children:
        child.join()


def test_memory_per_image_is_small(tmp_path: Path, open_data: Open) -> None:
    def held(count: int) -> int:
        path = tmp_path / f"{count}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for i in range(count):
                archive.writestr(f"test/class{i % 10}/{i:05d}.png", b"x")
        tracemalloc.start()
        source = open_data("zip", path)
        gc.collect()  # a closed ZipFile lies in a cycle
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(source) == count
        return size

    assert (held(5_000) - held(1_000)) / 4_000 < 80  # bytes: 29 and 12 beside the id's own 21
