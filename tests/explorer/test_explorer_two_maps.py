"""Two layers side by side: what belongs together is marked, what shares a layout moves together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from looking import EXPLORER, FRAME, Settle, Visit, data, drawn_box, link_of, pixels, place, set_view, settle_soon

from atlas.explorer import ServerHandle, export
from atlas.explorer.header import page_header
from atlas.explorer.points import live_points
from atlas.explorer.shards import Shards
from atlas.storage.atlas import Atlas

pytestmark = pytest.mark.browser

BOX = [(0.70, 0.35), (0.95, 0.65)]
SECOND = f"""() => {{
    const {{ view }} = {EXPLORER}.panes[1], {{ left, top, width, height }} = view.frame;
    const outer = document.querySelector('.bk-Figure').getBoundingClientRect();
    return {{ left: outer.left + left, top: outer.top + top, width, height, scale: view.scale,
              x: view.worldX(0), y: view.worldY(0) }};
}}"""


def second_place(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a point of the second map is on the page, in CSS pixels."""
    frame = page.evaluate(SECOND)
    return frame["left"] + (x - frame["x"]) * frame["scale"], frame["top"] + (frame["y"] - y) * frame["scale"]


def live(atlas: Atlas, layer: int) -> np.ndarray:
    samples = atlas.layers[layer].samples
    return live_points(samples.positions, samples.state)


def in_box(page: Any, atlas: Atlas, layer: int) -> np.ndarray:
    """Sample rows inside the box that was drawn around BOX, by the definition."""
    left, bottom, right, top = drawn_box(page, BOX)
    rows = live(atlas, layer)
    x, y = atlas.layers[layer].samples.positions[rows].T
    return rows[(x > left) & (x < right) & (y > bottom) & (y < top)]


def largest(level: Any) -> tuple[int, float, float]:
    """The cell with an icon and the most images, and its middle."""
    cell = int(np.where(level.has_icon, level.level.images, -1).argmax())
    return cell, (int(level.level.column[cell]) + 0.5) / level.side, (int(level.level.row[cell]) + 0.5) / level.side


def marked(page: Any, pane: int, what: str) -> set[int]:
    """Sample rows that are marked on a map for what happens on the other."""
    script = f"(() => {{ const p = {EXPLORER}.panes[{pane}]; return p.twins.{what}.map((i) => p.points.row[i]); }})()"
    return set(page.evaluate(script))


def select_box(page: Any, settle: Settle, where: Any = place) -> None:
    page.keyboard.press("b")
    corners = [where(page, *at) for at in BOX]
    page.mouse.move(*corners[0])
    page.mouse.down()
    page.mouse.move(*corners[1], steps=5)
    page.mouse.up()
    settle_soon(page, settle)


@pytest.mark.parametrize("pane", [0, 1])
def test_a_selection_is_marked_on_the_other_map(
    visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle, pane: int
) -> None:
    page = visit(served.url)
    page.keyboard.press("t")
    settle_soon(page, settle)
    assert data(page, "beside") == "1"
    select_box(page, settle, second_place if pane == 1 else place)
    wanted = set(in_box(page, planted, pane)) & set(live(planted, 1 - pane))
    assert marked(page, 1 - pane, "selected") == wanted
    assert marked(page, pane, "selected") == set()
    assert page.locator(".selection h2").inner_text() == f"{len(in_box(page, planted, pane))} samples"
    picture, where = pixels(page), place if pane == 1 else second_place
    for row in list(wanted)[::9]:
        x, y = where(page, *planted.layers[1 - pane].samples.positions[row])
        assert np.abs(picture[round(y), round(x)] - [0x1B, 0x22, 0x30]).max() < 60
    if pane == 0:
        assert f"{len(wanted)} samples of the selection here" in page.locator(".twins").inner_text()


def test_a_filter_counts_for_both_maps(visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle) -> None:
    page = visit(f"{served.url}#beside=1&class=0&names=off")
    select_box(page, settle)
    label = planted.images.label[planted.layers[0].samples.image]
    assert marked(page, 1, "selected") == {row for row in in_box(page, planted, 0) if label[row] == 0} & set(
        live(planted, 1)
    )
    counts = [page.evaluate(f"{EXPLORER}.panes[{pane}].points.liveCount") for pane in (0, 1)]
    assert counts == [(label[live(planted, layer)] == 0).sum() for layer in (0, 1)]


def test_the_cell_under_the_pointer_is_marked_by_its_samples(
    visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle
) -> None:
    page = visit(f"{served.url}#beside=1&names=off")
    level = planted.layers[0].levels[0]
    cell, x, y = largest(level)
    page.mouse.move(*place(page, x, y))
    settle_soon(page, settle)
    members = level.level.members[level.level.start[cell] : level.level.start[cell + 1]]
    assert marked(page, 1, "pointed") == set(members.tolist()) & set(live(planted, 1))
    assert page.evaluate(f"{EXPLORER}.panes[1].twins.cursor") is None  # a place means something else there
    page.evaluate(f"{EXPLORER}.header.layers[1].rows = 'others'")  # as of layers with other positions
    page.mouse.move(5, 5)
    settle_soon(page, settle)
    page.mouse.move(*place(page, x, y))
    settle_soon(page, settle)
    image = planted.layers[1].samples.image
    same_image = {row for row in live(planted, 1).tolist() if image[row] in set(image[members].tolist())}
    assert marked(page, 1, "pointed") == same_image


