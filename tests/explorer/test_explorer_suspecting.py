"""What a page is told of suspects, and what is kept of them; without a browser."""

from __future__ import annotations

import base64
import io
import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from suspicions import CUE, INSIDE, MEMBERS

from atlas.errors import StoreError
from atlas.explorer import start_server
from atlas.explorer.editions import Editions
from atlas.explorer.header import page_header
from atlas.explorer.marks import MOST_JUDGED, Marks, add_region, judge_suspect, read_marks
from atlas.explorer.points import live_points
from atlas.explorer.relay import Relay
from atlas.explorer.shards import Shards
from atlas.explorer.suspecting import COVERED, FAINT, fullest_cells, samples_of
from atlas.storage.atlas import Atlas, open_atlas
from atlas.storage.suspects import read_suspects

REGION = {"name": "odd", "note": "", "layer": "layer1", "address": "", "outlines": []}


def unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<u2") / 65535


def test_a_header_lists_the_suspects_alone(suspected: Atlas, planted: Atlas) -> None:
    told = page_header(Shards(suspected), "site", "site")["suspects"]
    assert (told["layer"], told["tested"]) == (1, True)
    first, second = told["listed"]
    assert (first["used"], first["spurious"], first["images"]) == ("yes", "likely", len(MEMBERS))
    assert first["label"] == first["feeds"] == suspected.classes[2]
    assert second["whyUsed"] == "There was no network."
    assert page_header(Shards(planted), "site", "site")["suspects"] is None


def test_a_suspects_shard_is_what_is_stored(suspected: Atlas) -> None:
    found = read_suspects(suspected)
    assert found is not None
    told = Shards(suspected).value("suspect", 0)
    assert told["images"] == MEMBERS
    assert told["membership"] == pytest.approx(found.array("membership")[0][MEMBERS].astype(float), abs=1e-3)
    assert (told["boxes"][0], told["boxes"][1], len(told["boxes"])) == (CUE, None, 32)
    assert told["aspects"] == {str(image): 1.0 for image in {*MEMBERS[:32], *told["usual"]}}
    assert [test["name"] for test in told["tests"]] == ["remove_direction", "blur", "paste"]
    assert told["tests"][2]["logit"] == [3, 2.6, 3.4]
    icon = np.asarray(Image.open(io.BytesIO(base64.b64decode(told["inside"].partition(",")[2]))))
    assert np.abs(icon.astype(int) - INSIDE).max() < 12
    assert told["cue"] is not None
    assert not told["whole"]
    bare = Shards(suspected, pictures=False).value("suspect", 0)
    assert bare["cue"] is None  # cut out of the dataset's pictures
    assert bare["inside"] == told["inside"]
    second = Shards(suspected).value("suspect", 1)
    assert (second["whole"], set(second["boxes"])) == (True, {None})  # a frame around all of a picture says nothing
    with pytest.raises(LookupError):
        Shards(suspected).value("suspect", 2)


def test_all_homes_carry_the_suspects(suspected: Atlas, planted: Atlas) -> None:
    keys = set(Shards(suspected).all_keys())
    assert {("suspect", (0,)), ("suspect", (1,)), ("outlined", (0,)), ("outlined", (1,))} <= keys
    assert not any(kind in ("suspect", "outlined") for kind, _ in Shards(planted).all_keys())
    with pytest.raises(LookupError):
        Shards(planted).value("outlined", 0)


