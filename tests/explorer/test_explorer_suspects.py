"""Suspects in a real browser: the list, the outlines, the panel, the marks, the table that cleans a dataset."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from looking import EXPLORER, Settle, Visit, data, link_of, pixels, place, settle_soon
from PIL import Image
from suspicions import HOSTILE_TEXT, MEMBERS

from atlas.explorer import ServerHandle, export, start_server
from atlas.explorer.points import live_points
from atlas.explorer.shards import Shards
from atlas.storage.atlas import Atlas
from atlas.storage.suspects import read_suspects

pytestmark = pytest.mark.browser

STATE = f"""() => {{
    const {{ suspect, outlines, layer, selected }} = {EXPLORER}.state;
    return {{ suspect, outlines, layer, selected }};
}}"""
EDGES = f"{EXPLORER}.suspectMap.shown({EXPLORER}.panes[0]).map(({{ index, edges }}) => [index, edges])"
POOR = [0xB3, 0x40, 0x2A]


@pytest.fixture(scope="module")
def home(suspected: Atlas) -> Any:
    """The atlas with suspects, served; what was said of them is forgotten at the end."""
    with start_server(suspected) as handle:
        yield handle
    suspected.marks_path.unlink(missing_ok=True)


def ids_of(atlas: Atlas) -> list[str]:
    found = read_suspects(atlas)
    assert found is not None
    return [suspect["id"] for suspect in found.listed]


@pytest.mark.parametrize("where", ["server", "site"])
def test_a_suspect_is_listed_opened_and_shared(
    visit: Visit, suspected: Atlas, home: ServerHandle, tmp_path: Path, settle: Settle, where: str
) -> None:
    url = home.url if where == "server" else export(suspected, tmp_path / "site").as_uri()
    page = visit(url)
    rows = page.locator(".suspect")
    assert rows.count() == 2
    assert rows.first.locator(".said").inner_text() == HOSTILE_TEXT  # as text, not as HTML
    assert "used: yes · spurious: likely · 40 images" in rows.first.inner_text()
    assert "A <i>note</i>." in page.locator(".suspects").inner_text()
    rows.first.click()
    settle_soon(page, settle)
    assert page.evaluate(STATE) == {"suspect": 0, "outlines": True, "layer": 1, "selected": None}
    panel = page.locator(".suspect-panel")
    assert panel.locator(".verdict").all_inner_texts() == ["used: yes", "spurious: likely"]
    panel.locator(".thumb canvas[data-drawn]").nth(15).wait_for()
    assert panel.locator(".against h4").all_inner_texts()[0] == "8 of its 40"
    view = Shards(suspected).value("outlined", 1)["suspects"][0]["view"]
    for x, y in (view[:2], view[2:]):
        assert page.evaluate(f"{EXPLORER}.view.isInSight({x}, {y})")
    again = visit(link_of(page))
    again.locator(".suspect-panel .verdict").first.wait_for()
    settle_soon(again, settle)
    assert f"suspect={ids_of(suspected)[0]}" in again.url
    assert again.evaluate(STATE) == page.evaluate(STATE)
    again.keyboard.press("Escape")
    again.locator(".suspect").first.wait_for()
    assert visit(f"{url}#suspect=0123456789ab&layer=1").evaluate(STATE)["suspect"] is None


def test_its_images_alone_are_shown(visit: Visit, suspected: Atlas, home: ServerHandle, settle: Settle) -> None:
    page = visit(f"{home.url}#layer=1")
    page.keyboard.press("j")
    page.get_by_role("button", name="Only its images").click()
    settle_soon(page, settle)
    samples = suspected.layers[1].samples
    left = int(np.isin(samples.image[live_points(samples.positions, samples.state)], MEMBERS).sum())
    assert page.locator(".status").inner_text().startswith(f"{left} of 398 samples: suspect: 1 ")
    again = visit(link_of(page))
    again.locator("button[aria-pressed=true]", has_text="Only its images").wait_for()
    again.get_by_role("button", name="Only its images").click()
    settle_soon(again, settle)
    assert again.locator(".status").inner_text().startswith("200 images")


def test_the_cue_is_framed_in_its_pictures(visit: Visit, home: ServerHandle, settle: Settle) -> None:
    page = visit(home.url)
    page.keyboard.press("j")
    page.locator(".against .thumb canvas[data-drawn]").nth(15).wait_for()
    for side in (0, 1):
        canvases = page.locator(f".against > div:nth-child({side + 1}) canvas")
        for i, uri in enumerate(canvases.evaluate_all("all => all.map((canvas) => canvas.toDataURL())")):
            shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(
                int
            )
            size = len(shown)
            is_mark = np.abs(shown - [0xD6, 0x26, 0x6A]).max(axis=-1) < 60
            framed = is_mark[round(0.62 * size), round(0.75 * size) + 2]
            assert framed == (side == 0 and i != 1), (side, i)  # the second picture's box is unknown
            assert not is_mark[round(0.62 * size), : round(0.7 * size)].any()


def test_outlines_go_around_the_cells_at_every_level(
    visit: Visit, suspected: Atlas, home: ServerHandle, settle: Settle
) -> None:
    page = visit(f"{home.url}#layer=1&names=off")
    told = Shards(suspected).value("outlined", 1)["suspects"]
    for level in suspected.layers[1].levels:
        page.evaluate(f"{EXPLORER}.set({{ locked: {level.number} }})")
        page.evaluate(f"{EXPLORER}.view.show({{ x: 0.5, y: 0.5, scale: {level.side * 60} }})")
        settle_soon(page, settle)
        assert data(page, "level") == str(level.number)
        for index, edges in page.evaluate(EDGES):
            squares = np.array(told[index]["squares"][str(level.number)]).reshape(-1, 2)
            inside = np.zeros((level.side + 2, level.side + 2), bool)
            inside[squares[:, 0] + 1, squares[:, 1] + 1] = True
            # By the definition: between a cell that is in and a neighbour that is not.
            assert len(edges) == (inside[1:] != inside[:-1]).sum() + (inside[:, 1:] != inside[:, :-1]).sum()
    corner = """([squares, side]) => document.querySelector('.bk-Figure').atlasExplorer.suspectMap
        ._shapeOf(squares, side).corner"""
    # The first hangs together with the one above its left neighbour, not with the one at the top.
    assert page.evaluate(corner, [[3, 1, 2, 1, 2, 2, 3, 2, 0, 3], 4]) == [2 / 4, 3 / 4]
    page.evaluate(f"{EXPLORER}.set({{ locked: 0 }})")
    page.keyboard.press("0")
    settle_soon(page, settle)
    picture = pixels(page)
    drawn = dict(page.evaluate(EDGES))[0]
    seen = [picture[round(y), round(x)] for x, y in (place(page, (a + c) / 2, (b + d) / 2) for a, b, c, d in drawn)]
    assert np.mean([np.abs(pixel - POOR).max() < 60 for pixel in seen]) > 0.8
    page.keyboard.press("o")
    settle_soon(page, settle)
    assert page.evaluate(EDGES) == []
    assert "suspects=off" in page.url


def test_a_number_on_the_map_opens_its_suspect(visit: Visit, home: ServerHandle, settle: Settle) -> None:
    page = visit(f"{home.url}#layer=1")
    badge = page.evaluate(f"{EXPLORER}.panes[0].badges.find(({{ index }}) => index === 1)")
    frame = page.evaluate(f"{EXPLORER}.view.frame")
    page.mouse.move(frame["left"] + badge["px"], frame["top"] + badge["py"])
    page.locator(".card").get_by_text("used: untested").wait_for()
    page.mouse.click(frame["left"] + badge["px"], frame["top"] + badge["py"])
    settle_soon(page, settle)
    assert page.evaluate(STATE)["suspect"] == 1
    assert "There was no network." in page.locator(".suspect-panel").inner_text()
    assert page.locator(".causal").count() == 0
    page.get_by_text("the cue all over them").wait_for()


def test_the_causal_test_is_drawn_to_scale(visit: Visit, home: ServerHandle) -> None:
    page = visit(home.url)
    page.keyboard.press("j")
    chart = page.locator(".causal svg").first
    chart.wait_for()
    dots = chart.locator("circle.own").evaluate_all("all => all.map((dot) => Number(dot.getAttribute('cx')))")
    controls = chart.locator("circle.control").evaluate_all("all => all.map((dot) => Number(dot.getAttribute('cx')))")
    zero = float(chart.locator(".zero").get_attribute("x1") or 0)
    unit = (dots[2] - zero) / 3
    assert dots == pytest.approx([zero - 2.5 * unit, zero - 2 * unit, zero + 3 * unit])
    assert controls == pytest.approx([zero - 0.1 * unit] * 3)
    ends = chart.locator("line.own").evaluate_all("all => all.map((l) => l.getAttribute('x2') - l.getAttribute('x1'))")
    assert ends == pytest.approx([0.8 * unit] * 3)
    assert "cue pasted on others: +3.0 (+2.6 to +3.4), controls" in (chart.get_attribute("aria-label") or "")


def test_marks_are_kept_beside_the_atlas_and_leave_as_csv(
    visit: Visit, suspected: Atlas, home: ServerHandle, settle: Settle
) -> None:
    page = visit(home.url)
    first, second = ids_of(suspected)
    page.keyboard.press("j")
    page.keyboard.press("1")
    page.locator(".judge button[data-value=cue][aria-pressed=true]").wait_for()
    page.get_by_label("A note on the suspect").fill("<b>seen</b>, by hand")
    page.get_by_label("A note on the suspect").press("Tab")
    page.wait_for_function(f"{EXPLORER}.suspectMarks.said['{first}']?.note !== ''")
    page.keyboard.press("j")
    page.keyboard.press("3")
    page.locator(".judge button[data-value=unsure][aria-pressed=true]").wait_for()
    kept = json.loads(suspected.marks_path.read_text("utf-8"))["suspects"]
    assert kept == {first: {"mark": "cue", "note": "<b>seen</b>, by hand"}, second: {"mark": "unsure", "note": ""}}
    page.keyboard.press("3")
    page.locator(".judge button[data-value=unsure][aria-pressed=false]").wait_for()
    again = visit(home.url)
    again.locator(".suspects .mark", has_text="Cue").wait_for()
    with again.expect_download() as download:
        again.get_by_text("Marks and members as CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_bytes().decode("utf-8"), newline="")))
    found = read_suspects(suspected)
    assert found is not None
    wanted = [
        (image_id, suspect["id"], mark)
        for suspect, mark in zip(found.listed, ("cue", ""), strict=True)
        for image_id in suspect["image_ids"]
    ]
    assert [(row["id"], row["suspect"], row["mark"]) for row in rows] == wanted
    membership = found.array("membership")[0][MEMBERS]
    np.testing.assert_allclose([float(row["membership"]) for row in rows[: len(MEMBERS)]], membership, atol=1e-3)


def test_what_is_said_last_is_sent_last(visit: Visit, home: ServerHandle) -> None:
    """A note that is left for a mark's button says "unsure": it must not come in after the mark."""
    page = visit(home.url)
    page.keyboard.press("j")
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/marks/*/suspects", hold)
    page.get_by_label("A note on the suspect").fill("another note")
    page.locator(".judge button[data-value=fine]").click()
    page.wait_for_timeout(300)
    assert len(held) == 1
    held[0].continue_()
    while len(held) < 2:
        page.wait_for_timeout(50)
    assert held[1].request.post_data_json["mark"] == "fine"
    held[1].continue_()
    page.locator(".judge button[data-value=fine][aria-pressed=true]").wait_for()


def test_a_sites_marks_stay_in_the_browser(visit: Visit, suspected: Atlas, tmp_path: Path, settle: Settle) -> None:
    page = visit(export(suspected, tmp_path / "site", pictures=False).as_uri())
    page.keyboard.press("j")
    page.get_by_text("without the dataset's pictures").wait_for()
    page.locator(".seen img").nth(1).wait_for()
    assert page.locator(".seen img").count() == 2  # icons; the cue is cut out of pictures
    page.keyboard.press("2")
    page.get_by_text("Kept in this browser alone").wait_for()
    page.keyboard.press("Escape")
    settle_soon(page, settle)
    page.reload()
    settle(page)
    page.locator(".suspects .mark", has_text="Fine").wait_for()
    page.evaluate("localStorage.setItem(Object.keys(localStorage).find((k) => k.includes('suspects')), '{\"a\": 3}')")
    page.reload()
    settle(page)
    assert page.locator(".suspects .mark:not(:empty)").count() == 0


def test_an_atlas_without_suspects_has_no_keys_for_them(visit: Visit, served: ServerHandle) -> None:
    page = visit(served.url)
    for key in "jko1":
        page.keyboard.press(key)
    assert page.evaluate(STATE)["suspect"] is None
    assert page.locator(".suspects").count() == 0
    assert "outlines of suspects" not in page.locator(".help").inner_html()
