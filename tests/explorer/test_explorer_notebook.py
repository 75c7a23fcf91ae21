"""The notebook's explorer: its page asks the kernel, the kernel knows the selection; in a real JupyterLab."""

from __future__ import annotations

import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab import Notebook, jupyterlab, selected
from looking import EXPLORER
from suspicions import MEMBERS

from atlas.errors import AtlasError
from atlas.explorer import notebook
from atlas.explorer.editions import Editions
from atlas.explorer.marks import read_marks
from atlas.explorer.notebook import NotebookExplorer, selected_samples
from atlas.explorer.relay import Relay
from atlas.explorer.shards import Shards
from atlas.pipeline import build
from atlas.storage.atlas import Atlas
from atlas.storage.atlas_header import MARKS
from tests.tiny import write_tiny_pipeline


@pytest.fixture
def relay(planted: Atlas) -> Iterator[Relay]:
    made = Relay(planted.path)
    yield made
    made.close()


def test_the_kernel_answers_as_the_server_does(relay: Relay, planted: Atlas) -> None:
    token = Editions(planted.path).newest()[0]
    reply = relay.ask("GET", f"data/{token}/places/0/0.json")
    assert reply.status == 200
    assert json.loads(reply.body) == json.loads(json.dumps(Shards(planted).value("places", 0, 0)))
    found = json.loads(relay.ask("GET", f"find/{token}?q=1").body)
    assert found["images"] == sum("1" in planted.images.ids[i] for i in range(len(planted.images)))


def test_a_region_kept_in_a_notebook_lies_beside_the_atlas(relay: Relay, planted: Atlas) -> None:
    token = Editions(planted.path).newest()[0]
    region = {"name": "one", "note": "", "layer": planted.layers[0].name, "outlines": [[[0, 0], [1, 0], [1, 1]]]}
    body = json.dumps({**region, "address": ""}).encode()
    kept = relay.ask("POST", f"marks/{token}", type="application/json", body=body)
    assert kept.status == 200, kept.body
    (mark,) = json.loads(kept.body)["regions"]
    gone = json.dumps({"id": mark["id"]}).encode()
    assert json.loads(relay.ask("DELETE", f"marks/{token}", type="application/json", body=gone).body)["regions"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "login"),
        ("GET", "data/../login"),
        ("GET", "view/0123456789abcdef/../login?x"),
        ("GET", "data/0123456789abcdef/../../login"),
        ("GET", "http://127.0.0.1/"),
        ("GET", "data/0123456789abcdef/x\r\nHost: elsewhere"),
        ("PUT", "marks/0123456789abcdef"),
    ],
)
def test_a_page_can_ask_for_nothing_else(relay: Relay, method: str, path: str) -> None:
    assert relay.ask(method, path).status == 404
    assert relay._server is None  # nothing was started for it


def test_the_kernels_server_lets_nobody_else_in(relay: Relay, planted: Atlas) -> None:
    token = Editions(planted.path).newest()[0]
    assert relay.ask("GET", f"data/{token}/places/0/0.json").status == 200
    assert relay._server is not None
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://127.0.0.1:{relay._server.port}/data/{token}/places/0/0.json")


def test_a_closed_explorer_answers_no_more(relay: Relay, planted: Atlas) -> None:
    token = Editions(planted.path).newest()[0]
    assert relay.ask("GET", f"data/{token}/places/0/0.json").status == 200
    relay.close()
    reply = relay.ask("GET", f"data/{token}/places/0/0.json")
    assert reply.status == 503
    assert "was closed" in reply.body.decode()


def test_an_atlas_that_is_gone_is_said_in_the_output(tmp_path: Path) -> None:
    widget = pytest.importorskip("atlas.explorer.widget", reason="anywidget is not installed")

    def gone() -> str:
        raise AtlasError("<moved> is not there")

    said: list[tuple[dict[str, Any], list[bytes]]] = []
    shown = widget.MapWidget("moved", 100, gone, Relay(tmp_path / "moved.atlas"))
    shown.send = lambda words, buffers: said.append((words, buffers))
    shown._answer({"kind": "page", "own": "1"}, None)
    ((words, buffers),) = said
    assert words == {"kind": "page", "own": "1"}
    assert b"&lt;moved&gt; is not there" in buffers[0]


def test_what_the_atlas_lacks_is_a_sentence_for_the_page(tmp_path: Path) -> None:
    reply = Relay(tmp_path / "none.atlas").ask("GET", "data/0123456789abcdef/cells/0/0.json")
    assert reply.status == 503
    assert "none.atlas" in reply.body.decode()


def test_selected_rows_come_as_they_were_said(planted: Atlas) -> None:
    rows = np.array([3, 700, 12], np.uint32)
    table = selected_samples(planted, {"layer": 1, "level": 2, "rows": rows.tobytes()})
    assert table["row"].to_pylist() == rows.tolist()
    assert set(table["layer"].to_pylist()) == {planted.layers[1].name}
    image = planted.layers[1].samples.image[rows]
    assert table["id"].to_pylist() == [planted.images.ids[int(i)] for i in image]


