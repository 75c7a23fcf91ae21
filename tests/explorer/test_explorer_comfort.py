"""Comforts: samples beneath the icons, a corner left free, names off numbers, regions found, keys for both maps."""

from __future__ import annotations

import io
import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from looking import EXPLORER, FRAME, Settle, Visit, pixels, place, set_view, settle_soon
from PIL import Image

from atlas.explorer import ServerHandle, start_server
from atlas.explorer.header import page_header
from atlas.explorer.shards import Shards
from atlas.storage.atlas import Atlas

pytestmark = pytest.mark.browser


def test_samples_lie_beneath_the_icons(visit: Visit, served: ServerHandle, tmp_path: Path, settle: Settle) -> None:
    pictures = {}
    for samples in ("off", "over", "under"):
        page = visit(f"{served.url}#samples={samples}&names=off&colour=plain")
        set_view(page, 0.8, 0.5, 1500, settle)
        settle_soon(page, settle)
        pictures[samples] = pixels(page)
    boxes = page.evaluate(f"{EXPLORER}.panes[0].covered")
    frame = page.evaluate(FRAME)
    assert len(boxes) > 10
    covered = np.zeros(pictures["off"].shape[:2], bool)
    for x, y, wide, high in boxes:
        top, left = frame["top"] + y, frame["left"] + x
        rows, columns = ((max(0, round(a) + 3), max(0, round(a + b) - 3)) for a, b in ((top, high), (left, wide)))
        covered[slice(*rows), slice(*columns)] = True
    edge = np.zeros_like(covered)
    bottom, right = round(frame["top"] + frame["height"]) - 130, round(frame["width"]) - 60
    edge[round(frame["top"]) + 60 : bottom, 200:right] = True
    differs = {name: np.abs(pictures[name] - pictures["off"]).max(axis=-1) > 40 for name in ("over", "under")}
    assert differs["over"][covered & edge].mean() > 0.01
    assert not differs["under"][covered & edge].any()
    assert differs["under"][~covered & edge].sum() > 0.3 * differs["over"][~covered & edge].sum() > 50
    with page.expect_download() as download:
        page.locator(".save summary").click()
        page.get_by_role("button", name="SVG").click()
    root = ET.parse(download.value.path()).getroot()
    dots = [path.get("d") or "" for path in root.iter("{http://www.w3.org/2000/svg}path")]
    places = [tuple(map(float, dot.split("h")[0].split())) for d in dots for dot in d.split("M")[1:]]
    assert places
    inside = [any(x < px < x + w and y < py < y + h for x, y, w, h in boxes) for px, py in places]
    assert not any(inside)


def test_a_filled_corner_is_left_to_the_tools(visit: Visit, planted: Atlas, settle: Settle) -> None:
    told = page_header(Shards(planted), "site", "site")["layers"][0]
    assert not told["corner"]  # a ring of clouds
    with start_server(planted) as handle:
        page = visit(f"{handle.url}#names=off")
        tools = [page.locator(one).first.bounding_box() for one in (".overlay .corner > .level-line", ".tools")]
        left, _, _, top = told["bounds"]
        for corner in (False, True):
            page.evaluate(
                f"{EXPLORER}.view.corner = {json.dumps(corner)}; {EXPLORER}.view.show({EXPLORER}.view.homeView)"
            )
            settle_soon(page, settle)
            x, y = place(page, left, top)
            over = any(box["x"] + box["width"] > x and box["y"] + box["height"] > y for box in tools)
            assert over != corner


def test_a_square_map_fills_its_corner(planted: Atlas) -> None:
    shards = Shards(planted)
    deepest = planted.layers[0].levels[-1]
    bounds = page_header(shards, "site", "site")["layers"][0]["bounds"]
    cells = shards.cells(0, deepest.number)
    kept = cells["column"].copy(), cells["row"].copy()
    try:
        cells["column"][0] = int(bounds[0] * deepest.side)
        cells["row"][0] = int(bounds[3] * deepest.side) - 1
        fresh = page_header.__globals__["_layer"](shards, planted.layers[0])
        assert fresh["corner"]
    finally:
        cells["column"][:], cells["row"][:] = kept


def test_names_keep_off_the_suspects_numbers(visit: Visit, suspected: Atlas, settle: Settle) -> None:
    with start_server(suspected) as handle:
        page = visit(f"{handle.url}#layer=1", names=True)
        settle_soon(page, settle)
        names, badges = page.evaluate(f"[{EXPLORER}.panes[0].names, {EXPLORER}.panes[0].badges]")
        assert names
        assert len(badges) == 2
        on = f"""(() => {{ const pane = {EXPLORER}.panes[0]; pane.badges = [{{ ...pane.names[0], radius: 9 }}];
            return [pane.names[0].text, pane.namesNow().map(({{ text }}) => text)]; }})()"""
        text, left = page.evaluate(on)
        assert text not in left


