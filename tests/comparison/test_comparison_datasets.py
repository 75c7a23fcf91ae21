"""Two datasets through one network: one map, what is new, what is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_networks import Pictures, write_network

from atlas.comparison import compare, datasets
from atlas.errors import ConfigError, StoreError
from atlas.storage.diff import Diff
from atlas.storage.verify import verify

CLASSES = ("ant", "bee", "cat", "dog", "elk")
BEFORE, AFTER = np.arange(400) % 4, np.repeat([1, 2, 3, 4], 75)  # ants are gone, elks are new


def dataset(labels: np.ndarray, name: str, seed: int) -> tuple[Pictures, np.ndarray]:
    ids = [f"{CLASSES[c]}/{i:04d}.jpg" for i, c in enumerate(labels)]
    pictures = Pictures(ids, labels, CLASSES, positions=2, name=name)
    hidden = 5 * np.random.default_rng(0).random((5, 12))
    rng = np.random.default_rng(seed)
    return pictures, np.abs(hidden[np.repeat(labels, 2)] + 0.5 * rng.normal(size=(2 * len(labels), 12)))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets")
    for name, labels, seed in (("training", BEFORE, 1), ("production", AFTER, 2), ("again", BEFORE, 3)):
        pictures, rows = dataset(labels, name, seed)
        if name == "again":
            pictures = replace(pictures, ids=[f"more/{one}" for one in pictures.ids])
        write_network(folder, name, rows, pictures, labels)
    return folder


@pytest.fixture(scope="module")
def diff(home: Path) -> Diff:
    return compare(home / "training.atlas", home / "production.atlas", out=home / "x.diff")


def test_what_is_new_and_what_is_missing_lead_the_list(diff: Diff) -> None:
    changes = json.loads(json.dumps(dict(diff.document)))["changes"]
    new = next(change for change in changes if change["kind"] == "appeared")
    gone = next(change for change in changes if change["kind"] == "vanished")
    assert (new["classes"][0], gone["classes"][0]) == ("elk", "ant")
    assert all("elk/" in name for name in new["images"][:50])
    assert max(new["p"], gone["p"]) < 1e-4
    assert "production's 300 pictures" in new["text"]
    assert diff.document["cka"] is None
    elks = AFTER[diff.atlas.layers[1].samples.image - 400] == 4
    places = diff.atlas.layers[1].layout.positions
    left, bottom, right, top = new["view"]
    inside = ((places >= [left, bottom]) & (places <= [right, top])).all(axis=1)
    assert elks[inside].mean() > 0.9
    assert diff.document["of"] == "datasets"


def test_the_map_holds_both_on_one_grid(diff: Diff) -> None:
    atlas = diff.atlas
    assert verify(atlas.path) == []
    assert [layer.name for layer in atlas.layers] == ["training", "production"]
    assert len(atlas.images) == 700
    ids = list(atlas.images.ids)
    clash = set(dataset(BEFORE, "a", 0)[0].ids) & set(dataset(AFTER, "b", 0)[0].ids)
    assert clash
    assert all((f"training: {name}" in ids) and (f"production: {name}" in ids) for name in clash)
    one, other = atlas.layers
    assert one.samples.image.max() < 400 <= other.samples.image.min()
    np.testing.assert_array_equal(
        np.concatenate([one.layout.positions, other.layout.positions]), diff.array("positions")
    )
    assert (atlas.images.label[other.samples.image[0]], atlas.thumbnail(699).shape) == (1, (96, 96, 3))


def test_the_same_distribution_is_mixed_and_has_no_changes(home: Path) -> None:
    found = compare(home / "training.atlas", home / "again.atlas", out=home / "again.diff").document
    assert found["changes"] == []
    assert found["mixing"]["value"] == pytest.approx(1, abs=0.05)
    low, high = found["mixing"]["chance"]
    assert low < 1 < high
    assert found["mixing"]["p"] > 0.05
    new = compare(home / "training.atlas", home / "production.atlas", out=home / "x.diff").document
    assert new["mixing"]["value"] < 0.8 < new["mixing"]["chance"][0]
    assert new["mixing"]["p"] == 0.005


def test_ids_in_both_datasets_are_told(diff: Diff, home: Path, capsys: pytest.CaptureFixture) -> None:
    from atlas.console import say_diff

    ids = [dataset(labels, "any", 0)[0].ids for labels in (BEFORE, AFTER)]
    common = len(set(ids[0]) & set(ids[1]))
    assert common > 0
    assert any(note.startswith(f"{common} ids are in both datasets") for note in diff.document["notes"])
    again = compare(home / "training.atlas", home / "again.atlas", out=home / "again.diff")
    assert not any("in both" in note for note in again.document["notes"])
    say_diff(again)
    assert "cells were tested, and in none is either dataset denser" in capsys.readouterr().out


def test_a_stopped_one_goes_on(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = datasets.write_network

    def stop(*told: object, **more: object) -> None:
        made(*told, **more)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    out = tmp_path / "x.diff"
    with monkeypatch.context() as patched:
        patched.setattr(datasets, "write_network", stop)
        with pytest.raises(KeyboardInterrupt):
            compare(home / "training.atlas", home / "production.atlas", out=out)
    found = compare(home / "training.atlas", home / "production.atlas", out=out)
    assert verify(out) == []
    joined = np.concatenate([layer.layout.positions for layer in found.atlas.layers])
    np.testing.assert_array_equal(joined, found.array("positions"))


def test_other_classes_are_refused_and_one_side_may_have_none(home: Path, tmp_path: Path) -> None:
    turned = tuple(reversed(CLASSES))
    pictures, rows = dataset(AFTER, "turned", 2)
    other = write_network(tmp_path, "turned", rows, replace(pictures, classes=turned), AFTER, outputs=CLASSES)
    with pytest.raises(StoreError, match="the classes of training and turned differ"):
        compare(home / "training.atlas", other, out=tmp_path / "x.diff")
    bare = replace(pictures, classes=(), labels=np.full(len(AFTER), -1), ids=[f"p/{i}" for i in range(len(AFTER))])
    unlabelled = write_network(tmp_path, "bare", rows, bare, AFTER, outputs=CLASSES)
    found = compare(unlabelled, home / "training.atlas", out=tmp_path / "y.diff")
    assert found.atlas.classes == CLASSES
    assert verify(tmp_path / "y.diff") == []
    assert {change["classes"][0] for change in found.changes if change["kind"] == "appeared"} == {"ant"}


def test_references_and_a_third_dataset_are_refused(home: Path) -> None:
    three = [home / f"{name}.atlas" for name in ("training", "production", "again")]
    with pytest.raises(ConfigError, match="two at a time"):
        compare(*three, out=home / "three.diff")
    with pytest.raises(ConfigError, match="without references"):
        compare(*three[:2], references=three[2:], out=home / "three.diff")


def test_the_same_ids_with_other_pixels_are_paired(home: Path, tmp_path: Path) -> None:
    """Recompressed pictures, say: what the network makes of each is compared picture by picture."""
    pictures, rows = dataset(BEFORE, "recompressed", 7)
    other = write_network(tmp_path, "recompressed", rows, pictures, BEFORE)
    found = compare(home / "training.atlas", other, out=tmp_path / "x.diff")
    assert found.document["of"] == "networks"
    assert 0.5 < found.document["cka"] < 1