def test_an_open_cell_selects_its_samples(planted: Atlas) -> None:
    layer = planted.layers[0]
    level = layer.levels[1].level
    for cell in range(len(level)):
        where = {"layer": 0, "level": 1, "column": int(level.column[cell]), "row": int(level.row[cell])}
        table = selected_samples(planted, where)
        assert table.num_rows == level.samples[cell]
        assert set(table["cell"].to_pylist()) == {f"1/{where['column']}/{where['row']}"}


def test_nothing_selected_is_an_empty_table(planted: Atlas) -> None:
    table = selected_samples(planted, None)
    assert table.num_rows == 0
    assert table.column_names == ["x", "y", "id", "label", "prediction", "cell", "layer", "row"]


def test_without_anywidget_the_page_stands_alone_and_says_what_is_missing(
    planted: Atlas, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(notebook.importlib.util, "find_spec", lambda name: None)
    explorer = NotebookExplorer(planted)
    assert "<iframe" in explorer._repr_mimebundle_()["text/html"]
    with pytest.raises(AtlasError, match="pip install"):
        explorer.selection()
    pipeline = tmp_path / "p.toml"
    pipeline.touch()
    with pytest.raises(AtlasError, match="pip install"):
        NotebookExplorer(planted, pipeline=pipeline)


def test_a_missing_pipeline_is_said_at_once(planted: Atlas, tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match=re.escape("none.toml is not there")):
        NotebookExplorer(planted, pipeline=tmp_path / "none.toml")


@pytest.mark.browser
@pytest.mark.slow
def test_the_map_works_in_jupyterlab_and_the_kernel_knows_the_selection(
    chromium: Any, planted: Atlas, tmp_path: Path
) -> None:
    shown = f"import atlas\nexplorer = atlas.explore({str(planted.path)!r})\nexplorer"
    with jupyterlab(tmp_path, (shown, selected("row"))) as address:
        notebook = Notebook(chromium, address)
        notebook.open_map(planted.name)
        chosen = notebook.drag_box((150, 200), (350, 400))
        assert notebook.frame.get_by_role("heading", name=re.compile("samples$")).count() == 1
        assert len(chosen) > 10
        assert sorted(json.loads(notebook.printed(1, "SELECTED"))) == sorted(chosen)
        notebook.page.close()
    assert notebook.troubles == []


@pytest.mark.browser
@pytest.mark.slow
def test_suspects_are_listed_opened_marked_and_selected_in_jupyterlab(
    chromium: Any, suspected: Atlas, tmp_path: Path
) -> None:
    folder = tmp_path / "marked.atlas"
    shutil.copytree(suspected.path, folder)  # it keeps what is said of it
    shown = f"import atlas\nexplorer = atlas.explore({str(folder)!r})\nexplorer"
    with jupyterlab(tmp_path, (shown, selected("id"))) as address:
        notebook = Notebook(chromium, address)
        notebook.open_map(suspected.name)
        frame = notebook.frame
        listed = frame.locator(".suspects .suspect")
        assert listed.count() == 2
        listed.first.click()
        frame.get_by_text("Does the network use it?").wait_for()
        assert notebook.inside.evaluate(f"() => {EXPLORER}.state.layer") == 1  # the layer that it was found on
        frame.locator(".judge textarea").fill("the sticker again")
        frame.get_by_role("button", name="Cue", exact=True).click()
        frame.locator(".judge button[data-value='cue'][aria-pressed='true']").wait_for()
        marks = read_marks(folder / MARKS).suspects
        assert [(one["mark"], one["note"]) for one in marks.values()] == [("cue", "the sticker again")]
        frame.get_by_role("button", name="Only its images").click()
        notebook.inside.wait_for_function(f"() => !{EXPLORER}.shards.loading")
        chosen = notebook.drag_box((120, 180), (620, 600))
        members = {suspected.images.ids[image] for image in MEMBERS}
        assert len(chosen) > 10
        assert set(json.loads(notebook.printed(1, "SELECTED"))) <= members
        notebook.page.close()
    assert notebook.troubles == []


@pytest.mark.browser
@pytest.mark.slow
def test_a_picture_is_looked_into_within_jupyterlab(chromium: Any, tmp_path: Path) -> None:
    built = build(write_tiny_pipeline(tmp_path, images=48), tmp_path / "tiny.atlas")
    shown = "import atlas\nexplorer = atlas.explore('tiny.atlas', pipelines=['tiny.toml'])\nexplorer"
    with jupyterlab(tmp_path, (shown,)) as address:
        notebook = Notebook(chromium, address)
        notebook.open_map(built.name)
        frame = notebook.frame
        notebook.page.keyboard.press("i")
        notebook.page.keyboard.type(built.images.ids[5])
        frame.locator(".matches button").first.click()
        frame.locator(".note").get_by_role("button", name="Look inside").click()
        frame.locator(".note").get_by_role("button", name="Open its page").click(timeout=240_000)
        page = frame.frame_locator(".reader iframe")
        page.get_by_role("heading", name="On the map of 1").wait_for()
        assert page.get_by_text(built.images.ids[5]).count() > 0
        notebook.page.keyboard.press("Escape")
        assert frame.locator(".reader").is_hidden()
        notebook.page.close()
    assert notebook.troubles == []
