"""Images found by a part of their ids: by the server, by a page of its own, and on the map."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from looking import EXPLORER, FRAME, Settle, Visit

from atlas.explorer import ServerHandle, export, start_server
from atlas.explorer.editions import Editions
from atlas.explorer.handlers import FOUND_TOLD
from atlas.explorer.notebook import notebook_html
from atlas.storage.atlas import Atlas


def find(handle: ServerHandle, atlas: Atlas, words: str, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", handle.port, timeout=20)
    token = Editions(atlas.path).newest()[0]
    connection.request("GET", f"/find/{token}?q={quote(words)}", headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    return answer.status, json.loads(body) if answer.status == 200 else None


def holding(atlas: Atlas, words: str) -> list[list[Any]]:
    return [[i, one] for i, one in enumerate(atlas.images.ids) if words.lower() in one.lower()]


@pytest.mark.parametrize("words", ["1/00", "CLASS 3", "00042.jpg", "jpg", ".*", "nothing like it"])
def test_the_server_finds_every_id_that_holds_the_words(served: ServerHandle, planted: Atlas, words: str) -> None:
    wanted = holding(planted, words)
    assert find(served, planted, words) == (200, {"found": wanted[:FOUND_TOLD], "images": len(wanted)})


@pytest.mark.parametrize("words", ["<SCRIPT>", "../../etc", "Ünïcode 猫", "%s \\n", '"quoted" &', "ÜNÏ"])
def test_odd_ids_are_found_as_they_are(hostile: Atlas, words: str) -> None:
    with start_server(hostile) as handle:
        status, said = find(handle, hostile, words)
    assert status == 200
    assert said["images"] == len(holding(hostile, words)) > 0


@pytest.mark.parametrize("words", ["", "   ", "x" * 501])
def test_no_words_and_too_many_are_refused(served: ServerHandle, planted: Atlas, words: str) -> None:
    assert find(served, planted, words)[0] == 400


def test_strangers_cannot_search(served: ServerHandle, planted: Atlas) -> None:
    assert find(served, planted, "jpg", **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert find(served, planted, "jpg", Origin="http://elsewhere.example")[0] == 403


def choose(page: Any, words: str, wanted: str) -> None:
    page.keyboard.press("i")
    page.keyboard.type(words)
    page.get_by_role("option", name=wanted).click()


@pytest.mark.browser
def test_an_image_is_found_marked_and_fitted(
    visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle
) -> None:
    page = visit(served.url)
    image = 437
    page.keyboard.press("i")
    page.keyboard.type("jpg")
    page.get_by_text("and 550 more: type more of the id").wait_for()
    page.keyboard.press("Escape")
    choose(page, "/00437", planted.images.ids[image])
    page.get_by_text(f"3 places of {planted.images.ids[image]}").wait_for()
    page.locator(".chosen canvas").wait_for()
    settle(page)
    samples = planted.layers[0].samples
    wanted = samples.positions[samples.image == image]
    marked = page.evaluate(f"{EXPLORER}.places")
    np.testing.assert_allclose(sorted(zip(marked["x"], marked["y"], strict=True)), sorted(wanted.tolist()), atol=1e-3)
    frame = page.evaluate(FRAME)
    x, y = (wanted[:, 0] - frame["x"]) * frame["scale"], (frame["y"] - wanted[:, 1]) * frame["scale"]
    assert ((x > 0) & (x < frame["width"]) & (y > 0) & (y < frame["height"])).all()
    assert max(np.ptp(x) / frame["width"], np.ptp(y) / frame["height"]) > 0.3
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert page.evaluate(f"{EXPLORER}.places") is None
    assert page.get_by_label("Find an image by its id").input_value() == ""


@pytest.mark.browser
def test_an_image_without_a_place_says_so(visit: Visit, hostile: Atlas) -> None:
    with start_server(hostile) as handle:
        page = visit(handle.url)
        choose(page, "/00001", hostile.images.ids[1])
        page.get_by_text("is not on this map").wait_for()


@pytest.mark.browser
def test_a_site_searches_in_the_page(visit: Visit, planted: Atlas, tmp_path: Path) -> None:
    page = visit(export(planted, tmp_path / "site").as_uri())
    choose(page, "/00437", planted.images.ids[437])
    page.get_by_text(f"3 places of {planted.images.ids[437]}").wait_for()


@pytest.mark.browser
def test_a_notebook_that_lacks_ids_offers_no_search(visit: Visit, hostile: Atlas, tmp_path: Path) -> None:
    for name, budget, boxes in (("all", 12 * 2**20, 1), ("part", 300_000, 0)):
        output = tmp_path / f"{name}.html"
        output.write_text(
            f"<!doctype html><meta charset=utf-8>{notebook_html(hostile, budget=budget)}", encoding="utf-8"
        )
        page = visit("about:blank", wait=False, names=True)
        page.goto(output.as_uri())
        frame = page.frame_locator("iframe")
        frame.get_by_text("In view").wait_for()
        assert frame.get_by_label("Find an image by its id").count() == boxes, name
