from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import pickle
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image
from sklearn.datasets import load_digits

from atlas.datasets import ImageSource, take
from atlas.errors import ConfigError, DataError, PictureError
from atlas.records import Entry

Open = Callable[..., ImageSource]


def write_mnist(root: Path, images: np.ndarray, labels: np.ndarray, part: str) -> None:
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">IIII", 2051, *images.shape)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, len(labels)) + labels.tobytes())


@pytest.fixture
def mnist(tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """An MNIST folder of 12 training and 5 test pictures, each of one grey."""
    for part, count in (("train", 12), ("t10k", 5)):
        images = np.repeat(np.arange(count, dtype=np.uint8) * 20, 28 * 28).reshape(count, 28, 28)
        labels = (np.arange(count) * 3 % 10).astype(np.uint8)
        write_mnist(tmp_path, images, labels, part)
    return images, labels


def test_a_dataset_with_a_train_flag(mnist: tuple, open_data: Open) -> None:
    source = open_data("torchvision", ".", dataset="MNIST", split="test")
    assert list(source.entries()) == [Entry(f"MNIST/test/{i:05d}", 3 * i % 10) for i in range(5)]
    assert source.classes[:2] == ("0 - zero", "1 - one")
    assert (np.asarray(source.read(3)) == 60).all()
    assert source.read(3).mode == "RGB"
    assert len(open_data("torchvision", ".", dataset="MNIST", split="train")) == 12
    assert len(open_data("torchvision", ".", dataset="MNIST")) == 12
    assert source.fingerprint != open_data("torchvision", ".", dataset="MNIST").fingerprint
    assert next(iter(take(source, 2).entries())).id.startswith("MNIST/test/")


def test_other_labels(mnist: tuple, tmp_path: Path, open_data: Open) -> None:
    (tmp_path / "l.csv").write_text("".join(f"MNIST/test/{i:05d},{'odd' if i % 2 else 'even'}\n" for i in range(5)))
    named = {"dataset": "MNIST", "split": "test"}
    assert open_data("torchvision", ".", **named, labels="l.csv").classes == ("even", "odd")
    assert open_data("torchvision", ".", **named, labels="none").classes == ()
    with pytest.raises(ConfigError, match="torchvision's MNIST has no folders to take labels from"):
        open_data("torchvision", ".", **named, labels="folders")


def test_a_cifar10_folder(tmp_path: Path, open_data: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 3, 32, 32), dtype=np.uint8)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    batch = pickle.dumps({"data": pixels.reshape(6, -1), "labels": [3, 0, 9, 9, 1, 0]})
    names = pickle.dumps({"label_names": [f"class {i}" for i in range(10)]})
    (folder / "test_batch").write_bytes(batch)
    (folder / "batches.meta").write_bytes(names)
    cifar = torchvision.datasets.CIFAR10
    meta = {"filename": "batches.meta", "key": "label_names", "md5": hashlib.md5(names).hexdigest()}
    monkeypatch.setattr(cifar, "test_list", [["test_batch", hashlib.md5(batch).hexdigest()]])
    monkeypatch.setattr(cifar, "train_list", [])
    monkeypatch.setattr(cifar, "meta", meta)
    source = open_data("torchvision", ".", dataset="CIFAR10", split="test")
    assert [e.label for e in source.entries()] == [3, 0, 9, 9, 1, 0]
    assert source.classes[3] == "class 3"
    for i in range(6):
        assert (np.asarray(source.read(i)) == pixels[i].transpose(1, 2, 0)).all()
    # A changed file is refused by torchvision's own checksum before it is unpickled.
    (folder / "test_batch").write_bytes(batch + b"x")
    with pytest.raises(DataError, match=r"CIFAR10 cannot be opened in .*corrupted.*set download = true"):
        open_data("torchvision", ".", dataset="CIFAR10", split="test")


