from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas.config import ManifestConfig
from atlas.datasets import ImageSource, decode, load_manifest
from atlas.datasets.labels import Labels, text_labels
from atlas.datasets.source import Listing, RelabelledSource
from atlas.errors import AtlasError, ConfigError
from atlas.records import Entry

Open = Callable[..., ImageSource]
Write = Callable[..., Path]
Picture = Callable[..., bytes]


def test_a_manifest_file(write: Write, tmp_path: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    write({"cat/1.png": picture(1), "dog/1.png": picture(2)})
    folder = tmp_path / "manifests"
    folder.mkdir()
    path = folder / "pets.toml"
    monkeypatch.setenv("ATLAS_PETS", str(tmp_path))
    for place in ("../data", "${ATLAS_PETS}/data"):
        path.write_text(f'name = "pets"\nsource = "folder"\npath = "{place}"\nlabels = "folders"\nlicense = "own"\n')
        source = load_manifest(path)
        assert (source.name, source.classes, len(source)) == ("pets", ("cat", "dog"), 2)
    monkeypatch.chdir(folder)
    assert len(load_manifest("pets.toml")) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"\nsource = "foldr"', r"'source' is 'foldr'; did you mean 'folder'\?"),
        ('name = "x"\nsource = "digits"\npaht = "y"', r"unknown key 'paht'; did you mean 'path'\?"),
        ('name = "x"\nsource = "digits"\npath = "y"', r"sets 'path', which means nothing to source = \"digits\""),
        ('name = "x"\nsource = "folder"\npath = "y"\nsha256 = "0"', r"sets 'sha256', .*\(known there: path, labels\)"),
        ('name = "x"\nsource = "zip"\npath = "y"\nsplit = "test"', r"sets 'split'"),
        ('name = "x"\nsource = "shapes"\ndataset = "y"', r"sets 'dataset'"),
        ('source = "digits"', r"'name' is missing"),
    ],
)
def test_manifests_that_make_no_sense(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_manifest(path)


def test_every_committed_manifest_is_valid(repository: Path) -> None:
    from atlas.config import load_manifest_config

    names = [load_manifest_config(path).name for path in sorted((repository / "data_manifests").glob("*.toml"))]
    assert {"cifar10-test", "cifar10-train", "digits", "imagenet-sample"} <= set(names)
    assert len(set(names)) == len(names)
    assert len(load_manifest(repository / "data_manifests" / "digits.toml")) == 1797


def test_errors_are_one_sentence(write: Write, tmp_path: Path, open_data: Open, picture: Picture) -> None:
    root = write({"a.png": picture(0)})
    mistakes = [
        ("folder", "gone", {}),
        ("folder", root, {"labels": "folders"}),
        ("zip", root / "a.png", {}),
        ("webdataset", root / "a.png", {}),
        ("torchvision", root, {"dataset": "CIFAR10"}),
    ]
    for source, path, keys in mistakes:
        with pytest.raises(AtlasError) as caught:
            open_data(source, path, **keys)
        message = str(caught.value)
        assert "\n" not in message
        assert caught.value.__suppress_context__ or caught.value.__cause__ is None


def test_heavy_libraries_wait_until_they_are_needed() -> None:
    code = (
        "import sys, atlas.datasets; "
        "print([m for m in ('torch', 'torchvision', 'sklearn', 'fsspec', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_source_under_other_labels(open_data: Open) -> None:
    digits = open_data("digits")
    labels: Labels = text_labels(["odd" if e.label % 2 else "even" for e in digits.entries()])
    source = RelabelledSource(digits, labels.classes, labels.values)
    assert source.entries()[3] == Entry("digits/00003", 1)
    assert source.index_of("digits/00003") == 3
    assert source.read(3).tobytes() == digits.read(3).tobytes()
    assert isinstance(source.entries(), Listing)
    assert source.fingerprint != digits.fingerprint
    other = RelabelledSource(digits, (), None)
    assert other.entries()[3] == Entry("digits/00003", -1)
    assert len({source.fingerprint, other.fingerprint, digits.fingerprint}) == 3


def test_the_embedded_dataset_takes_other_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the generator, which has tests of its own."""
    import types

    class ShapesSource:
        def __init__(self, config: ManifestConfig) -> None:
            self.name, self.classes, self.fingerprint = config.name, ("boat", "sun"), "f"

        def __len__(self) -> int:
            return 2

        def entries(self) -> list[Entry]:
            return [Entry("shapes/train/boat/00000", 0), Entry("shapes/train/sun/00001", 1)]

    from atlas.datasets import open_source

    stand_in = types.SimpleNamespace(ShapesSource=ShapesSource)
    monkeypatch.setitem(sys.modules, "atlas.datasets.shapes", stand_in)
    config = {"name": "s", "source": "shapes", "images": 2}
    assert isinstance(open_source(ManifestConfig(**config), tmp_path), ShapesSource)
    assert open_source(ManifestConfig(**config, labels="none"), tmp_path).classes == ()
    (tmp_path / "l.csv").write_text("id,label\nshapes/train/boat/00000,x\nshapes/train/sun/00001,y\n")
    assert open_source(ManifestConfig(**config, labels="l.csv"), tmp_path).classes == ("x", "y")


@pytest.mark.real
def test_cifar10(test_data: Path, repository: Path) -> None:
    source = load_manifest(repository / "data_manifests" / "cifar10_test.toml")
    assert len(source) == 10_000
    assert " ".join(source.classes) == "airplane automobile bird cat deer dog frog horse ship truck"
    assert source.entries()[0] == Entry("test/airplane/0000.jpg", 0)
    assert [sum(e.label == c for e in source.entries()) for c in range(10)] == [1000] * 10
    picture = source.read(source.index_of("test/cat/0001.jpg"))
    assert (picture.mode, picture.size) == ("RGB", (32, 32))
    train = load_manifest(repository / "data_manifests" / "cifar10_train.toml")
    assert (len(train), train.classes, train.entries()[-1].id) == (5000, source.classes, "train/truck/0499.jpg")
    assert train.fingerprint != source.fingerprint


@pytest.mark.real
def test_the_imagenet_sample(test_data: Path, repository: Path) -> None:
    from atlas.datasets import align_labels, read_class_table

    source = load_manifest(repository / "data_manifests" / "imagenet_sample.toml")
    assert len(source) == len(source.classes) == 1000
    assert source.entries()[0] == Entry("n01440764/n01440764.jpg", 0)
    path = test_data / "imagenet_sample" / "images" / "n01440764" / "n01440764.jpg"
    picture = source.read(0)
    assert min(picture.size) == 256
    assert picture.tobytes() == decode(path.read_bytes()).tobytes()
    table = read_class_table(test_data / "imagenet_sample" / "classes.csv")
    assert (len(table), table.names[0], table.folders[0]) == (1000, "tench", "n01440764")
    assert align_labels(source.classes, table).tolist() == list(range(1000))
    assert align_labels(source.classes, table.names) is None