def test_outlines_hold_most_of_the_samples_in_the_fewest_cells(suspected: Atlas) -> None:
    found = read_suspects(suspected)
    assert found is not None
    for layer in suspected.layers:
        told = Shards(suspected).value("outlined", layer.index)["suspects"]
        live = live_points(layer.samples.positions, layer.samples.state)
        for index, suspect in enumerate(found.listed):
            wanted = np.flatnonzero(np.isin(layer.samples.image, suspect["images"]))
            if layer.index == 1 and suspect["rows"]:
                wanted = np.array(suspect["rows"])
            wanted = wanted[np.isin(wanted, live)]
            places = np.stack([unpacked(told[index][axis]) for axis in "xy"], axis=1)
            rows = samples_of(layer, np.isin(np.arange(len(layer.samples)), live), suspect, layer.index == 1)
            assert set(rows) == set(wanted)
            np.testing.assert_allclose(places, layer.samples.positions[rows], atol=1e-5)
            for level in layer.levels:
                squares = np.array(told[index]["squares"][str(level.number)]).reshape(-1, 2)
                inside = [(np.floor(places * level.side) == square).all(axis=1).sum() for square in squares]
                assert inside == sorted(inside, reverse=True)
                assert min(inside) >= FAINT * inside[0]
                assert COVERED * len(places) > sum(inside[:-1])
                column, row = np.minimum(np.floor(places * level.side), level.side - 1).astype(int).T
                outside = np.zeros((level.side, level.side), int)
                np.add.at(outside, (column, row), 1)
                outside[tuple(squares.T)] = 0
                # No cell outside holds more than one inside; most samples are inside, or single ones are left out.
                assert outside.max() <= min(inside)
                assert sum(inside) >= COVERED * len(places) or outside.max() < FAINT * inside[0]
            held = places[
                (np.floor(places * 8)[:, None] == np.array(told[index]["squares"]["0"]).reshape(-1, 2))
                .all(axis=2)
                .any(axis=1)
            ]
            np.testing.assert_allclose(told[index]["view"], [*held.min(axis=0), *held.max(axis=0)], rtol=1e-3)


def test_fullest_cells_of_places_that_are_counted_by_hand() -> None:
    places = np.array([[0.1, 0.1]] * 5 + [[0.9, 0.1]] * 3 + [[0.1, 1.0], [0.6, 0.6]])
    assert fullest_cells(places, 2) == [0, 0, 1, 0]
    # Two thirds in one cell and the rest single, all over: only the one is outlined.
    assert fullest_cells(
        np.array([[0.1, 0.1]] * 10 + [[0.3, 0.1], [0.5, 0.1], [0.7, 0.1], [0.9, 0.9], [0.3, 0.9]]), 5
    ) == [0, 0]
    assert fullest_cells(places[:0], 2) == []


def test_suspects_of_samples_or_layers_that_are_not_there_are_refused(suspected: Atlas, tmp_path: Path) -> None:
    for key, value, words in (("layer", "layer9", "a layer"), ("suspects", None, "samples")):
        folder = tmp_path / f"{key}.atlas"
        shutil.copytree(suspected.path, folder)
        document = json.loads((folder / "suspects.json").read_text("utf-8"))
        if value is None:
            document["suspects"][0]["rows"] = [10**6]
        else:
            document[key] = value
        (folder / "suspects.json").write_text(json.dumps(document), "utf-8")
        with pytest.raises(StoreError, match=words):
            Shards(open_atlas(folder)).value("outlined", 1)


def test_damaged_suspects_leave_the_map_and_are_said(suspected: Atlas, tmp_path: Path) -> None:
    shutil.copytree(suspected.path, tmp_path / "damaged.atlas")
    (tmp_path / "damaged.atlas" / "suspects.json").write_text("{")
    told = page_header(Shards(open_atlas(tmp_path / "damaged.atlas")), "server", "x", notes=("one",))
    assert told["suspects"] is None
    assert told["notes"][0] == "one"
    assert "suspects.json is damaged" in told["notes"][1]
    assert str(tmp_path) not in told["notes"][1]


def test_a_column_says_which_suspect_an_image_is_in(suspected: Atlas, planted: Atlas) -> None:
    shards = Shards(suspected)
    told = page_header(shards, "site", "site")
    column = told["suspects"]["column"]
    assert told["columns"][column]["categories"] == [f"{i} {suspected.classes[i + 1]}" for i in (1, 2)]
    codes = np.frombuffer(base64.b64decode(shards.value("column", column)["codes"]), np.uint8)
    found = read_suspects(suspected)
    assert found is not None
    for image, code in enumerate(codes.tolist()):
        own = [i for i, suspect in enumerate(found.listed) if image in suspect["images"]]
        assert code == (own[0] if own else 255)
    assert Shards(planted).columns == ()


