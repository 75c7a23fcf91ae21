from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
import webdataset
from braceexpand import braceexpand
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from atlas.datasets import ImageSource
from atlas.datasets.locations import expand_braces
from atlas.errors import ConfigError, DataError, PictureError

Open = Callable[..., ImageSource]
Picture = Callable[..., bytes]
Members = Iterable[tuple[str, bytes]]
Pack = Callable[..., Path]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Write a tar of members below tmp_path, in their order."""

    def packed(name: str, members: Members, format: int = tarfile.PAX_FORMAT) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w", format=format) as archive:
            for inner, data in members:
                info = tarfile.TarInfo(inner)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return path

    return packed


def colour(source: ImageSource, index: int) -> int:
    red, green, _ = source.read(index).getpixel((0, 0))
    return red + 256 * green


def as_webdataset_reads(*paths: Path) -> list[dict]:
    return list(webdataset.WebDataset([str(p) for p in paths], shardshuffle=False, empty_check=False))


def test_shards_are_read_as_webdataset_reads_them(tmp_path: Path, open_data: Open, picture: Picture) -> None:
    paths = [tmp_path / f"set-{i:03d}.tar" for i in range(3)]
    for number, path in enumerate(paths):
        with webdataset.TarWriter(str(path)) as writer:
            for i in range(7):
                key = f"train/größe {number}/{i:05d}"
                writer.write({"__key__": key, "png": picture(10 * number + i), "cls": (i * 3) % 4})
    source = open_data("webdataset", "set-{000..002}.tar")
    oracle = as_webdataset_reads(*paths)
    assert [e.id for e in source.entries()] == [f"{Path(s['__url__']).name}/{s['__key__']}" for s in oracle]
    assert [e.label for e in source.entries()] == [int(s["cls"]) for s in oracle]
    assert source.classes == ("0", "1", "2", "3")
    for i, sample in enumerate(oracle):
        expected = Image.open(io.BytesIO(sample["png"]))
        assert (np.asarray(source.read(i)) == np.asarray(expected)).all()
        assert source.index_of(source.entries()[i].id) == i


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_odd_members_are_grouped_as_webdataset_groups_them(
    format: int, pack: Pack, open_data: Open, picture: Picture
) -> None:
    long = "d" * 90 + "/" + "n" * 80
    members = [
        ("./a/b.c/001.png", picture(1)),
        ("./a/b.c/001.CLS", b"5"),
        ("002.seg.png", picture(99)),
        ("002.JPG", picture(2)),
        ("002.cls", b"1\n"),
        ("__meta__/x.png", picture(98)),
        ("003.txt", b"no picture here"),
        ("noextension", b"x"),
        ("004.left.png", picture(4)),
        ("004.right.png", picture(97)),
        (f"{long}.png", picture(5)),
        ("猫.png", picture(6)),
    ]
    path = pack("odd.tar", members, format)
    source = open_data("webdataset", path)
    oracle = [s for s in as_webdataset_reads(path) if any(k.endswith(("png", "jpg")) for k in s)]
    assert [e.id for e in source.entries()] == [f"odd.tar/{s['__key__']}" for s in oracle]
    assert [colour(source, i) for i in range(len(source))] == [1, 2, 4, 5, 6]
    assert [e.label for e in source.entries()] == [5, 1, -1, -1, -1]


def test_what_the_system_tar_writes(pack: Pack, open_data: Open, picture: Picture) -> None:
    """Folders, links and Apple's hidden files stand between the members."""
    path = pack("a.tar", [("1.png", picture(1))])
    with tarfile.open(path, "a") as archive:
        for name, kind in (("cats", tarfile.DIRTYPE), ("link.png", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "1.png"
            archive.addfile(info)
        for name in ("cats/._2.png", "cats/2.png", ".DS_Store"):
            info = tarfile.TarInfo(name)
            info.size = len(picture(2))
            archive.addfile(info, io.BytesIO(picture(2)))
    assert [e.id for e in open_data("webdataset", path).entries()] == ["a.tar/1", "a.tar/cats/2"]


def test_a_key_that_comes_again_gets_a_number(pack: Pack, open_data: Open, picture: Picture) -> None:
    path = pack("a.tar", [("x.png", picture(1)), ("y.png", picture(2)), ("x.png", picture(3))])
    source = open_data("webdataset", path)
    assert [e.id for e in source.entries()] == ["a.tar/x", "a.tar/y", "a.tar/x#2"]
    assert colour(source, source.index_of("a.tar/x#2")) == 3


def test_labels_of_json_and_text(pack: Pack, open_data: Open, picture: Picture) -> None:
    def members(extension: str, texts: list[str]) -> Members:
        for i, text in enumerate(texts):
            yield f"{i}.png", picture(i)
            yield f"{i}.{extension}", text.encode()

    def labels(source: ImageSource) -> list[str | None]:
        return [source.classes[e.label] if e.label >= 0 else None for e in source.entries()]

    names = ["dog", "cat", "dog", "cat"]
    json_texts = [json.dumps({"label": name, "width": 3}) for name in names]
    assert labels(open_data("webdataset", pack("j.tar", members("json", json_texts)))) == names
    numbers = [json.dumps({"cls": i}) for i in (3, 0, 3, 1)]
    source = open_data("webdataset", pack("n.tar", members("json", numbers)))
    assert source.classes == ("0", "1", "2", "3")
    assert [e.label for e in source.entries()] == [3, 0, 3, 1]
    no_label = [json.dumps(value) for value in ({"width": 3}, [1], True, None)]
    assert open_data("webdataset", pack("w.tar", members("json", no_label))).classes == ()
    assert labels(open_data("webdataset", pack("t.tar", members("txt", names)))) == names
    captions = ["a dog", "a cat on a mat", "two dogs", "a cat"]
    assert open_data("webdataset", pack("c.tar", members("txt", captions))).classes == ()


def test_other_labels_on_request(pack: Pack, tmp_path: Path, open_data: Open, picture: Picture) -> None:
    path = pack("a.tar", [("cat/1.png", picture(1)), ("cat/1.cls", b"7"), ("dog/2.png", picture(2))])
    folders = open_data("webdataset", path, labels="folders")
    assert (folders.classes, [e.label for e in folders.entries()]) == (("cat", "dog"), [0, 1])
    assert open_data("webdataset", path, labels="none").classes == ()
    (tmp_path / "l.csv").write_text("a.tar/cat/1,x\na.tar/dog/2,y\n")
    assert open_data("webdataset", path, labels="l.csv").classes == ("x", "y")


def test_globs_folders_and_nested_places(pack: Pack, tmp_path: Path, open_data: Open, picture: Picture) -> None:
    for i, name in enumerate(["s/train/1.tar", "s/train/0.tar", "s/val/0.tar"]):
        pack(name, [("k.png", picture(i))])
    ids = ["train/0.tar/k", "train/1.tar/k", "val/0.tar/k"]
    for path in ("s/*/*.tar", "s/**/*.tar", "s/{val,train}/*.tar", "s/{val/0,train/{0..1}}.tar"):
        assert [e.id for e in open_data("webdataset", path).entries()] == ids, path
    assert [e.id for e in open_data("webdataset", "s/train").entries()] == ["0.tar/k", "1.tar/k"]
    pack("odd{1,2}[x].tar", [("k.png", picture(9))])
    assert [e.id for e in open_data("webdataset", "odd{1,2}[x].tar").entries()] == ["odd{1,2}[x].tar/k"]


@pytest.mark.parametrize(
    "pattern",
    [
        "a",
        "a{b,c}d",
        "{000..012}",
        "x{9..11}y{a,b}",
        "{5..1..2}",
        "{a,b{1..2}}",
        "a{}b",
        "{a}",
        "{x,}",
        "-{08..10}.tar",
    ],
)
def test_braces_as_the_braceexpand_library_has_them(pattern: str) -> None:
    assert expand_braces(pattern) == list(braceexpand(pattern))


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.text("ab.1", max_size=3),
        lambda inner: st.builds(
            lambda head, parts, tail: head + "{" + ",".join(parts) + "}" + tail,
            st.text("ab", max_size=2),
            st.lists(inner, min_size=2, max_size=3),
            inner,
        ),
        max_leaves=6,
    )
)
def test_any_nested_braces(pattern: str) -> None:
    assert expand_braces(pattern) == list(braceexpand(pattern))


