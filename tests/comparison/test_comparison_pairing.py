"""Networks are paired by image and place, and what cannot be paired is refused in one sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from planted_networks import Made, Pictures, clouds, write_network, write_store

from atlas.comparison import compare
from atlas.comparison.networks import open_networks, open_reference
from atlas.comparison.pairing import pair
from atlas.errors import AtlasError

PICTURES = Pictures.of()
ROWS = clouds(PICTURES.labels, 12, seed=1)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("first"), "a", ROWS, PICTURES, PICTURES.labels)


def refusal(first: Path, other: Path, **told: object) -> str:
    with pytest.raises(AtlasError) as error:
        compare(first, other, out=other.with_suffix(".diff"), **told)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert not other.with_suffix(".diff").exists()
    return str(error.value)


@pytest.mark.parametrize("kind", ["positions", "mean"])
def test_images_in_another_order_are_paired_by_their_ids(tmp_path: Path, kind: str) -> None:
    pictures = Pictures.of(60, positions=3)
    rows = np.abs(np.random.default_rng(0).normal(size=(180, 8)))
    order = np.random.default_rng(1).permutation(60)
    a = write_network(tmp_path, "a", rows, pictures, pictures.labels, kind=kind)
    b = write_network(tmp_path, "b", rows, pictures, pictures.labels, kind=kind, order=order, weights="others")
    one, other = pair(open_networks([a, b]))
    np.testing.assert_array_equal(np.asarray(one.rows[0:180]), np.asarray(other.rows[0:180]))
    np.testing.assert_array_equal(one.vectors(), other.vectors())
    np.testing.assert_array_equal(one.predictions, other.predictions)
    for name in ("sample_rows", "classes", "values"):
        np.testing.assert_array_equal(getattr(one.effects, name), getattr(other.effects, name))
    found = compare(a, b, out=tmp_path / "x.diff").document
    assert (found["cka"], found["neighbor_overlap"]) == (pytest.approx(1), pytest.approx(1))


def test_other_images_are_refused(first: Path, tmp_path: Path) -> None:
    few = Pictures(PICTURES.ids[:-3], PICTURES.labels[:-3])
    said = refusal(first, write_network(tmp_path, "b", ROWS[:-3], few, weights="b"))
    assert "b lacks 3 of 160, a lacks 0 of 157; 'planted/bee/0157.jpg' of a is not in b" in said
    other = Pictures([f"{name}x" for name in PICTURES.ids], PICTURES.labels, name="others")
    assert "b lacks 160 of 160" in refusal(first, write_network(tmp_path / "o", "b", ROWS, other, weights="b"))


def test_pooled_and_sampled_are_told_apart(first: Path, tmp_path: Path) -> None:
    other = write_network(tmp_path, "b", ROWS, PICTURES, kind="mean", weights="b")
    assert refusal(first, other) == (
        "a maps sampled positions and b pooled vectors ('mean'): build both with the same layout.rows"
    )


def test_one_image_is_too_few(tmp_path: Path) -> None:
    pictures = Pictures(PICTURES.ids[:1], PICTURES.labels[:1], positions=16)
    rows = np.random.default_rng(0).random((16, 12))
    a, b = (write_network(tmp_path, name, rows, pictures, weights=name) for name in "ab")
    assert refusal(a, b).endswith("a.atlas was made from one image: a comparison needs at least 12")


def test_other_positions_are_refused(first: Path, tmp_path: Path) -> None:
    moved = (PICTURES.uv + 0.5) % 1
    said = refusal(first, write_network(tmp_path, "b", ROWS, PICTURES, weights="b", uv=moved))
    assert "a and b were sampled at other positions (100% of 160 lie elsewhere)" in said
    twice = Pictures(PICTURES.ids, PICTURES.labels, positions=2)
    more = write_network(tmp_path / "o", "b", np.repeat(ROWS, 2, axis=0), twice, weights="b")
    assert "'planted/ant/0000.jpg' has 1 positions in a and 2 in b" in refusal(first, more)


def test_other_classes_are_refused(first: Path, tmp_path: Path) -> None:
    named = Pictures(PICTURES.ids, PICTURES.labels, classes=("ant", "bee", "cat", "elk"))
    said = refusal(first, write_network(tmp_path, "b", ROWS, named, weights="b"))
    assert said.startswith("the classes of a and b differ (4 and 4; 'elk' is in one alone)")
    turned = write_network(tmp_path / "o", "b", ROWS, PICTURES, outputs=("bee", "ant", "cat", "dog"), weights="b")
    assert "the outputs of a and b differ (4 and 4; they stand in another order)" in refusal(first, turned)


def test_a_missing_store_a_store_and_a_missing_atlas_are_told(first: Path, tmp_path: Path) -> None:
    other = write_network(tmp_path, "b", ROWS, PICTURES, weights="b")
    assert "is a store: name the atlas" in refusal(first, other.with_suffix(".store"))
    shutil.rmtree(other.with_suffix(".store"))
    said = refusal(first, other)
    assert said.startswith(f"the store of {other} is missing")
    assert said.endswith("restore it: a comparison needs the raw activations")
    assert "does not exist" in refusal(first, tmp_path / "none.atlas")


def test_a_dead_layer_is_told(first: Path, tmp_path: Path) -> None:
    other = write_network(tmp_path, "b", ROWS, PICTURES, weights="b")
    dead = write_store(tmp_path / "dead.store", np.ones((160, 12)), PICTURES, made=Made(weights="dead"))
    said = refusal(first, other, references=[dead])
    assert said == "layer 'layer3' of dead gives the same for every image: compare another one (--layers)"


def test_layers_are_chosen_by_name_or_default(first: Path, tmp_path: Path) -> None:
    other = write_network(tmp_path, "b", ROWS, PICTURES, layer="blocks.7", weights="b")
    assert [one.layer.name for one in open_networks([first, other])] == ["layer3", "blocks.7"]
    assert [one.layer.name for one in open_networks([first, other], ["layer3", "blocks.7"])] == ["layer3", "blocks.7"]
    assert "has no layer 'layer3'" in refusal(first, other, layers=["layer3"])
    assert "3 layers are named for 2 atlases" in refusal(first, other, layers=["a", "b", "c"])


def test_titles_tell_equal_names_apart(first: Path, tmp_path: Path) -> None:
    other = write_network(tmp_path, "a", ROWS, PICTURES, weights="b")
    assert [one.title for one in open_networks([first, other])] == ["a (1)", "a (2)"]
    deeper = write_network(tmp_path / "o", "a", ROWS, PICTURES, layer="layer4", weights="b")
    assert [one.title for one in open_networks([first, deeper])] == ["a layer3", "a layer4"]


def test_a_reference_may_be_a_store_but_needs_the_same_rows(first: Path, tmp_path: Path) -> None:
    network = open_networks([first, first])[0]
    other = write_network(tmp_path, "b", ROWS, PICTURES, weights="b")
    assert open_reference(other, network).store.path == other.with_suffix(".store").resolve()
    assert open_reference(other.with_suffix(".store"), network).kind == "positions"
    pooled = write_network(tmp_path, "c", ROWS, PICTURES, kind="mean", weights="c")
    with pytest.raises(AtlasError, match="has no sampled positions of layer 'layer3'"):
        open_reference(pooled.with_suffix(".store"), network)


def test_a_reference_that_is_a_copy_is_refused(first: Path, tmp_path: Path) -> None:
    other = write_network(tmp_path, "b", ROWS, PICTURES, weights="b")
    copy = write_network(tmp_path, "copy", ROWS, PICTURES, PICTURES.labels)
    assert refusal(first, other, references=[copy]).startswith("the reference copy is the same network as a: name")
    twins = [write_store(tmp_path / f"{i}.store", ROWS, PICTURES, made=Made(weights="c")) for i in range(2)]
    assert "the reference 1 is the same network as 0" in refusal(first, other, references=twins)
