"""The explorer with a network at hand: a picture of one's own on the map, and a cell drawn finely."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from looking import EXPLORER, Settle, Visit

from atlas.datasets import load_manifest
from atlas.errors import AtlasError
from atlas.explorer import Binding, ServerHandle, start_server
from atlas.explorer.editions import Editions
from atlas.pipeline import build
from atlas.storage.atlas import Atlas, open_atlas
from tests.tiny import write_tiny_pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    build(write_tiny_pipeline(folder), folder / "tiny.atlas")
    load_manifest(folder / "pictures.toml").read(5).save(folder / "own.png")
    (folder / "broken.png").write_bytes((folder / "own.png").read_bytes()[:200])
    return folder


@pytest.fixture(scope="module")
def with_network(folder: Path) -> Iterator[ServerHandle]:
    with start_server(folder / "tiny.atlas", pipelines=[folder / "tiny.toml"]) as handle:
        yield handle


def post(served: ServerHandle, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=120)
    connection.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.read()


def path_of(atlas: Path) -> str:
    return f"/network/{Editions(atlas).newest()[0]}"


def test_a_picture_is_placed_and_what_is_none_is_refused(folder: Path, with_network: ServerHandle) -> None:
    path = path_of(folder / "tiny.atlas")
    status, body = post(with_network, f"{path}/0", (folder / "own.png").read_bytes())
    assert status == 200
    found = json.loads(body)
    assert len(found["places"]) == 15 * 15
    assert {"name", "share"} == set(found["classes"][0])
    status, body = post(with_network, f"{path}/0", (folder / "broken.png").read_bytes())
    assert status == 200
    sentence = json.loads(body)["error"]
    assert "\n" not in sentence
    assert str(folder) not in sentence
    assert "error" in json.loads(post(with_network, f"{path}/7", (folder / "own.png").read_bytes())[1])
    assert post(with_network, f"{path}/0/0/99/99")[0] == 404
    assert post(with_network, f"{path}/0", b"", Origin="http://elsewhere.example")[0] == 403
    assert post(with_network, "/network/0123456789abcdef/0", b"")[0] == 404


def test_without_a_network_there_is_nothing_to_ask(served: ServerHandle, planted: Atlas) -> None:
    assert post(served, f"{path_of(planted.path)}/0", b"picture")[0] == 404


def test_strangers_cannot_ask_the_network(folder: Path) -> None:
    binding = Binding("127.0.0.1", "a long enough token")
    with start_server(folder / "tiny.atlas", binding=binding, pipelines=[folder / "tiny.toml"]) as handle:
        assert post(handle, f"{path_of(folder / 'tiny.atlas')}/0", b"picture")[0] == 401


def test_pipelines_and_atlases_come_in_pairs(folder: Path, planted: Atlas) -> None:
    atlases = [folder / "tiny.atlas", planted.path]
    with pytest.raises(AtlasError, match="1 pipelines for 2 atlases"):
        start_server(atlases, pipelines=[folder / "tiny.toml"])
    with pytest.raises(AtlasError, match="is not there"):
        start_server(planted.path, pipelines=[folder / "none.toml"])


@pytest.mark.browser
def test_a_picture_of_ones_own_falls_on_the_map(
    visit: Visit, with_network: ServerHandle, folder: Path, settle: Settle
) -> None:
    page = visit(with_network.url)
    page.locator("input[type=file]").set_input_files(folder / "own.png")
    page.wait_for_selector(".own-picture")
    assert page.evaluate(f"{EXPLORER}.places.x.length") == 15 * 15
    page.hover(".own-picture")
    focus = page.evaluate(f"{EXPLORER}.places.focus")
    place = page.evaluate(f"({EXPLORER}.places)")
    page.mouse.move(5, 5)
    page.locator(".own-picture").focus()
    centre = page.evaluate(f"{EXPLORER}.view.centre")
    for key, by in (("ArrowRight", 1), ("ArrowDown", 1), ("ArrowLeft", -1)):
        before = page.evaluate(f"{EXPLORER}.places.focus")
        page.keyboard.press(key)
        assert page.evaluate(f"{EXPLORER}.places.focus") == before + by
    assert page.evaluate(f"{EXPLORER}.view.centre") == centre  # these arrows do not move the map
    page.hover(".own-picture")
    page.click(".own-picture")
    page.wait_for_selector(".panel .numbers")
    found = page.evaluate(f"{EXPLORER}.state.selected")
    side = open_atlas(folder / "tiny.atlas").layers[0].levels[found["level"]].side
    assert (found["column"], found["row"]) == (int(place["x"][focus] * side), int(place["y"][focus] * side))
    _close_all(page)
    assert page.evaluate(f"{EXPLORER}.places") is None
    assert page.locator(".own-picture").count() == 0


@pytest.mark.browser
def test_a_dropped_file_that_is_no_picture_is_told(visit: Visit, with_network: ServerHandle, folder: Path) -> None:
    page = visit(with_network.url)
    with page.expect_response(lambda answer: "/network/" in answer.url and answer.request.method == "POST") as answer:
        page.evaluate(
            """([data]) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(data)], '<b>x</b>.png', { type: 'image/png' }));
                const target = document.querySelector('.bk-Figure');
                const drop = { dataTransfer: transfer, bubbles: true, cancelable: true };
                target.dispatchEvent(new DragEvent('drop', drop));
            }""",
            [list((folder / "broken.png").read_bytes())],
        )
    assert "error" in answer.value.json()
    page.wait_for_selector(".picture-panel .wrong")
    assert page.locator(".picture-panel b").count() == 0


@pytest.mark.browser
def test_a_cell_is_drawn_finely(visit: Visit, with_network: ServerHandle, folder: Path) -> None:
    page = visit(with_network.url)
    level = open_atlas(folder / "tiny.atlas").layers[0].levels[0]
    cell = int(level.level.images.argmax())
    column, row = int(level.level.column[cell]), int(level.level.row[cell])
    page.evaluate(f"{EXPLORER}.set({{ selected: {{ level: 0, column: {column}, row: {row} }} }})")
    page.get_by_text("Draw it finely").click()
    page.wait_for_selector(".fine img")
    first = page.get_attribute(".fine img", "src")
    page.get_by_text("Show all of it").click()
    assert page.get_attribute(".fine img", "src") != first
    assert (
        page.evaluate("() => document.querySelector('.bk-Figure').shadowRoot.querySelector('.fine img').naturalWidth")
        == 96
    )


def _close_all(page: Any) -> None:
    for _ in range(3):
        page.keyboard.press("Escape")