def test_names_keep_off_what_stands_over_the_map(visit: Visit, served: ServerHandle, settle: Settle) -> None:
    page = visit(f"{served.url}#beside=1", names=True)
    boxes = f"""() => {EXPLORER}.panes.map((pane) => {{
        const root = {EXPLORER}.plot.el, outer = root.getBoundingClientRect(), {{ left, top }} = pane.view.frame;
        const over = root.shadowRoot.querySelectorAll(".level-line, .tools, .zoom, .minimap");
        const seen = [...over].map((one) => one.getBoundingClientRect()).filter((box) => box.width > 0);
        const inFrame = (box) => [box.left - outer.left - left, box.top - outer.top - top, box.width, box.height];
        return {{ names: pane.names, boxes: seen.map(inFrame) }};
    }})"""
    found = 0
    for x, y, scale in ((0.5, 0.5, 700), (0.62, 0.3, 1000), (0.35, 0.75, 1000), (0.5, 0.2, 1400), (0.8, 0.4, 1400)):
        page.evaluate(f"{EXPLORER}.panes.forEach((pane) => pane.view.show({{ x: {x}, y: {y}, scale: {scale} }}))")
        page.wait_for_timeout(500)
        settle_soon(page, settle)
        for told in page.evaluate(boxes):
            found += len(told["names"])
            for name in told["names"]:
                for left, top, width, height in told["boxes"]:
                    apart = max(
                        abs(name["px"] - left - width / 2) - (name["width"] + width) / 2,
                        abs(name["py"] - top - height / 2) - (name["height"] + height) / 2,
                    )
                    assert apart >= -1, (name, left, top)
    assert found > 10


def test_many_regions_are_searched(visit: Visit, planted: Atlas, tmp_path: Path) -> None:
    shutil.copytree(planted.path, tmp_path / "own.atlas")
    region = {"note": "", "layer": "layer1", "address": "layer=1", "outlines": [[[0, 0], [1, 0], [1, 1]]]}
    names = [f"region {i}" for i in range(9)]
    kept = [{**region, "name": name, "id": str(i), "note": "odd" if i == 4 else ""} for i, name in enumerate(names)]
    (tmp_path / "own.atlas" / "marks.json").write_text(json.dumps({"schema": 1, "regions": kept}))
    with start_server(tmp_path / "own.atlas") as handle:
        page = visit(handle.url)
        rows = page.locator(".regions .region")
        rows.nth(8).wait_for()
        page.get_by_label("Find a region").fill("ODD")
        assert rows.all_inner_texts()[0].split("\n")[0] == "region 4"
        assert rows.count() == 1
        page.get_by_label("Find a region").fill("none of them")
        page.get_by_text("No region has this").wait_for()


def test_keys_move_either_map(visit: Visit, served: ServerHandle, settle: Settle) -> None:
    page = visit(f"{served.url}#beside=1&names=off")
    scales = f"{EXPLORER}.panes.map(({{ view }}) => view.scale)"
    before = page.evaluate(scales)
    page.keyboard.press("m")
    page.get_by_text("Keys move the second map: layer2.").wait_for()
    page.keyboard.press("+")
    settle_soon(page, settle)
    after = page.evaluate(scales)
    assert after == pytest.approx([before[0], 1.6 * before[1]])
    page.keyboard.press("m")
    page.keyboard.press("+")
    settle_soon(page, settle)
    assert page.evaluate(scales) == pytest.approx([1.6 * before[0], 1.6 * before[1]])


def test_suspects_are_in_a_saved_picture(visit: Visit, suspected: Atlas, settle: Settle) -> None:
    with start_server(suspected) as handle:
        page = visit(f"{handle.url}#layer=1&names=off")
        settle_soon(page, settle)
        saved = {}
        for kind in ("PNG for print", "SVG"):
            page.locator(".save summary").click()
            with page.expect_download() as download:
                page.get_by_role("button", name=kind).click()
            saved[kind] = Path(download.value.path()).read_bytes()
        picture = np.asarray(Image.open(io.BytesIO(saved["PNG for print"])).convert("RGB")).astype(int)
        assert (np.abs(picture - [0xB3, 0x40, 0x2A]).max(axis=-1) < 20).sum() > 1000
        texts = [one.text for one in ET.fromstring(saved["SVG"]).iter("{http://www.w3.org/2000/svg}text")]
        assert sorted(texts) == ["1", "2"]
