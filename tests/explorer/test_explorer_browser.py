"""The explorer in a real browser: what is seen and clicked is what the atlas's arrays say."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from looking import (
    EXPLORER,
    FRAME,
    Settle,
    Visit,
    centre,
    data,
    label_of_live,
    largest_cell,
    link_of,
    pixels,
    place,
    set_view,
    shown_level,
)  # fmt: skip
from PIL import Image

from atlas.explorer import ServerHandle, export, start_server
from atlas.explorer.notebook import notebook_html
from atlas.explorer.points import live_points
from atlas.storage.atlas import Atlas

pytestmark = pytest.mark.browser


def test_every_icon_lies_at_its_cell(visit: Visit, served: ServerHandle, planted: Atlas) -> None:
    page = visit(served.url)
    level = planted.layers[0].levels[shown_level(page)]
    picture = pixels(page)
    full = np.flatnonzero(level.has_icon & (level.level.images >= np.median(level.level.images[level.level.kept])))
    assert len(full) > 20
    width = float(data(page, "cellPx"))
    for cell in full:
        x, y = centre(page, level, int(cell))
        # A quarter above and below the middle, at the left: beside the white disc, on the icon's vertical ramp.
        for share in (-0.25, 0.25):
            icon = level.icon(int(cell)).astype(int)[int(48 + 96 * share), 5]
            seen = picture[round(y + share * width), round(x - 0.42 * width)]
            assert np.abs(seen - icon).max() < 40, (int(cell), share)


def test_the_level_follows_the_cells_size(visit: Visit, served: ServerHandle, settle: Settle) -> None:
    page = visit(served.url)
    for scale, level in [(500, 0), (760, 0), (775, 1), (1500, 1), (1545, 2), (3000, 2), (9000, 2)]:
        set_view(page, 0.5, 0.5, scale, settle)
        assert shown_level(page) == level, scale
        if scale < 3000:
            assert 48 <= float(data(page, "cellPx")) <= 96
    assert "real pictures" in page.locator(".level-words").inner_text()


def test_only_what_is_looked_at_is_loaded(visit: Visit, served: ServerHandle, settle: Settle) -> None:
    page = visit(served.url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    set_view(page, 0.1, 0.5, 4000, settle)
    tiles = {url.split("/tile/")[1] for url in asked if "/tile/" in url}
    assert tiles
    assert all(name.startswith("0/2/0/") for name in tiles)


def test_the_wheel_and_the_keys_move_the_same_view(visit: Visit, served: ServerHandle, settle: Settle) -> None:
    page = visit(served.url, reduced_motion="no-preference")
    scale = page.evaluate(FRAME)["scale"]
    fixed = place(page, 0.3, 0.6)
    page.mouse.move(*fixed)
    page.mouse.wheel(0, -240)
    page.wait_for_function(f"{EXPLORER}.view.scale > 1.2 * {scale}")
    settle(page)
    assert page.evaluate(FRAME)["scale"] > scale * 1.2
    assert place(page, 0.3, 0.6) == pytest.approx(fixed, abs=2)
    page.keyboard.press("ArrowRight")
    settle(page)
    assert place(page, 0.3, 0.6)[0] < fixed[0] - 50
    page.keyboard.press("0")
    settle(page)
    assert page.evaluate(FRAME)["scale"] == pytest.approx(scale, rel=1e-3)
    page.keyboard.press("+")
    settle(page)
    assert page.evaluate(FRAME)["scale"] == pytest.approx(1.6 * scale, rel=1e-3)


def test_hover_shows_the_cell_under_the_pointer(visit: Visit, served: ServerHandle, planted: Atlas) -> None:
    page = visit(served.url)
    level = planted.layers[0].levels[shown_level(page)]
    for cell in (largest_cell(level), int(level.level.images.argmax())):
        page.mouse.move(*centre(page, level, cell))
        card = page.locator(".card")
        card.wait_for(state="visible")
        images, samples = int(level.level.images[cell]), int(level.level.samples[cell])
        words = card.inner_text()
        assert f"{images} image" in words
        assert f"{samples} sample" in words
        counts = level.statistics.label_counts[cell]
        assert planted.classes[int(counts.argmax())] in words
        assert planted.outputs[int(level.statistics.effect_class[cell, 0])] in words
        assert card.locator("canvas.cell-picture").count() == 1


def test_a_click_opens_the_right_cell(visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle) -> None:
    page = visit(served.url)
    level = planted.layers[0].levels[shown_level(page)]
    cell = largest_cell(level)
    page.mouse.click(*centre(page, level, cell))
    panel = page.locator(".panel")
    panel.locator(".patch img[src]").first.wait_for()
    words = panel.inner_text()
    assert f"column {level.level.column[cell]}, row {level.level.row[cell]} from the bottom" in words
    assert panel.locator(".numbers dd").all_inner_texts()[:2] == [
        str(level.level.images[cell]), str(level.level.samples[cell])
    ]  # fmt: skip
    patches = [p for p in level.patches[cell].tolist() if p >= 0]
    rows = planted.layers[0].patch_rows[patches]
    ids = [planted.images.ids[int(planted.layers[0].samples.image[row])] for row in rows]
    assert panel.locator(".patch img").evaluate_all("all => all.map(one => one.alt)") == ids
    sent = panel.locator(".patch img").nth(1).get_attribute("src").split(",")[1]
    first = np.asarray(Image.open(io.BytesIO(base64.b64decode(sent)))).astype(int)
    assert np.abs(first - planted.layers[0].patch(patches[1])).mean() < 6
    panel.locator(".patch").nth(1).hover()
    page.locator(".caption canvas[data-drawn]").wait_for()
    assert ids[1] in panel.locator(".caption").inner_text()
    assert "speaks for" in words
    assert any(verdict in words for verdict in ("Believable", "Faint", "Not believable"))
    page.keyboard.press("Escape")
    panel.get_by_text("In view").wait_for()


def test_points_wear_the_colours_of_their_classes(
    visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle
) -> None:
    page = visit(served.url)
    page.get_by_role("group", name="Samples").get_by_text("Only").click()
    settle(page)
    assert "all 1,798 drawn" in page.locator(".status").inner_text()
    picture, samples = pixels(page), planted.layers[0].samples
    rows = live_points(samples.positions, samples.state)
    positions, labels = samples.positions[rows], planted.images.label[samples.image[rows]]
    distance = np.abs(positions[:, None] - positions[None]).max(axis=-1)
    np.fill_diagonal(distance, 1)
    alone = np.flatnonzero(distance.min(axis=1) > 0.012)
    assert len(alone) > 5
    colours = [
        *((0x3F, 0x90, 0xDA), (0xFF, 0xA9, 0x0E), (0xBD, 0x1F, 0x01), (0x94, 0xA4, 0xA2)),
        *((0x83, 0x2D, 0xB6), (0xA9, 0x6B, 0x59), (0xE7, 0x63, 0x00)),
    ]
    for i in alone:
        if labels[i] < 0:
            continue
        x, y = place(page, *positions[i])
        assert np.abs(picture[round(y), round(x)] - colours[labels[i]]).max() < 12


def test_a_class_filter_dims_the_others(visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle) -> None:
    page = visit(served.url)
    level = planted.layers[0].levels[shown_level(page)]
    page.locator("button.bar-row").first.wait_for()
    name = page.locator("button.bar-row .name").first.inner_text()
    chosen = planted.classes.index(name)
    page.locator("button.bar-row").first.click()
    settle(page)
    left = int((label_of_live(planted) == chosen).sum())
    assert f"{left:,} of 1,798 samples: {name}" in page.locator(".status").inner_text()
    picture, counts = pixels(page), level.statistics.label_counts
    pure = level.has_icon & (level.level.images >= 4)
    for cell in np.flatnonzero(pure)[::3]:
        x, y = centre(page, level, int(cell))
        width = float(data(page, "cellPx"))
        seen = picture[round(y + 0.15 * width), round(x - 0.15 * width)]
        if counts[cell, chosen] == counts[cell].sum():
            assert seen.min() < 190
        elif counts[cell, chosen] == 0:
            assert seen.min() > 205
    page.keyboard.press("Escape")
    settle(page)
    assert name not in page.locator(".status").inner_text()


def test_layers_change_and_keep_the_view(visit: Visit, served: ServerHandle, settle: Settle) -> None:
    page = visit(served.url)
    set_view(page, 0.4, 0.5, 1600, settle)
    before = page.evaluate(FRAME)
    page.get_by_label("Layer", exact=True).select_option("1")
    settle(page)
    assert data(page, "layer") == "1"
    assert page.evaluate(FRAME) == before


def test_a_level_can_be_locked(visit: Visit, served: ServerHandle, settle: Settle) -> None:
    page = visit(served.url)
    page.get_by_label("Level", exact=True).select_option("1")
    set_view(page, 0.5, 0.5, 5000, settle)
    assert shown_level(page) == 1
    page.keyboard.press("a")
    settle(page)
    assert shown_level(page) == 2


def test_real_pictures_at_one_key(visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle) -> None:
    page = visit(served.url)
    level = planted.layers[0].levels[shown_level(page)]
    before = pixels(page)
    page.keyboard.press("p")
    settle(page)
    cell = largest_cell(level)
    x, y = centre(page, level, cell)
    width = float(data(page, "cellPx"))
    wanted = planted.layers[0].patch(int(level.patches[cell, 0])).astype(int)
    after = pixels(page)
    for u, v in ((0.2, 0.3), (0.8, 0.7), (0.5, 0.2)):
        at = round(y + (v - 0.5) * width), round(x + (u - 0.5) * width)
        nearby = wanted[max(0, int(96 * v) - 4) : int(96 * v) + 5, max(0, int(96 * u) - 4) : int(96 * u) + 5].reshape(
            -1, 3
        )
        assert np.abs(nearby - after[at]).max(axis=1).min() < 40
    assert np.abs(after - before).max() > 60


def test_icon_and_real_picture_share_a_cell(visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle) -> None:
    page = visit(served.url)
    level = planted.layers[0].levels[shown_level(page)]
    for _ in range(2):
        page.keyboard.press("p")
    settle(page)
    assert page.get_by_role("button", name="Both").get_attribute("aria-pressed") == "true"
    seen = pixels(page)
    cell = largest_cell(level)
    x, y = centre(page, level, cell)
    width = float(data(page, "cellPx"))
    icon, patch = level.icon(cell).astype(int), planted.layers[0].patch(int(level.patches[cell, 0])).astype(int)
    told_apart = 0
    for u, v in ((0.1, 0.3), (0.3, 0.1), (0.15, 0.6), (0.9, 0.6), (0.6, 0.9), (0.9, 0.3), (0.7, 0.7)):
        wanted, other = (icon, patch) if u + v < 1 else (patch, icon)
        at = seen[round(y + (v - 0.5) * width), round(x + (u - 0.5) * width)]

        def near(picture: np.ndarray, at: np.ndarray = at, u: float = u, v: float = v) -> int:
            side = len(picture)
            rows, columns = (slice(max(0, int(side * s) - 4), int(side * s) + 5) for s in (v, u))
            return int(np.abs(picture[rows, columns].reshape(-1, 3) - at).max(axis=1).min())

        assert near(wanted) < 40, (u, v)
        told_apart += near(other) > 40
    assert told_apart >= 2
    assert "show=both" in link_of(page)


def test_hostile_names_stay_text(visit: Visit, hostile: Atlas, settle: Settle) -> None:
    with start_server(hostile) as handle:
        page = visit(handle.url)
        page.evaluate("window.alerted = 0; window.alert = () => window.alerted++; 0")
        level = hostile.layers[0].levels[0]
        page.locator("button.bar-row").first.wait_for()
        names = page.locator(".panel .name").evaluate_all("all => all.map(one => one.textContent)")
        assert sorted(names[: len(hostile.classes)]) == sorted(hostile.classes)
        for cell in np.flatnonzero(level.has_icon)[:6]:
            page.mouse.click(*centre(page, level, int(cell)))
            page.locator(".patch img[src]").first.wait_for()
            page.locator(".patch").first.hover()
        page.keyboard.press("s")
        settle(page)
        assert page.evaluate("window.alerted") == 0
        script = "document.querySelector('.bk-Figure').shadowRoot.querySelectorAll('.over script, .over b').length"
        assert page.evaluate(script) == 0


def test_the_site_works_from_disk(visit: Visit, planted: Atlas, tmp_path: Path, settle: Settle) -> None:
    page = visit(export(planted, tmp_path / "site").as_uri())
    level = planted.layers[0].levels[shown_level(page)]
    cell = largest_cell(level)
    page.mouse.click(*centre(page, level, cell))
    page.locator(".patch img[src]").first.wait_for()
    assert f"column {level.level.column[cell]}, row {level.level.row[cell]}" in page.locator(".panel").inner_text()
    page.locator(".patch").first.hover()
    page.locator(".caption canvas[data-drawn]").wait_for()
    set_view(page, 0.5, 0.7, 3000, settle)
    assert shown_level(page) == 2
    page.screenshot()


def test_a_site_without_pictures_shows_none(visit: Visit, planted: Atlas, tmp_path: Path, settle: Settle) -> None:
    page = visit(export(planted, tmp_path / "site", pictures=False).as_uri())
    assert page.get_by_role("group", name="Cells").get_by_text("Pictures").count() == 0
    level = planted.layers[0].levels[shown_level(page)]
    page.mouse.click(*centre(page, level, largest_cell(level)))
    page.get_by_text("without the dataset's pictures").wait_for()
    set_view(page, 0.5, 0.5, 5000, settle)
    assert shown_level(page) == 1  # level 2 has no icons, and no pictures may stand in for them


def test_the_notebooks_frame_works(visit: Visit, planted: Atlas, tmp_path: Path) -> None:
    output = tmp_path / "notebook.html"
    cell = notebook_html(planted, budget=600_000)
    output.write_text(f"<!doctype html><meta charset=utf-8>{cell}", encoding="utf-8")
    page = visit("about:blank", wait=False, names=True)
    page.goto(output.as_uri())
    frame = page.frame_locator("iframe")
    frame.locator(".status").wait_for()
    frame.get_by_text("this notebook leaves out").wait_for()
    frame.get_by_text("In view").wait_for()


def test_two_atlases_share_a_server(visit: Visit, planted: Atlas, hostile: Atlas, settle: Settle) -> None:
    with start_server([planted, hostile]) as handle:
        page = visit(handle.url)
        page.get_by_label("Atlas").select_option("/2")
        page.wait_for_url("**/2**")
        settle(page)
        assert "160 images" in page.locator(".status").inner_text()


@pytest.mark.parametrize("size", [(1280, 720), (3840, 2160), (560, 800)])
def test_nothing_overlaps_or_runs_out_of_the_window(visit: Visit, served: ServerHandle, size: tuple[int, int]) -> None:
    page = visit(served.url, viewport={"width": size[0], "height": size[1]}, help_closed=False)
    boxes = {name: page.locator(name).bounding_box() for name in (".head", ".status", ".zoom")}
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= size[0] + 1 for box in boxes.values())
    assert all(box["y"] >= 0 and box["y"] + box["height"] <= size[1] + 1 for box in boxes.values())
    frame = page.evaluate(FRAME)
    assert frame["top"] >= boxes[".head"]["y"] + boxes[".head"]["height"] - 1
    assert frame["top"] + frame["height"] <= boxes[".status"]["y"] + 1
    assert frame["width"] * frame["height"] > 0.5 * size[0] * size[1]


def test_the_map_answers_wherever_nothing_stands_on_it(visit: Visit, served: ServerHandle) -> None:
    page = visit(served.url)
    taken = [page.locator(name).bounding_box() for name in (".tools", ".overlay .level-line >> nth=0", ".zoom")]
    frame = page.evaluate(FRAME)
    script = """([x, y]) => {
        const root = document.querySelector('.bk-Figure').shadowRoot;
        return root.elementFromPoint(x, y)?.closest('.over') === null;
    }"""
    for x in np.arange(frame["left"] + 4, frame["left"] + frame["width"], 41):
        for y in np.arange(frame["top"] + 4, frame["top"] + frame["height"], 41):
            covered = any(
                b["x"] - 1 <= x <= b["x"] + b["width"] + 1 and b["y"] - 1 <= y <= b["y"] + b["height"] + 1
                for b in taken
            )
            assert covered or page.evaluate(script, [float(x), float(y)]), (x, y)


def test_a_narrow_window_reaches_the_filters(visit: Visit, served: ServerHandle) -> None:
    page = visit(served.url, viewport={"width": 560, "height": 800})
    assert page.locator(".panel").is_hidden()
    page.get_by_role("button", name="Filter").click()
    page.get_by_label("Wrong only").check()
    page.get_by_role("button", name="Filter").click()
    assert page.locator(".panel").is_hidden()
    page.locator(".status").get_by_text("wrong only").wait_for()