def test_a_click_on_the_second_map_opens_its_cell(
    visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle
) -> None:
    page = visit(f"{served.url}#beside=1&names=off")
    level = planted.layers[1].levels[0]
    cell, x, y = largest(level)
    page.mouse.click(*second_place(page, x, y))
    page.locator(".panel .numbers").wait_for()
    numbers = page.locator(".panel .numbers dd").all_inner_texts()[:2]
    assert numbers == [str(level.level.images[cell]), str(level.level.samples[cell])]
    members = level.level.members[level.level.start[cell] : level.level.start[cell + 1]]
    settle_soon(page, settle)
    assert marked(page, 0, "selected") == set(members.tolist()) & set(live(planted, 0))
    again = visit(link_of(page))
    again.locator(".panel .numbers").wait_for()
    assert again.locator(".panel .numbers dd").all_inner_texts()[:2] == numbers


def test_maps_of_two_layouts_move_alone_and_of_one_together(visit: Visit, served: ServerHandle, settle: Settle) -> None:
    page = visit(f"{served.url}#beside=1&names=off")
    second, first = page.evaluate(SECOND), page.evaluate(FRAME)
    x, y = second_place(page, 0.6, 0.4)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -240)
    settle_soon(page, settle)
    assert page.evaluate(FRAME) == first
    assert page.evaluate(SECOND)["scale"] > 1.2 * second["scale"]
    assert second_place(page, 0.6, 0.4) == pytest.approx((x, y), abs=1)
    page.mouse.down()
    page.mouse.move(x + 40, y - 25, steps=4)
    page.mouse.up()
    assert second_place(page, 0.6, 0.4) == pytest.approx((x + 40, y - 25), abs=1)
    settle_soon(page, settle)
    again = visit(link_of(page))
    settle_soon(again, settle)
    assert again.evaluate(SECOND) == pytest.approx(page.evaluate(SECOND), rel=1e-3)
    page.keyboard.press("g")
    set_view(page, 0.4, 0.5, 900, settle)
    assert page.evaluate(SECOND)["scale"] == pytest.approx(900)
    assert page.evaluate(f"{EXPLORER}.panes[1].view.centre.x") == pytest.approx(0.4)
    page.evaluate(f"{EXPLORER}.set({{ beside: 0, together: null }})")  # a layer beside itself: one layout
    page.mouse.move(*second_place(page, 0.45, 0.5))
    page.mouse.wheel(0, -240)
    settle_soon(page, settle)
    assert page.evaluate(SECOND)["scale"] == pytest.approx(page.evaluate(FRAME)["scale"])
    cursor = page.evaluate(f"{EXPLORER}.panes[0].twins.cursor")
    assert place(page, cursor["x"], cursor["y"])[1] == pytest.approx(second_place(page, cursor["x"], cursor["y"])[1])


def test_layers_are_stepped_through_with_view_and_image_kept(
    visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle
) -> None:
    page = visit(served.url)
    set_view(page, 0.4, 0.5, 1600, settle)
    before = page.evaluate(FRAME)
    page.evaluate(f"{EXPLORER}.showPlaces(7)")
    page.keyboard.press(".")
    settle_soon(page, settle)
    assert data(page, "layer") == "1"
    assert page.evaluate(FRAME) == before
    samples = planted.layers[1].samples
    own = samples.positions[samples.image == 7]
    shown = page.evaluate(f"{EXPLORER}.places")
    np.testing.assert_allclose(np.array([shown["x"], shown["y"]]).T, own, atol=1e-3)
    page.keyboard.press(".")
    page.keyboard.press(",")
    settle_soon(page, settle)
    assert data(page, "layer") == "0"


def test_two_maps_in_a_site_a_tall_window_and_a_picture(
    visit: Visit, planted: Atlas, tmp_path: Path, settle: Settle
) -> None:
    page = visit(f"{export(planted, tmp_path / 'site').as_uri()}#beside=1&names=off")
    select_box(page, settle)
    assert marked(page, 1, "selected") == set(in_box(page, planted, 0)) & set(live(planted, 1))
    page.set_viewport_size({"width": 700, "height": 1000})
    settle_soon(page, settle)
    first, second = page.evaluate(FRAME), page.evaluate(SECOND)
    assert second["top"] >= first["top"] + first["height"]
    with page.expect_download() as download:
        page.get_by_text("Save", exact=True).click()
        page.get_by_text("SVG", exact=True).click()
    drawing = Path(download.value.path()).read_text(encoding="utf-8")
    assert drawing.count("<image") == 2
    for _ in range(3):
        page.keyboard.press("Escape")
    settle_soon(page, settle)
    assert page.evaluate(f"{EXPLORER}.state.region.length") == 0
    assert data(page, "beside") == "1"  # a map is no selection: T and its own cross close it


def test_a_header_names_what_layers_share(planted: Atlas) -> None:
    first, second = page_header(Shards(planted), "site", "site")["layers"]
    assert first["rows"] == second["rows"]
    assert first["layout"] != second["layout"]


def test_a_link_to_a_cell_opens_it_though_its_tile_comes_last(
    visit: Visit, served: ServerHandle, planted: Atlas
) -> None:
    level = planted.layers[0].levels[0]
    cell, *_ = largest(level)
    address = f"{served.url}#names=off&cell=0,{level.level.column[cell]},{level.level.row[cell]}"
    page = visit("about:blank", wait=False)
    held: list[Any] = []

    def hold(route: Any) -> None:
        if open_now:
            route.continue_()
        else:
            held.append(route)

    open_now = False
    page.route("**/tile/**", hold)
    page.goto(address)
    page.wait_for_function("() => document.querySelector('.bk-Figure')?.atlasExplorer?.panes[0].points")
    open_now = True
    for route in held:
        route.continue_()
    page.locator(".panel .numbers").wait_for(timeout=10_000)