def test_a_dataset_with_a_split_name_and_files(tmp_path: Path, open_data: Open) -> None:
    """Imagenette: (file, label) pairs, classes named by tuples."""
    for split in ("train", "val"):
        for i, wnid in enumerate(torchvision.datasets.Imagenette._WNID_TO_CLASS):
            folder = tmp_path / "imagenette2" / split / wnid
            folder.mkdir(parents=True)
            for k in range(2):
                Image.new("RGB", (5, 5), (i, k, 0)).save(folder / f"{wnid}_{k}.JPEG", "PNG")
    (tmp_path / "imagenette2" / "val" / "n01440764" / "n01440764_1.JPEG").write_bytes(b"broken")
    source = open_data("torchvision", ".", dataset="Imagenette", split="val")
    assert len(source) == 20
    assert source.classes[0] == "tench, Tinca tinca"
    assert [e.label for e in source.entries()] == [i // 2 for i in range(20)]
    assert source.read(5).getpixel((0, 0)) == (2, 1, 0)
    with pytest.raises(PictureError, match="cannot identify"):
        source.read(1)


def test_emnist_has_a_split_and_a_flag(tmp_path: Path, open_data: Open) -> None:
    folder = tmp_path / "EMNIST" / "raw"
    folder.mkdir(parents=True)
    for split in torchvision.datasets.EMNIST.splits:  # torchvision asks that all be there
        for part, count in (("train", 6), ("test", 3)):
            images, labels = np.zeros((count, 28, 28), np.uint8), np.ones(count, np.uint8)
            stem = folder / f"emnist-{split}-{part}"
            Path(f"{stem}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, *images.shape) + images.tobytes())
            Path(f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
    assert len(open_data("torchvision", ".", dataset="EMNIST", split="letters")) == 6
    source = open_data("torchvision", ".", dataset="EMNIST", split="letters/test")
    assert len(source) == 3
    assert source.classes[source.entries()[0].label] == "a"


def test_fake_data_without_a_folder_or_a_list_of_labels(open_data: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = torchvision.datasets.FakeData
    init = fake.__init__
    monkeypatch.setattr(fake, "__init__", lambda self: init(self, size=40, image_size=(3, 20, 30), num_classes=4))
    source = open_data("torchvision", dataset="FakeData")
    oracle = fake()
    assert [e.label for e in source.entries()] == [int(oracle[i][1]) for i in range(40)]
    assert source.classes == ("0", "1", "2", "3")
    # FakeData seeds torch's global generator: threads must not mix.
    expected = [np.asarray(oracle[i][0]) for i in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(source.read, range(40)), expected, strict=True):
            assert (np.asarray(found) == wanted).all()


class Items:
    """A stand-in for one of torchvision's datasets that holds these items."""

    items: tuple = ()

    def __init__(self, root: str) -> None:
        self.root = root

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple:
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


@pytest.fixture
def dataset_of(open_data: Open, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ImageSource]:
    def opened(*items: object, **attributes: object) -> ImageSource:
        kind = type("Country211", (Items,), {"items": items, **attributes})
        monkeypatch.setattr(torchvision.datasets, "Country211", kind)
        return open_data("torchvision", ".", dataset="Country211")

    return opened


def test_targets_that_are_no_labels_leave_the_images_unlabelled(dataset_of: Callable[..., ImageSource]) -> None:
    image = Image.new("L", (4, 4), 9)
    for target in ({"boxes": [1]}, "a caption", [[1], [2, 3]], image, np.zeros(40, np.int64), 0.5, None, True):
        source = dataset_of((image, target), (image, target))
        assert source.classes == (), target
        assert source.read(1).getpixel((0, 0)) == (9, 9, 9)


def test_labels_below_zero_are_none(dataset_of: Callable[..., ImageSource]) -> None:
    image = Image.new("L", (4, 4))
    source = dataset_of((image, -5), (image, 1), labels=np.array([-5, 1]))
    assert [e.label for e in source.entries()] == [-1, 1]
    assert source.classes == ("0", "1")


def test_a_broken_item_is_one_broken_picture(dataset_of: Callable[..., ImageSource]) -> None:
    image = Image.new("RGB", (4, 4))
    source = dataset_of(OSError("gone"), (image, 1), ValueError("bad"))
    assert [e.label for e in source.entries()] == [-1, 1, -1]
    with pytest.raises(PictureError, match="gone"):
        source.read(0)
    assert source.read(1).size == (4, 4)


def test_arrays_are_pictures_and_videos_are_not(dataset_of: Callable[..., ImageSource]) -> None:
    grey = np.full((4, 5, 1), 7, np.uint8)
    assert dataset_of((grey, 0)).read(0).getpixel((0, 0)) == (7, 7, 7)
    for wrong in (np.zeros((3, 20, 20, 3), np.uint8), np.zeros((4, 4), np.float32), "text", (grey, grey)):
        with pytest.raises(DataError, match=r"torchvision's Country211 holds no single pictures"):
            dataset_of((wrong, 0))
    with pytest.raises(DataError, match="holds no pictures: check 'path' and 'split'"):
        dataset_of()


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ({"dataset": "CIFAR"}, DataError, r"no dataset 'CIFAR'; did you mean 'CIFAR100?'\? \(known: .*CIFAR10,"),
        ({"dataset": "cifar10"}, DataError, r"did you mean 'CIFAR10'\?"),
        ({"dataset": "VisionDataset"}, DataError, r"no dataset 'VisionDataset'"),
        ({"dataset": "wrap_dataset_for_transforms_v2"}, DataError, r"no dataset"),
        ({}, ConfigError, r"lacks 'dataset'"),
        ({"dataset": "CIFAR10"}, DataError, r"CIFAR10 cannot be opened in .*not found.*: check 'path' and 'split', or"),
        ({"dataset": "CIFAR10", "split": "val"}, DataError, r"CIFAR10 has no split 'val': use \"train\" or \"test\""),
        ({"dataset": "DTD", "split": "tset"}, DataError, r"DTD cannot be opened .*tset"),
        ({"dataset": "EuroSAT", "split": "test"}, ConfigError, r"EuroSAT has no splits: remove 'split'"),
        ({"dataset": "FER2013", "download": True}, ConfigError, r"torchvision cannot download FER2013"),
        ({"dataset": "FakeData"}, ConfigError, r"FakeData reads no folder: remove 'path'"),
        ({"dataset": "CocoDetection"}, DataError, r"CocoDetection cannot be opened .*annFile"),
    ],
)
def test_datasets_that_cannot_be_used(keys: dict, error: type, message: str, open_data: Open) -> None:
    with pytest.raises(error, match=message):
        open_data("torchvision", ".", **keys)


def test_a_folder_is_needed(open_data: Open) -> None:
    with pytest.raises(ConfigError, match=r"lacks 'path': name the folder of torchvision's datasets"):
        open_data("torchvision", dataset="CIFAR10")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_download_is_passed_on(tmp_path: Path, open_data: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a server of the test's own."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    images, labels = np.zeros((2, 28, 28), np.uint8), np.array([1, 2], np.uint8)
    contents = {
        "images-idx3-ubyte": struct.pack(">IIII", 2051, 2, 28, 28) + images.tobytes(),
        "labels-idx1-ubyte": struct.pack(">II", 2049, 2) + labels.tobytes(),
    }
    resources = []
    for part in ("train", "t10k"):
        for name, content in contents.items():
            data = io.BytesIO()
            with gzip.GzipFile(fileobj=data, mode="wb", mtime=0) as file:
                file.write(content)
            (mirror / f"{part}-{name}.gz").write_bytes(data.getvalue())
            resources.append((f"{part}-{name}.gz", hashlib.md5(data.getvalue()).hexdigest()))
    handler = functools.partial(Quiet, directory=str(mirror))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
        assert len(open_data("torchvision", "fresh", dataset="MNIST", split="test", download=True)) == 2
        server.shutdown()
    assert len(open_data("torchvision", "fresh", dataset="MNIST", split="test")) == 2


def test_digits(open_data: Open, tmp_path: Path) -> None:
    source = open_data("digits")
    oracle = load_digits()
    assert len(source) == 1797
    assert source.classes == tuple("0123456789")
    assert [e.label for e in source.entries()] == oracle.target.tolist()
    assert source.entries()[42].id == "digits/00042"
    assert source.index_of("digits/01796") == 1796
    for i in (0, 42, 1796):
        assert np.abs(np.asarray(source.read(i))[..., 0] - oracle.images[i] * 255 / 16).max() <= 0.5
        assert source.read(i).mode == "RGB"
    assert np.asarray(source.read(0)).max() >= 230
    assert open_data("digits", labels="none").classes == ()
    with pytest.raises(ConfigError, match="the digits dataset has no folders"):
        open_data("digits", labels="folders")
