"""The notebook's explorer: its page asks the kernel, the kernel knows the selection; in a real JupyterLab."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from looking import EXPLORER

from atlas.errors import AtlasError
from atlas.explorer import notebook
from atlas.explorer.editions import Editions
from atlas.explorer.notebook import NotebookExplorer, selected_samples
from atlas.explorer.relay import Relay
from atlas.explorer.server import free_port
from atlas.explorer.shards import Shards
from atlas.storage.atlas import Atlas

STARTS_IN_S = 60
CELLS = (
    "import atlas\nexplorer = atlas.explore({path!r})\nexplorer",
    "import json\nprint('ROWS', json.dumps(explorer.selection()['row'].to_pylist()))",
)


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


@pytest.fixture(scope="module")
def lab(planted: Atlas, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A JupyterLab with one notebook; its address."""
    if importlib.util.find_spec("jupyterlab") is None:
        pytest.skip("jupyterlab is not installed")
    folder = tmp_path_factory.mktemp("lab")
    cells = [nbformat.v4.new_code_cell(source.format(path=str(planted.path))) for source in CELLS]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "map.ipynb")
    port = free_port()
    options = ["--IdentityProvider.token=", "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0"]
    places = {f"JUPYTER_{name}_DIR": str(folder / name) for name in ("CONFIG", "RUNTIME")}
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", *options, f"--ServerApp.port={port}",
         f"--ServerApp.root_dir={folder}"],
        env={**os.environ, **places}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(STARTS_IN_S * 2):
            try:
                urllib.request.urlopen(f"{address}/api").close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"{address}/lab/tree/map.ipynb"
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.browser
@pytest.mark.slow
def test_the_map_works_in_jupyterlab_and_the_kernel_knows_the_selection(
    chromium: Any, lab: str, planted: Atlas
) -> None:
    page = chromium.new_page(viewport={"width": 1400, "height": 1000})
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: troubles.append(request.url) if not _own(request.url) else None)
    page.goto(lab)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=90_000)  # a cell run before is passed over
    page.locator(".jp-CodeCell").first.click()
    page.keyboard.press("Shift+Enter")
    frame = page.frame_locator(f"iframe[title='{planted.name}']")
    frame.get_by_text("600 images").first.wait_for(timeout=90_000)
    inside = next(one for one in page.frames if one.parent_frame is not None)
    inside.wait_for_function(f"() => {EXPLORER}.shards.loading === false && {EXPLORER}.level !== null")
    box = page.locator(f"iframe[title='{planted.name}']").bounding_box()
    page.mouse.move(box["x"] + 250, box["y"] + 300)
    page.mouse.click(box["x"] + 60, box["y"] + 330)  # beside the map: the keys are the frame's now
    page.keyboard.press("b")
    page.mouse.move(box["x"] + 150, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 350, box["y"] + 400, steps=5)
    page.mouse.up()
    frame.get_by_role("heading", name=re.compile("samples$")).wait_for()
    chosen = inside.evaluate(f"() => Array.from({EXPLORER}.selectedSamples.row)")
    assert len(chosen) > 10
    page.locator(".jp-CodeCell").nth(1).click()
    page.keyboard.press("Shift+Enter")
    page.get_by_text("ROWS [").wait_for()
    said = page.get_by_text("ROWS [").last.inner_text()
    assert sorted(json.loads(said.removeprefix("ROWS "))) == sorted(chosen)
    page.close()
    assert troubles == []


def _own(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "about:"))
