"""Work with the explorer in a real browser: links, filters, colours, selections, regions, walks, pictures."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from looking import (
    EXPLORER,
    FRAME,
    Settle,
    Visit,
    centre,
    data,
    drawn_box,
    largest_cell,
    link_of,
    pixels,
    place,
    set_view,
    settle_soon,
    shown_level,
)
from PIL import Image

from atlas.explorer import ServerHandle, export, start_server
from atlas.explorer.points import live_points
from atlas.explorer.shards import Shards
from atlas.storage.atlas import Atlas

pytestmark = pytest.mark.browser

STATE = f"() => {{ const {{ first, ...rest }} = {EXPLORER}.state; return rest; }}"
BOX = [(0.70, 0.35), (0.95, 0.65)]


def drag(page: Any, path: list[tuple[float, float]]) -> None:
    corners = [place(page, *at) for at in path]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=5)
    page.mouse.up()


def rows_in_box(atlas: Atlas, page: Any) -> np.ndarray:
    """Sample rows inside the box that was drawn around BOX, by the definition."""
    left, bottom, right, top = drawn_box(page, BOX)
    samples = atlas.layers[0].samples
    rows = live_points(samples.positions, samples.state)
    x, y = samples.positions[rows].T
    return rows[(x > left) & (x < right) & (y > bottom) & (y < top)]


def select_box(page: Any, settle: Settle) -> None:
    page.keyboard.press("b")
    drag(page, BOX)
    settle_soon(page, settle)


def test_a_link_opened_anew_shows_the_same(visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle) -> None:
    page = visit(served.url)
    page.get_by_label("Layer", exact=True).select_option("1")
    page.get_by_label("Colour", exact=True).select_option("effect")
    page.get_by_role("group", name="Samples").get_by_text("Over").click()
    page.get_by_label("Wrong only").check()
    page.get_by_label("Lowest confidence").fill("55")
    set_view(page, 0.7, 0.55, 2000, settle)
    level = planted.layers[1].levels[shown_level(page)]
    inside = (np.abs(level.level.column / level.side - 0.7) < 0.1) & (np.abs(level.level.row / level.side - 0.55) < 0.1)
    x, y = centre(page, level, int(np.flatnonzero(inside)[0]))
    page.mouse.click(x, y)
    settle_soon(page, settle)
    assert page.locator(".over > .card").is_hidden()  # a click opens the panel, and the map is seen again
    state, frame, before = page.evaluate(STATE), page.evaluate(FRAME), pixels(page)
    assert state["layer"] == 1
    assert state["filter"] == {
        "classes": [],
        "low": 55,
        "high": 100,
        "wrong": True,
        "images": 1,
        "columns": [],
        "change": None,
    }
    assert state["selected"]["level"] == level.number
    again = visit(link_of(page))
    again.locator(".panel .patch img[src]").first.wait_for()
    settle_soon(again, settle)
    assert again.evaluate(STATE) == state
    assert again.evaluate(FRAME)["scale"] == pytest.approx(frame["scale"], rel=1e-4)
    assert np.abs(pixels(again) - before).mean() < 1.5


def test_a_link_to_a_region_selects_the_same_samples(visit: Visit, served: ServerHandle, settle: Settle) -> None:
    page = visit(served.url)
    page.keyboard.press("l")
    drag(page, [(0.7, 0.4), (0.9, 0.4), (0.85, 0.62), (0.72, 0.6)])
    settle_soon(page, settle)
    said = page.locator(".selection h2").inner_text()
    assert said != "0 samples"
    again = visit(link_of(page))
    again.locator(".selection h2").wait_for()
    counts = [int(words.split()[0].replace(",", "")) for words in (said, again.locator(".selection h2").inner_text())]
    # Corners in the link are ten-thousandths of the map: a sample on the very line may change sides.
    assert abs(counts[0] - counts[1]) <= 1


@pytest.mark.parametrize(
    "nonsense",
    [
        *("layer=99&cell=0,99,1&level=-1&class=500,x", "at=NaN,1,2&colour=<b>&effect=1e9", "region=1,2;3&samples=all"),
        *("region=" + ",".join(["9"] * 4000), "%%%&&==&at=0,0,0&confidence=90,10&images=-5"),
    ],
)
def test_a_broken_link_opens_the_map(visit: Visit, served: ServerHandle, nonsense: str) -> None:
    page = visit(f"{served.url}#{nonsense}")
    state = page.evaluate(STATE)
    assert state["layer"] == 0
    assert state["selected"] is None
    assert state["region"] == []
    assert (state["filter"]["low"], state["filter"]["high"], state["filter"]["images"]) == (0, 100, 1)


def test_the_back_button_takes_back_steps_not_pans(visit: Visit, served: ServerHandle, settle: Settle) -> None:
    page = visit(served.url)
    page.keyboard.press("s")
    settle_soon(page, settle)
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        settle_soon(page, settle)
    page.keyboard.press("x")
    settle_soon(page, settle)
    page.go_back()
    settle_soon(page, settle)
    assert page.evaluate(STATE)["filter"]["wrong"] is False
    assert page.evaluate(STATE)["points"] == "over"
    page.go_back()
    settle_soon(page, settle)
    assert page.evaluate(STATE)["points"] == "off"


def live_facets(atlas: Atlas) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    samples, images = atlas.layers[0].samples, atlas.images
    rows = live_points(samples.positions, samples.state)
    image = samples.image[rows]
    return rows, images.label[image], images.prediction[image], images.confidence[image]


def test_filters_count_what_they_leave(visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle) -> None:
    page = visit(served.url)
    rows, label, prediction, confidence = live_facets(planted)

    def left() -> int:
        settle_soon(page, settle)
        words = page.locator(".passing").inner_text()
        assert words.endswith("of 1,798 samples")
        return int(words.split()[0].replace(",", ""))

    assert left() == 1798
    page.get_by_label("Lowest confidence").fill("70")
    sure = np.floor(confidence.astype(float) * 100 + 1e-4) >= 70
    assert left() == sure.sum()
    search = page.get_by_label("Show only these classes")
    search.fill("class 4")
    search.press("Enter")
    assert left() == (sure & (label == 4)).sum()
    page.get_by_label("Wrong only").check()
    assert left() == (sure & (label == 4) & (prediction != 4)).sum()
    page.get_by_text("Show all").click()
    assert left() == 1798
    page.get_by_label("Wrong only").check()
    wrong = (label >= 0) & (label != prediction)
    assert left() == wrong.sum() > 0
    page.get_by_text("Show all").click()
    page.get_by_label("Fewest images in a cell").fill("30")
    page.get_by_label("Fewest images in a cell").press("Enter")
    level = planted.layers[0].levels[shown_level(page)].level
    column, row = np.minimum((planted.layers[0].samples.positions[rows] * level.side).astype(int), level.side - 1).T
    images = {(c, r): n for c, r, n in zip(level.column, level.row, level.images, strict=True)}
    assert left() == sum(images[c, r] >= 30 for c, r in zip(column, row, strict=True))


@pytest.mark.parametrize("mode", ["density", "trust", "effect"])
def test_cells_wear_the_colour_of_their_value(
    visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle, mode: str
) -> None:
    page = visit(f"{served.url}#names=off&colour={mode}&effect=2&size=full")
    settle_soon(page, settle)
    level = planted.layers[0].levels[shown_level(page)]
    statistics, picture = level.statistics, pixels(page)
    if mode == "effect":
        at = (statistics.effect_class == 2).argmax(axis=1)
        values = statistics.effect_value[np.arange(len(at)), at]
        values = values / np.abs(values).max()
    elif mode == "density":
        values = np.log1p(level.level.images) / np.log1p(level.level.images.max())
    else:
        cosine = level.arrays("patch_cosine")["patch_cosine"]
        values = np.clip(level.scores.robust / np.nanmean(cosine, axis=1), 0, 1) * level.trust.believable
    width = float(data(page, "cellPx"))
    for cell in np.flatnonzero(level.has_icon)[::5]:
        x, y = centre(page, level, int(cell))
        seen = picture[round(y), round(x - 0.97 * width / 2 + 2.5)]
        assert np.abs(seen - ramp(mode, float(values[cell]))).max() < 14, int(cell)


def ramp(mode: str, value: float) -> np.ndarray:
    """The colours as documented: pale to blue or orange for effects, yellow over red to violet else."""
    if mode == "effect":
        full = np.array([0xD0, 0x5A, 0x0A] if value < 0 else [0x1F, 0x6F, 0xC4])
        return 0xEE + (full - 0xEE) * abs(value)
    stops = np.array([[0xF2, 0xC9, 0x4C], [0xC2, 0x5B, 0x56], [0x3B, 0x1C, 0x62]])
    return np.array([np.interp(value, [0, 0.5, 1], channel) for channel in stops.T])


def test_a_box_selects_what_lies_in_it(visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle) -> None:
    page = visit(served.url)
    select_box(page, settle)
    rows = rows_in_box(planted, page)
    assert page.locator(".selection h2").inner_text() == f"{len(rows):,} samples"
    images = np.unique(planted.layers[0].samples.image[rows])
    assert f"of {len(images):,} images" in page.locator(".selection").inner_text()
    page.locator(".thumb canvas[data-drawn]").first.wait_for()
    page.keyboard.press("b")
    page.keyboard.down("Shift")
    drag(page, [(0.05, 0.35), (0.3, 0.65)])
    page.keyboard.up("Shift")
    settle_soon(page, settle)
    more = int(page.locator(".selection h2").inner_text().split()[0].replace(",", ""))
    assert more > len(rows)
    page.keyboard.press("Escape")
    page.get_by_text("In view").wait_for()
    assert page.evaluate(STATE)["region"] == []


def test_a_selection_leaves_as_csv_and_parquet(
    visit: Visit, served: ServerHandle, planted: Atlas, tmp_path: Path, settle: Settle
) -> None:
    page = visit(served.url)
    select_box(page, settle)
    rows, samples, images = rows_in_box(planted, page), planted.layers[0].samples, planted.images
    level = planted.layers[0].levels[shown_level(page)]
    wanted = set()
    for row in rows:
        x, y = samples.positions[row].astype(float)
        cell = f"{level.number}/{min(level.side - 1, int(x * level.side))}/{min(level.side - 1, int(y * level.side))}"
        image = samples.image[row]
        names = [planted.classes[i] if i >= 0 else "" for i in (images.label[image], images.prediction[image])]
        wanted.add((round(x, 3), round(y, 3), images.ids[int(image)], *names, cell))
    for kind in ("CSV", "Parquet"):
        with page.expect_download() as download:
            page.get_by_role("button", name=kind, exact=True).click()
        path = tmp_path / f"selection.{kind.lower()}"
        download.value.save_as(path)
        if kind == "CSV":
            found = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
        else:
            found = pq.read_table(path).to_pylist()
        assert list(found[0]) == ["x", "y", "id", "label", "prediction", "cell"]
        said = {
            (
                round(float(r["x"]), 3),
                round(float(r["y"]), 3),
                r["id"],
                r["label"] or "",
                r["prediction"] or "",
                r["cell"],
            )
            for r in found
        }
        # Places are sixteen-bit in the page: a rounded third digit may differ for one in a hundred.
        assert len(found) == len(rows)
        assert len(said & wanted) >= 0.97 * len(rows)


def test_regions_are_kept_beside_the_atlas(visit: Visit, hostile: Atlas, settle: Settle) -> None:
    with start_server(hostile) as handle:
        page = visit(handle.url)
        select_box(page, settle)
        said = page.locator(".selection h2").inner_text()
        page.get_by_text("Keep as a region").click()
        page.get_by_label("The region's name").fill("<b>odd</b> ones")
        page.get_by_label("A note on the region").fill("to ask about")
        page.get_by_role("button", name="Keep", exact=True).click()
        page.get_by_text("Kept: it is listed").wait_for()
        page.keyboard.press("Escape")
        kept = json.loads(hostile.marks_path.read_text("utf-8"))["regions"]
        assert [(region["name"], region["note"], region["layer"]) for region in kept] == [
            ("<b>odd</b> ones", "to ask about", "layer1")
        ]
        again = visit(handle.url)
        again.get_by_role("button", name="<b>odd</b> ones", exact=True).click()
        again.locator(".selection h2").wait_for()
        assert again.locator(".selection h2").inner_text() == said
        again.keyboard.press("Escape")
        again.get_by_label("Delete the region").click()
        again.get_by_label("Delete the region").wait_for(state="detached")
        assert json.loads(hostile.marks_path.read_text("utf-8"))["regions"] == []
    hostile.marks_path.unlink()


def test_a_sites_regions_stay_in_the_browser(visit: Visit, planted: Atlas, tmp_path: Path, settle: Settle) -> None:
    page = visit(export(planted, tmp_path / "site").as_uri())
    select_box(page, settle)
    assert page.get_by_role("button", name="Parquet").count() == 0
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV", exact=True).click()
    download.value.save_as(tmp_path / "selection.csv")
    lines = (tmp_path / "selection.csv").read_text("utf-8").splitlines()
    assert len(lines) == 1 + len(rows_in_box(planted, page))
    page.get_by_text("Keep as a region").click()
    page.get_by_label("The region's name").fill("right")
    page.get_by_role("button", name="Keep", exact=True).click()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.get_by_text("Kept in this browser alone").wait_for()
    settle_soon(page, settle)
    page.reload()
    settle(page)
    page.get_by_role("button", name="right", exact=True).wait_for()


def test_a_patch_leads_to_its_other_places(visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle) -> None:
    page = visit(served.url)
    level = planted.layers[0].levels[shown_level(page)]
    cell = largest_cell(level)
    page.mouse.click(*centre(page, level, cell))
    page.locator(".patch img[src]").first.wait_for()
    page.locator(".patch").nth(2).click()
    samples = planted.layers[0].samples
    row = planted.layers[0].patch_rows[level.patches[cell, 2]]
    image = samples.image[row]
    page.get_by_text(f"3 places of {planted.images.ids[int(image)]}").wait_for()
    marked = page.evaluate(f"{EXPLORER}.places")
    wanted = samples.positions[samples.image == image]
    np.testing.assert_allclose(sorted(zip(marked["x"], marked["y"], strict=True)), sorted(wanted.tolist()), atol=1e-3)
    settle_soon(page, settle)
    x, y = place(page, *wanted[0])
    ring = pixels(page)[round(y) - 12 : round(y) + 13, round(x) - 12 : round(x) + 13].reshape(-1, 3)
    assert np.abs(ring - [0xD6, 0x26, 0x6A]).max(axis=1).min() < 30


def test_the_nearest_cells_can_be_opened(visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle) -> None:
    page = visit(served.url)
    level = planted.layers[0].levels[shown_level(page)]
    page.mouse.click(*centre(page, level, largest_cell(level)))
    page.locator(".near").first.wait_for()
    assert page.locator(".near").count() == 6
    page.locator(".near").first.click()
    settle_soon(page, settle)
    state = page.evaluate(STATE)["selected"]
    assert f"column {state['column']}, row {state['row']} from the bottom" in page.locator(".panel").inner_text()
    assert level.find(state["column"], state["row"]) != largest_cell(level)


def test_a_walk_lists_the_cells_it_crosses(visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle) -> None:
    page = visit(served.url)
    level = planted.layers[0].levels[shown_level(page)]
    ends = [(0.2, 0.5), (0.8, 0.56)]
    page.keyboard.press("w")
    drag(page, ends)
    page.locator(".walk svg polyline").first.wait_for()
    settle_soon(page, settle)
    crossed: list[int] = []
    for share in np.linspace(0, 1, 4000):
        x, y = (np.array(ends[0]) * (1 - share) + np.array(ends[1]) * share) * level.side
        cell = level.find(int(x), int(y))
        if cell is not None and (not crossed or crossed[-1] != cell):
            crossed.append(cell)
    steps = page.evaluate(f"{EXPLORER}.walk.steps.map(({{ found }}) => [found.column, found.row])")
    assert [level.find(*step) for step in steps] == crossed
    assert page.locator(".walk .step").count() == len(crossed)
    page.keyboard.press("Escape")
    assert page.locator(".walk").is_hidden()


def test_names_of_classes_never_overlap(visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle) -> None:
    page = visit(served.url, names=True)
    settle_soon(page, settle)
    for scale in (None, 900, 1700):
        if scale is not None:
            set_view(page, 0.6, 0.5, scale, settle)
        names = page.evaluate(f"{EXPLORER}.panes[0].names")
        if scale is None:
            assert {name["text"] for name in names} == set(planted.classes)
        for i, a in enumerate(names):
            for b in names[:i]:
                apart = abs(a["px"] - b["px"]) * 2 > a["width"] + b["width"] or abs(a["py"] - b["py"]) > a["height"]
                assert apart, (a, b)


def test_the_view_as_a_picture(visit: Visit, hostile: Atlas, tmp_path: Path, settle: Settle) -> None:
    with start_server(hostile) as handle:
        page = visit(f"{handle.url}#samples=over", names=True)
        settle_soon(page, settle)
        for kind in ("PNG for print", "SVG"):
            page.locator(".save summary").click()
            with page.expect_download() as download:
                page.get_by_role("button", name=kind).click()
            download.value.save_as(tmp_path / kind)
        frame = page.evaluate(FRAME)
        picture = Image.open(tmp_path / "PNG for print")
        assert max(picture.size) == 3600
        box = (frame["left"], frame["top"], frame["left"] + frame["width"], frame["top"] + frame["height"])
        seen = Image.open(io.BytesIO(page.screenshot())).convert("RGB").crop([round(edge) for edge in box])
        small = np.asarray(picture.convert("RGB").resize(seen.size, Image.Resampling.LANCZOS)).astype(int)
        away = np.asarray(seen).astype(int)[200:500, 200:800] - small[200:500, 200:800]
        assert np.abs(away).mean() < 12
        root = ET.fromstring((tmp_path / "SVG").read_text("utf-8"))
        tags = [element.tag.rpartition("}")[2] for element in root.iter()]
        assert "script" not in tags
        assert "b" not in tags
        assert tags.count("text") > 0
        assert tags.count("path") > 1


def test_every_key_does_something(visit: Visit, served: ServerHandle, settle: Settle) -> None:
    page = visit(served.url)

    def pressed(key: str) -> Any:
        page.keyboard.press(key)
        settle_soon(page, settle)
        return page.evaluate(STATE)

    shown = shown_level(page)
    assert pressed("c")["colour"] == "prediction"
    assert pressed("d")["density"] is False
    assert pressed("n")["names"] is True
    assert pressed("x")["filter"]["wrong"] is True
    assert pressed("x")["filter"]["wrong"] is False
    assert pressed("]")["locked"] == shown + 1
    assert pressed("a")["locked"] is None
    set_view(page, 0.82, 0.5, 760, settle)
    first = pressed("Enter")["selected"]
    second = pressed("Shift+ArrowLeft")["selected"]
    assert (second["row"], second["column"] < first["column"]) == (first["row"], True)
    assert pressed("Escape")["selected"] is None
    page.keyboard.press("?")
    page.get_by_role("dialog", name="What am I looking at?").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("class 3")
    page.keyboard.press("Enter")
    assert page.evaluate(STATE)["filter"]["classes"] == [3]


def test_the_minimap_shows_and_moves_the_view(visit: Visit, served: ServerHandle, settle: Settle) -> None:
    page = visit(served.url)
    assert page.locator(".minimap").is_hidden()
    set_view(page, 0.3, 0.6, 3000, settle)
    box = page.locator(".minimap canvas").bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"])
    settle_soon(page, settle)
    centre_now = page.evaluate(f"{EXPLORER}.view.centre")
    assert (centre_now["x"], centre_now["y"]) == pytest.approx((0.75, 0.75), abs=0.02)


def test_more_samples_than_are_drawn_at_once(
    visit: Visit, planted: Atlas, monkeypatch: pytest.MonkeyPatch, settle: Settle
) -> None:
    monkeypatch.setitem(Shards.__init__.__kwdefaults__, "limit", 300)
    with start_server(planted) as handle:
        page = visit(f"{handle.url}#samples=over&names=off")
        settle_soon(page, settle)
        assert page.evaluate(f"{EXPLORER}.panes[0].points.length") <= 300
        assert "evenly thinned" in page.locator(".status").inner_text()
        page.keyboard.press("x")
        settle_soon(page, settle)
        _, label, prediction, _ = live_facets(planted)
        wrong = int(((label >= 0) & (label != prediction)).sum())
        assert page.locator(".passing").inner_text() == f"{wrong} of 1,798 samples"
        page.keyboard.press("x")
        select_box(page, settle)
        assert page.locator(".selection h2").inner_text() == f"{len(rows_in_box(planted, page)):,} samples"
        page.keyboard.press("Escape")
        samples = planted.layers[0].samples
        live = samples.positions[live_points(samples.positions, samples.state)]
        inside = (np.abs(live - [0.82, 0.5]) < 0.05).all(axis=1).sum()
        set_view(page, 0.82, 0.5, 9000, settle)
        settle_soon(page, settle)
        drawn = page.evaluate(
            f"(() => {{ const p = {EXPLORER}.panes[0].points; let n = 0; for (let i = 0; i < p.length; i++)"
            " if (Math.abs(p.x[i] - 0.82) < 0.05 && Math.abs(p.y[i] - 0.5) < 0.05) n++; return [n, p.share]; })()"
        )
        assert drawn[1] == 1
        assert drawn[0] == pytest.approx(inside, abs=1)


def test_real_patches_come_first_where_the_icon_is_not_to_be_believed(
    visit: Visit, served: ServerHandle, planted: Atlas
) -> None:
    page = visit(served.url)
    level = planted.layers[0].levels[shown_level(page)]
    doubted = level.has_icon & ~level.trust.believable
    assert doubted.any()
    for cells, words, first in ((doubted, "Not to be believed", "patches"), (level.trust.believable, "", "portrait")):
        page.mouse.click(*centre(page, level, int(np.flatnonzero(cells)[0])))
        page.locator(".panel .patch img[src]").first.wait_for()
        assert words in page.locator(".panel .verdict").inner_text()
        order = page.locator(".panel :is(.portrait, .patches)").evaluate_all("all => all.map(one => one.className)")
        assert order[0] == first
        page.keyboard.press("Escape")
