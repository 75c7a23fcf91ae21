"""Suspects of built atlases: what cannot be looked for is said in a sentence, the sticker is found, nothing else is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny import write_tiny_pipeline
from typer.testing import CliRunner

from atlas.cli import app
from atlas.demo import shipped
from atlas.errors import AtlasError
from atlas.findings.suspect_candidates import LISTED, Candidate
from atlas.pipeline import build
from atlas.storage.suspects import read_suspects
from atlas.storage.verify import verify
from atlas.suspects import find_suspects
from atlas.suspects import run as stages
from atlas.suspects.causal import Outcome
from atlas.suspects.ranking import UNPROVEN
from atlas.suspects.trials import try_candidate
from atlas.suspects.verdicts import Verdict

QUICK = ["layout.method=pca", "grid.levels=1", "icons.levels=1", "icons.steps=2", "icons.size=32"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny atlas of 52 pictures a class, and the pipeline it was made with."""
    folder = tmp_path_factory.mktemp("suspects")
    build(write_tiny_pipeline(folder, images=832), folder / "tiny.atlas", overrides=QUICK[:3])
    return folder


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """The same, to be spoiled."""
    return Path(shutil.copytree(folder, tmp_path / "own"))


def gone_store(folder: Path) -> Path | None:
    shutil.rmtree(folder / "tiny.store")
    return None


def changed_store(folder: Path) -> Path | None:
    header = json.loads((folder / "tiny.atlas" / "atlas.json").read_text())
    header["provenance"]["store"]["fingerprint"] = "another"
    (folder / "tiny.atlas" / "atlas.json").write_text(json.dumps(header))
    return None


def another_network(folder: Path) -> Path | None:
    text = (folder / "tinynet.py").read_text()
    (folder / "othernet.py").write_text(text.replace("manual_seed(3)", "manual_seed(4)"))
    other = folder / "other.toml"
    other.write_text((folder / "tiny.toml").read_text().replace("tinynet", "othernet"))
    return other


def an_encoder(folder: Path) -> Path | None:
    encoder = folder / "encoder.toml"
    encoder.write_text((folder / "tiny.toml").read_text().replace('classes = "folders"\n', ""))
    return encoder


def fewer_pictures(folder: Path) -> Path | None:
    (folder / "few.toml").write_text((folder / "pictures.toml").read_text().replace("832", "160"))
    few = folder / "fewer.toml"
    few.write_text((folder / "tiny.toml").read_text().replace("pictures.toml", "few.toml"))
    return few


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (gone_store, "the store of .* is missing .*: restore it: suspects are found in the raw activations"),
        (changed_store, "is no longer the store that .* was made from"),
        (another_network, "has other weights than .* was made with: name the pipeline"),
        (an_encoder, "is an encoder without class names"),
        (fewer_pictures, "dataset has no image .* which the atlas has"),
    ],
)
def test_what_does_not_belong_is_refused(own: Path, spoil: Callable[[Path], Path | None], sentence: str) -> None:
    pipeline = spoil(own)
    with pytest.raises(AtlasError, match=sentence):
        find_suspects(own / "tiny.atlas", pipeline=pipeline)


def test_a_store_is_no_atlas(folder: Path) -> None:
    with pytest.raises(AtlasError, match="is a store: name the atlas"):
        find_suspects(folder / "tiny.store")


def test_an_unknown_layer_is_refused(folder: Path) -> None:
    with pytest.raises(AtlasError, match="has no layer '33'; did you mean '3'"):
        find_suspects(folder / "tiny.atlas", layer="33")


@pytest.mark.parametrize(
    ("edit", "images", "sentence"),
    [
        ("", 96, "the largest class of .* has 6 images, too few"),
        ('labels = "none"\n', 96, "have no labels, and suspects are looked for within classes"),
    ],
)
def test_images_that_do_not_suffice_are_refused(tmp_path: Path, edit: str, images: int, sentence: str) -> None:
    pipeline = write_tiny_pipeline(tmp_path, images)
    with (tmp_path / "pictures.toml").open("a") as manifest:
        manifest.write(edit)
    if edit:
        pipeline.write_text(pipeline.read_text().replace('classes = "folders"\n', ""))
    build(pipeline, tmp_path / "tiny.atlas", overrides=QUICK[:3])
    with pytest.raises(AtlasError, match=sentence):
        find_suspects(tmp_path / "tiny.atlas")


def test_a_stopped_search_goes_on_and_a_finished_one_is_kept(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are read once: what was gathered before a stop is there when the same search goes on."""
    atlas, pipeline = own / "tiny.atlas", own / "tiny.toml"

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "find_candidates", stop)
    with pytest.raises(KeyboardInterrupt):
        find_suspects(atlas, pipeline=pipeline)
    assert read_suspects(atlas) is None
    monkeypatch.undo()
    seen = []
    found = find_suspects(atlas, pipeline=pipeline, progress=lambda stage, *_: seen.append(stage))
    assert "activations" not in seen
    assert verify(atlas) == []
    again = []
    assert find_suspects(atlas, pipeline=pipeline, progress=lambda s, *_: again.append(s)).document == found.document
    assert again == []
    assert not list(own.glob("tiny.work/suspects-*"))


def test_a_group_that_stands_out_little_is_listed_for_what_the_network_does(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Candidate] = []

    def told(*given: Any) -> tuple[Outcome, Verdict]:
        tried.append(given[2])
        second = len(tried) == 2
        outcome, verdict = try_candidate(*given)
        return outcome, replace(verdict, used="yes", spurious="likely" if second else "unlikely")

    monkeypatch.setattr(stages, "try_candidate", told)
    found = find_suspects(own / "tiny.atlas", pipeline=own / "tiny.toml")
    unproven = [one for one in tried if one.p > LISTED]
    assert 2 <= len(unproven) <= UNPROVEN
    assert len(found.listed) == len(tried) - len(unproven) + 1
    assert found.listed[0]["images"] == tried[1].images.tolist()
    assert "by itself it stands out little" in found.listed[0]["text"]
    assert found.array("membership").shape[0] == len(found.listed)
    assert verify(own / "tiny.atlas") == []


def test_the_command_says_what_it_found(own: Path) -> None:
    answer = CliRunner().invoke(app, ["suspects", str(own / "tiny.atlas"), "--json"])
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert {"layer", "tested", "suspects"} <= told.keys()
    assert told["tested"] is False
    spoken = CliRunner().invoke(app, ["suspects", str(own / "tiny.atlas")])
    assert "not tested: no pipeline was named" in spoken.output


@pytest.mark.timeout(900)
def test_the_demo_s_sticker_is_found_and_nothing_in_the_honest_network(tmp_path: Path) -> None:
    found = {}
    for name in ("shortcut", "honest"):
        pipeline = shipped(f"pipelines/shapes_{name}.toml")
        build(pipeline, tmp_path / f"{name}.atlas", overrides=QUICK)
        found[name] = find_suspects(tmp_path / f"{name}.atlas", pipeline=pipeline)
        assert verify(tmp_path / f"{name}.atlas") == []
    first = found["shortcut"].listed[0]
    assert (first["label_name"], first["feeds_name"]) == ("boat", "boat")
    assert (first["used"], first["spurious"]) == ("yes", "likely")
    left, top, right, bottom = first["box"]
    assert min(left, top) > 0.7
    assert max(right - left, bottom - top) < 0.3
    assert len(first["images"]) == 58
    assert not [suspect for suspect in found["honest"].listed if suspect["spurious"] == "likely"]
    assert not [one for one in found["honest"].listed if one["label_name"] == "boat" and one["used"] == "yes"]
