"""The report of a planted atlas: what it says, that it stands alone, and that no name becomes HTML."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from atlas.errors import DataError, StoreError
from atlas.explorer.marks import Marks, judge_suspect
from atlas.findings.health import Units, judge
from atlas.findings.health_record import Health
from atlas.findings.health_told import unusual
from atlas.review import write_report
from atlas.review.data import wilson
from atlas.review.drawing import boxed, causal_chart, icons_picture, map_level
from atlas.review.glossary import ENTRIES, Terms
from atlas.review.suspected import suspects_section
from atlas.storage import open_atlas
from atlas.storage.suspects import suspect_id, write_suspects
from tests.planted import HOSTILE, write_planted_atlas


class Tags(HTMLParser):
    """Counts elements, and keeps what would be asked for or run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "data", "action", "poster", "srcset") or name.startswith("on"):
                self.addresses.append(value or name)
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data):
        self.text += data


def read(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


@pytest.fixture
def atlas(tmp_path: Path) -> Path:
    return write_planted_atlas(tmp_path / "planted.atlas", images=160, levels=2, classes=8, hostile_names=True)


def plant_suspects(folder: Path, text: str = "They share a corner.") -> str:
    atlas = open_atlas(folder)
    ids, members = atlas.images.ids, [3, 11, 19, 27]
    test = {"name": "paste", "logit": [2.0, 1.5, 2.6], "control": [0.1, -0.2, 0.4], "control_spread": [-0.3, 0.5],
            "accuracy": [0.1, 0.0, 0.2], "accuracy_control": [0.0, 0.0, 0.0], "images": 80, "controls": 12}  # fmt: skip
    own = suspect_id("layer 0", 3, [ids[i] for i in members])
    suspect = {
        "id": own, "kind": "within", "score": 0.9, "p": 0.001, "label": 3, "feeds": 3,
        "label_name": atlas.classes[3], "feeds_name": atlas.classes[3], "images": members,
        "image_ids": [ids[i] for i in members], "usual": [35, 43], "rows": [], "box": [0.5, 0.5, 1, 1],
        "boxes": [[0.5, 0.5, 1, 1], None, [0, 0, 1, 1], [0.2, 0.2, 0.2, 0.2]],
        "figures": {"purity": 0.97, "accuracy_gap": 0.2, "accuracy_gap_low": 0.1, "accuracy_gap_high": 0.3},
        "tests": [test], "used": "yes", "why_used": text, "spurious": "likely", "why_spurious": text, "text": text,
        "icons": {"inside": "suspects/0/inside.png", "outside": "../../outside.png"}, "cue": None,
    }  # fmt: skip
    document = {"layer": "layer 0", "made_from": {}, "seed": 0, "tested": True, "notes": [text], "suspects": [suspect]}
    from atlas.looking.drawing import png

    arrays = {"membership": np.zeros((1, 160)), "direction": np.zeros((1, 16))}
    write_suspects(folder, document, arrays, {"suspects/0/inside.png": png(np.full((32, 32, 3), 90, np.uint8))})
    return own


def some_health() -> Health:
    rng = np.random.default_rng(0)
    units = Units(np.zeros(20), np.ones(20), np.full(20, 0.01), 0.5, 1.0, 100, 1.0)
    rows, labels = rng.normal(size=(80, 20)).astype(np.float32), np.arange(80) % 4
    layers = tuple(
        judge(name, "Conv2d", units, rows, labels, totals=(300, 3.0), gradient=10.0**-i)
        for i, name in enumerate(("stem", HOSTILE[0], "head"))
    )
    return Health(HOSTILE[0], "0" * 64, HOSTILE[1], 80, 0.5, layers, tuple(unusual(layers)))


def test_the_report_stands_alone_and_names_stay_text(atlas: Path, tmp_path: Path) -> None:
    own = plant_suspects(atlas, HOSTILE[0])
    judge_suspect(open_atlas(atlas).marks_path, own, {"mark": "cue", "note": HOSTILE[0]})
    health = tmp_path / "health.json"
    health.write_text(json.dumps(some_health().to_dict()))
    page = write_report(atlas, tmp_path / "out" / "report.html", health=health).read_text()
    tags = read(page)
    assert set(tags.names) & {"script", "link", "iframe", "object", "form", "base", "video"} == set()
    assert all(address.startswith(("data:image/", "#")) for address in tags.addresses)
    assert {address[1:] for address in tags.addresses if address.startswith("#")} <= set(tags.ids)
    assert HOSTILE[0] not in page
    assert tags.text.count(HOSTILE[0]) >= 8  # class, suspect's texts, note, mark, layer, network: all there as text
    assert "../../outside.png" not in page
    assert "default-src 'none'" in page


def test_what_is_said_is_what_was_planted(atlas: Path, tmp_path: Path) -> None:
    said = read(write_report(atlas, tmp_path / "a.html").read_text()).text
    low, high = wilson(158, 159)  # one label is wrong on purpose, one is missing
    assert f"Accuracy {158 / 159:.1%} ({low:.1%} to {high:.1%}) on 160 pictures in 8 classes." in said
    assert "1 picture could not be read" in said
    assert "Spurious cues were not looked for." in said
    assert "Layer health was not looked at." in said
    own = plant_suspects(atlas)
    said = read(write_report(atlas, tmp_path / "b.html").read_text()).text
    assert "1 suspect, used by the network and likely spurious (it feeds" in said
    assert "0 judged by a person" in said
    assert "accuracy gap 0.2 (0.1 to 0.3)" in said
    judge_suspect(open_atlas(atlas).marks_path, own, {"mark": "fine", "note": "it is the class itself"})
    said = read(write_report(atlas, tmp_path / "c.html").read_text()).text
    assert "A person says: fine. “it is the class itself”" in said
    assert "1 judged by a person" in said


def test_health_of_another_network_is_marked(atlas: Path, tmp_path: Path) -> None:
    health = tmp_path / "health.json"
    health.write_text(json.dumps(some_health().to_dict()))
    opened = json.loads((atlas / "atlas.json").read_text())
    opened["provenance"]["model"] = {"name": "m", "weights_hash": "1" * 64}
    (atlas / "atlas.json").write_text(json.dumps(opened))
    assert "other weights than the atlas" in write_report(atlas, tmp_path / "a.html", health=health).read_text()
    opened["provenance"]["model"]["weights_hash"] = "0" * 64
    (atlas / "atlas.json").write_text(json.dumps(opened))
    assert "other weights than the atlas" not in write_report(atlas, tmp_path / "a.html", health=health).read_text()


def test_wrong_wishes_are_told_in_one_sentence(atlas: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        write_report(tmp_path / "none.atlas", tmp_path / "a.html")
    with pytest.raises(StoreError, match="is a folder: name the report's file"):
        write_report(atlas, tmp_path)
    with pytest.raises(StoreError, match="not a comparison"):
        write_report(atlas, tmp_path / "a.html", diff=atlas)
    (tmp_path / "h.json").write_text("[]")
    with pytest.raises(DataError, match="no layer health"):
        write_report(atlas, tmp_path / "a.html", health=tmp_path / "h.json")


def test_a_box_is_drawn_where_it_lies(atlas: Path) -> None:
    opened = open_atlas(atlas)  # 64 x 64 pictures on thumbnails of 96 px: 1.5 px each
    changed = (boxed(opened, 5, [0.75, 0.25, 1.0, 0.5]) != opened.thumbnail(5)).any(2)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert (rows.min(), rows.max(), columns.min()) == pytest.approx((24, 48, 72), abs=2)
    np.testing.assert_array_equal(boxed(opened, 5, None), opened.thumbnail(5))


def test_the_map_is_not_mirrored(atlas: Path) -> None:
    opened = open_atlas(atlas)
    level = map_level(opened.layers[0])
    assert level is not None
    drawn = icons_picture(level, side=320)
    tile = 320 // level.side
    for cell in np.flatnonzero(level.has_icon)[:6].tolist():
        column, row = int(level.level.column[cell]), int(level.level.row[cell])
        patch = drawn[(level.side - 1 - row) * tile :, column * tile :][
            tile // 2 - 2 : tile // 2 + 2, tile // 2 - 2 : tile // 2 + 2
        ]
        middle = level.icon(cell)[40:56, 40:56, :3]
        assert np.abs(patch.mean((0, 1)) - middle.mean((0, 1))).max() < 60


def test_the_causal_chart_places_values_on_one_scale() -> None:
    tests = [
        {"name": "blur", "logit": [-4.0, -5.0, -3.0], "control": [0.0, -0.5, 0.5], "control_spread": [-1, 1]},
        {"name": "paste", "logit": [2.0, None, None], "control": None},
    ]
    chart = causal_chart(tests)
    spots = [float(x) for x in re.findall(r'circle class="cue" cx="([\d.]+)"', chart)]
    zero = float(re.search(r'class="zero" x1="([\d.]+)"', chart).group(1))
    assert (zero - spots[0]) / (spots[1] - zero) == pytest.approx(2, rel=0.01)
    assert chart.count('circle class="control"') == 1
    assert "pasted elsewhere" in chart


def test_every_term_that_is_used_is_explained(atlas: Path) -> None:
    terms = Terms()
    plant_suspects(atlas)
    from atlas.storage.suspects import read_suspects

    suspects_section(open_atlas(atlas), read_suspects(atlas), Marks(), terms)
    said = terms.section()
    assert set(terms.used) == {"suspect", "used", "spurious", "suspect_p", "causal", "suspect_figures"}
    assert [key for key in ENTRIES if f'id="how-{key}"' in said] == [key for key in ENTRIES if key in terms.used]
    with pytest.raises(KeyError):
        terms("no such figure")


def test_wilsons_interval_holds_what_it_says() -> None:
    rng = np.random.default_rng(0)
    for share in (0.02, 0.5, 0.93):
        inside = [low <= share <= high for low, high in (wilson(int(k), 200) for k in rng.binomial(200, share, 2000))]
        assert np.mean(inside) == pytest.approx(0.95, abs=0.03)
    assert wilson(0, 0) == (0.0, 1.0)


def test_an_empty_list_of_suspects_is_not_an_unlooked_for_one(atlas: Path) -> None:
    document = {"layer": "layer 0", "made_from": {}, "seed": 0, "tested": False, "notes": [], "suspects": []}
    found = write_suspects(atlas, document, {"membership": np.zeros((0, 160)), "direction": np.zeros((0, 16))}, {})
    said = suspects_section(open_atlas(atlas), found, Marks(), Terms())
    assert "none stood out" in said
    assert "Nothing was tested causally" in said
    assert "None were looked for" in suspects_section(open_atlas(atlas), None, Marks(), Terms())
    assert replace(found, document={**document, "tested": True}).listed == []


def test_the_command(
    atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from atlas.cli import main

    monkeypatch.setattr(sys, "argv", ["atlas", "report", str(atlas), "--out", str(tmp_path / "r.html")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "r.html")
    assert "Model review: planted" in (tmp_path / "r.html").read_text()
    monkeypatch.setattr(sys, "argv", ["atlas", "report", str(tmp_path), "--out", str(tmp_path / "r.html")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_pipeline_adds_architecture_and_health(tmp_path: Path) -> None:
    from atlas.pipeline import build
    from tests.tiny import write_tiny_pipeline

    pipeline = write_tiny_pipeline(tmp_path, images=48)
    build(pipeline, tmp_path / "tiny.atlas", overrides=["model.layers=['3']", "icons.levels=1"])
    one = tmp_path / "one.toml"
    one.write_text(pipeline.read_text().replace('["1", "3"]', '["3"]'))
    said = read(write_report(tmp_path / "tiny.atlas", tmp_path / "r.html", pipeline=one, images=48).read_text()).text
    assert "2,928 parameters" in said  # 12 * 75 + 12, 16 * 108 + 16, 16 * 16 + 16 and no more
    assert "Gradient of the loss" in said
    assert "other weights" not in said
    one.write_text(one.read_text().replace("tinynet:make", "othernet:make"))
    (tmp_path / "othernet.py").write_text((tmp_path / "tinynet.py").read_text().replace("seed(3)", "seed(4)"))
    with pytest.raises(StoreError, match="other weights than"):
        write_report(tmp_path / "tiny.atlas", tmp_path / "r.html", pipeline=one)