def test_braces_without_end() -> None:
    assert expand_braces("a{b") == ["a{b"]
    assert expand_braces("a}b{c,d}") == ["a}bc", "a}bd"]
    with pytest.raises(DataError, match="more than 1,000,000 shards"):
        expand_braces("{0..99999999}")
    with pytest.raises(DataError, match="more than 1,000,000 shards"):
        expand_braces("{0..9999}{0..9999}")


@pytest.fixture
def memory() -> Iterator[Callable[[str, bytes], None]]:
    """Write into fsspec's file system in memory, which is emptied afterwards."""
    system = fsspec.filesystem("memory")
    yield system.pipe_file
    system.store.clear()


def test_urls_through_fsspec(
    pack: Pack, open_data: Open, picture: Picture, memory: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        data = pack("x.tar", [(f"{k}.png", picture(10 * i + k)) for k in range(4)]).read_bytes()
        memory(f"/bucket/s-{i}.tar", data)
    monkeypatch.setenv("ATLAS_BUCKET", "memory://bucket")
    ids = [f"s-{i}.tar/{k}" for i in range(3) for k in range(4)]
    for url in ("memory://bucket/s-{0..2}.tar", "memory://bucket/s-*.tar", "${ATLAS_BUCKET}/s-{0..2}.tar"):
        source = open_data("webdataset", url)
        assert [e.id for e in source.entries()] == ids
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(functools.partial(colour, source), range(12))) == [
                10 * (i // 4) + i % 4 for i in range(12)
            ]
    local = open_data("webdataset", "x.tar")
    assert open_data("webdataset", f"file://{pack('x.tar', [('a.png', picture(1))])}").classes == local.classes


def test_urls_that_lead_nowhere(open_data: Open, memory: Callable) -> None:
    with pytest.raises(DataError, match=r"the shard /bucket/gone.tar does not exist"):
        open_data("webdataset", "memory://bucket/gone.tar")
    with pytest.raises(DataError, match=r"no shard fits memory://bucket/\*.tar"):
        open_data("webdataset", "memory://bucket/*.tar")
    with pytest.raises(DataError, match=r"nosuch://x/y.tar cannot be read: Protocol not known"):
        open_data("webdataset", "nosuch://x/y.tar")
    with pytest.raises(ConfigError, match=r"ATLAS_NO_SUCH"):
        open_data("webdataset", "s3://${ATLAS_NO_SUCH}/y.tar")


def test_a_remote_shard_out_of_reach_stops_the_run(
    pack: Pack, open_data: Open, picture: Picture, memory: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pictures are not broken: skipping them would give another store than tomorrow's."""
    memory("/bucket/a.tar", pack("x.tar", [("a.png", picture(7))]).read_bytes())
    monkeypatch.setattr("atlas.datasets.locations._PAUSES", (0.0, 0.0))
    source = open_data("webdataset", "memory://bucket/a.tar")
    fetch, tries = fsspec.filesystem("memory").cat_file, []

    def flaky(*args: object, **kwargs: object) -> bytes:
        tries.append(1)
        if len(tries) < failures:
            raise OSError("connection reset")
        return fetch(*args, **kwargs)

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", lambda self, *a, **k: flaky(*a, **k))
    failures = 3
    assert colour(source, 0) == 7
    tries.clear()
    failures = 99
    with pytest.raises(DataError, match=r"a.tar cannot be reached \(connection reset\): run again to go on"):
        source.read(0)
    assert len(tries) == 3


def test_a_server_that_ignores_ranges(
    pack: Pack, open_data: Open, picture: Picture, memory: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pack("x.tar", [("a.png", picture(7))]).read_bytes()
    memory("/bucket/a.tar", whole)
    source = open_data("webdataset", "memory://bucket/a.tar")
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", lambda *args, **kwargs: whole)
    with pytest.raises(DataError, match=r"a.tar does not serve byte ranges: fetch the shard first"):
        source.read(0)


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Serves byte ranges, as every object store does and Python's own server does not."""

    def do_GET(self) -> None:
        data = Path(self.translate_path(self.path)).read_bytes()
        wanted = self.headers.get("Range")
        first, _, last = (wanted or "bytes=0-").removeprefix("bytes=").partition("-")
        body = data[int(first) : int(last) + 1 if last else None]
        self.send_response(206 if wanted else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(body) - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def test_shards_over_http(pack: Pack, tmp_path: Path, open_data: Open, picture: Picture) -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads HTTP through aiohttp: pip install 'activation-atlas[url]'")
    for i in range(2):
        pack(f"s-{i}.tar", [(f"{k}.png", picture(10 * i + k)) for k in range(5)])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(RangeHandler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        source = open_data("webdataset", f"http://127.0.0.1:{server.server_port}/s-{{0..1}}.tar?key=a/b")
        assert [e.id for e in source.entries()] == [f"s-{i}.tar/{k}" for i in range(2) for k in range(5)]
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(functools.partial(colour, source), range(10))) == [*range(5), *range(10, 15)]
    finally:
        server.shutdown()


def test_http_without_its_package_says_what_to_install(open_data: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> None:
        raise ImportError('HTTPFileSystem requires "requests" and "aiohttp" to be installed')

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(DataError, match=r"pip install 'activation-atlas\[url\]'"):
        open_data("webdataset", "https://example.invalid/{0..1}.tar")


def test_broken_pictures_are_told_when_read(pack: Pack, open_data: Open, picture: Picture) -> None:
    path = pack("a.tar", [("1.png", b""), ("2.png", b"no picture"), ("3.png", picture(3)[:50]), ("4.png", picture(4))])
    source = open_data("webdataset", path)
    for i, reason in ((0, "empty"), (1, "not a picture"), (2, "truncated|damaged")):
        with pytest.raises(PictureError, match=reason):
            source.read(i)
    assert colour(source, 3) == 4
    unread = open_data("webdataset", path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(PictureError, match=r"truncated: a.tar ends \d+ bytes too soon"):
        unread.read(3)


def test_shards_that_cannot_be_used(pack: Pack, tmp_path: Path, open_data: Open, picture: Picture) -> None:
    whole = pack("whole.tar", [(f"{i}.png", picture(i)) for i in range(5)]).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: 3 * 1024 + 520])
    (tmp_path / "text.tar").write_bytes(b"this is no tar " * 100)
    (tmp_path / "empty.tar").write_bytes(b"")
    (tmp_path / "packed.tar").write_bytes(gzip.compress(whole))
    pack("texts.tar", [("a.txt", b"x")])
    pack("badjson.tar", [("a.png", picture(1)), ("a.json", b"{broken")])
    for name, message in {
        "cut.tar": r"cut.tar is cut short or damaged near its file 4 .*: fetch it again",
        "text.tar": r"text.tar is not a tar archive",
        "empty.tar": r"empty.tar is not a tar archive",
        "packed.tar": r"packed.tar is compressed, so .*: unpack it to .tar",
        "texts.tar": r"texts.tar holds no pictures",
        "badjson.tar": r"badjson.tar: the label 'a.json' is not valid json text",
        "gone.tar": r"the shard .*gone.tar does not exist",
        "none-*.tar": r"no shard fits .*none-\*.tar",
        "whole-{0..1}.tar": r"the shard .*whole-0.tar does not exist",
    }.items():
        with pytest.raises(DataError, match=message):
            open_data("webdataset", name)
    with pytest.raises(ConfigError, match="lacks 'path'"):
        open_data("webdataset")


def test_the_checksum_of_one_shard(pack: Pack, open_data: Open, picture: Picture) -> None:
    path = pack("a-0.tar", [("1.png", picture(1))])
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(open_data("webdataset", path, sha256=right)) == 1
    with pytest.raises(DataError, match="fetch it again"):
        open_data("webdataset", path, sha256="0" * 64)
    pack("a-1.tar", [("1.png", picture(1))])
    with pytest.raises(ConfigError, match="checksum of one local file"):
        open_data("webdataset", "a-*.tar", sha256=right)


def test_many_threads_read_across_many_shards(pack: Pack, open_data: Open, picture: Picture) -> None:
    for i in range(20):
        pack(f"s-{i:02d}.tar", [(f"{k}.png", picture(10 * i + k)) for k in range(10)])
    source = open_data("webdataset", "s-*.tar")

    def read(worker: int) -> bool:
        return all(colour(source, i) == i for i in np.random.default_rng(worker).permutation(200).tolist())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))
