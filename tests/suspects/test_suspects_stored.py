"""Suspects on the disk: read back as written, recorded, checked; damage is told in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import write_planted_atlas
from planted_suspects import write_planted_suspects

from atlas.errors import StoreError
from atlas.storage import open_atlas
from atlas.storage.suspects import DOCUMENT, drop_suspects, read_suspects, suspect_id, write_suspects
from atlas.storage.verify import describe, verify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_planted_atlas(tmp_path / "planted.atlas")


def test_what_is_written_is_read_back_and_whole(folder: Path) -> None:
    assert read_suspects(folder) is None
    assert describe(folder)["suspects"] is None
    written = write_planted_suspects(folder)
    found = read_suspects(open_atlas(folder))
    assert found is not None
    assert found.document == written.document
    assert found.array("membership").shape == (3, 120)
    assert found.array("direction").dtype == np.float32
    assert verify(folder) == []
    told = describe(folder)["suspects"]
    assert [suspect["used"] for suspect in told["suspects"]] == ["yes", "no", "untested"]


def test_new_suspects_take_the_place_of_the_old(folder: Path) -> None:
    write_planted_suspects(folder)
    empty = {"layer": "layer1", "made_from": {}, "seed": 0, "tested": False, "notes": [], "suspects": []}
    write_suspects(folder, empty, {"membership": np.empty((0, 120)), "direction": np.empty((0, 16))}, {})
    assert not (folder / "suspects").exists()
    assert verify(folder) == []
    drop_suspects(folder)
    assert read_suspects(folder) is None
    assert verify(folder) == []


def test_an_id_follows_from_layer_class_and_members_alone() -> None:
    assert suspect_id("a", 1, ["x", "y"]) == suspect_id("a", 1, ["y", "x"])
    assert len({suspect_id("a", 1, ["x"]), suspect_id("b", 1, ["x"]), suspect_id("a", 2, ["x"])}) == 3


@pytest.mark.parametrize(
    ("key", "value"),
    [("used", "maybe"), ("figures", {"purity": "high"}), ("images", [-1]), ("tests", [{"name": "guess"}]), ("p", None)],
)
def test_a_wrong_suspect_is_damage(folder: Path, key: str, value: Any) -> None:
    write_planted_suspects(folder)
    document = json.loads((folder / DOCUMENT).read_text())
    document["suspects"][1][key] = value
    (folder / DOCUMENT).write_text(json.dumps(document))
    with pytest.raises(StoreError, match=f"suspect 2 has a wrong '{key}'"):
        read_suspects(folder)
    assert any(DOCUMENT in damage for damage in verify(folder))


def test_images_that_are_not_there_are_damage(folder: Path) -> None:
    found = write_planted_suspects(folder)
    document = {key: value for key, value in found.document.items() if key != "schema"}
    document["suspects"][0]["images"][0] = 5000
    arrays = {name: found.array(name) for name in ("membership", "direction")}
    write_suspects(folder, document, {**arrays, "membership": arrays["membership"][:, :7]}, {})
    damage = " ".join(verify(folder))
    assert "suspect 1 names images" in damage
    assert "not one membership" in damage


def test_a_stopped_run_leaves_an_atlas_without_suspects(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_planted_suspects(folder)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("atlas.storage.suspects.write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        write_planted_suspects(folder)
    assert read_suspects(folder) is None
    monkeypatch.undo()
    write_planted_suspects(folder)
    assert verify(folder) == []