def test_marks_of_suspects_stand_beside_regions(tmp_path: Path) -> None:
    path = tmp_path / "marks.json"
    assert judge_suspect(path, "ab", None) == {}
    assert not path.exists()
    add_region(path, REGION)
    judge_suspect(path, "ab12", {"mark": "cue", "note": "<b>seen</b>", "extra": 1})
    judge_suspect(path, "ff", {"mark": "fine"})
    add_region(path, REGION)
    kept = read_marks(path)
    assert kept.suspects == {"ab12": {"mark": "cue", "note": "<b>seen</b>"}, "ff": {"mark": "fine", "note": ""}}
    assert len(kept.regions) == 2
    assert judge_suspect(path, "ff", {"mark": "unsure"})["ff"] == {"mark": "unsure", "note": ""}
    assert set(judge_suspect(path, "ab12", None)) == {"ff"}
    assert len(read_marks(path).regions) == 2
    assert json.loads(path.read_text("utf-8"))["schema"] == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *(("ab", {"mark": "<b>"}), ("ab", {}), ("ab", []), ("ab", {"mark": "cue", "note": 3})),
        *(("../x", {"mark": "cue"}), ("", {"mark": "cue"}), ("AB", {"mark": "cue"}), (7, {"mark": "cue"})),
        *(("a" * 65, {"mark": "cue"}), ("ab", {"mark": "cue", "note": "x" * 4001})),
    ],
)
def test_what_is_no_mark_is_not_kept(tmp_path: Path, name: str, said: object) -> None:
    path = tmp_path / "marks.json"
    with pytest.raises(ValueError, match="suspect"):
        judge_suspect(path, name, said)
    assert not path.exists()


@pytest.mark.parametrize("suspects", [[], {"x": {"mark": "cue"}}, {"ab": {"mark": "no"}}, {"ab": None}])
def test_damaged_marks_are_not_overwritten(tmp_path: Path, suspects: object) -> None:
    path = tmp_path / "marks.json"
    path.write_text(json.dumps({"schema": 1, "regions": [], "suspects": suspects}))
    before = path.read_text()
    with pytest.raises(StoreError):
        judge_suspect(path, "ab", {"mark": "cue"})
    with pytest.raises(StoreError):
        add_region(path, REGION)
    assert path.read_text() == before


def test_a_full_file_takes_no_more_marks(tmp_path: Path) -> None:
    path = tmp_path / "marks.json"
    full = {f"{i:x}": {"mark": "cue", "note": ""} for i in range(MOST_JUDGED)}
    path.write_text(json.dumps({"schema": 1, "regions": [], "suspects": full}))
    with pytest.raises(ValueError, match="1000 marks"):
        judge_suspect(path, "fffff", {"mark": "cue"})
    assert judge_suspect(path, "0", {"mark": "fine"})["0"]["mark"] == "fine"
    assert isinstance(read_marks(path), Marks)


@pytest.fixture
def own(suspected: Atlas, tmp_path: Path) -> Atlas:
    """A copy whose marks may be written."""
    shutil.copytree(suspected.path, tmp_path / "own.atlas", ignore=shutil.ignore_patterns("marks.json"))
    return open_atlas(tmp_path / "own.atlas")


def test_a_notebooks_kernel_keeps_marks_as_the_server_does(own: Atlas) -> None:
    path = f"marks/{Editions(own.path).newest()[0]}/suspects"
    relay = Relay(own.path)
    try:
        assert json.loads(relay.ask("GET", path).body) == {"suspects": {}}

        def say(said: object, kind: str = "application/json") -> tuple[int, bytes]:
            reply = relay.ask("POST", path, type=kind, body=json.dumps(said).encode())
            return reply.status, reply.body

        status, body = say({"id": "ab", "mark": "cue", "note": "x", "regions": []})
        assert (status, json.loads(body)) == (200, {"suspects": {"ab": {"mark": "cue", "note": "x"}}})
        for said in ({"id": "../ab", "mark": "cue"}, {"id": "ab", "mark": "<b>"}, {"mark": "cue"}, [], "cue"):
            assert say(said)[0] == 400
        assert say({"id": "ab", "mark": "fine"}, "text/plain")[0] == 400
        assert relay.ask("DELETE", path, type="application/json", body=b'{"id": "ab"}').status == 405
        assert read_marks(own.marks_path).suspects == {"ab": {"mark": "cue", "note": "x"}}
        assert json.loads(say({"id": "ab", "mark": None})[1]) == {"suspects": {}}
        assert relay.ask("GET", "marks/0123456789abcdef/suspects").status == 404
    finally:
        relay.close()


def test_other_sites_cannot_mark(own: Atlas) -> None:
    with start_server(own) as handle:
        address = f"{handle.url}marks/{Editions(own.path).newest()[0]}/suspects"
        body = json.dumps({"id": "ab", "mark": "cue"}).encode()
        for name, value in (("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site")):
            request = urllib.request.Request(address, body, {"Content-Type": "application/json", name: value})
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(request)
    assert not own.marks_path.exists()
