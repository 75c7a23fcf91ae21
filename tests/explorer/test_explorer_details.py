"""What is easily got wrong: titles of mixed cells, marks of many classes, dark frames, walks in links."""

from __future__ import annotations

from pathlib import Path

import looking
import numpy as np
import pytest
from looking import EXPLORER, FRAME, Settle, Visit, addressed, data, link_of, pixels, place, set_view
from planted import write_planted_atlas

from atlas.explorer import ServerHandle, start_server
from atlas.explorer.points import live_points
from atlas.storage.atlas import Atlas, open_atlas

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def many_classes(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    folder = tmp_path_factory.mktemp("classes") / "classes.atlas"
    return open_atlas(write_planted_atlas(folder, images=300, levels=1, classes=24))


def test_a_mixed_cell_is_named_by_what_is_in_it(visit: Visit, served: ServerHandle) -> None:
    page = visit(served.url)
    page.evaluate(f"{EXPLORER}.header.classes = ['ball', 'cat', 'dog', 'owl']")
    titles = {
        (90, 5, 5, 0): "ball",
        (60, 30, 10, 0): "Mostly ball",
        (45, 45, 10, 0): "ball and cat",
        (25, 25, 25, 25): "ball 25\u00a0%, cat 25\u00a0%\u00a0…",
        (40, 20, 20, 20): "ball 40\u00a0%, cat 20\u00a0%\u00a0…",
    }
    for images, title in titles.items():
        labels = [number for pair in enumerate(images) if pair[1] for number in pair]
        open_cell = f"{EXPLORER}.select({EXPLORER}.tiles.cellAt(0, {EXPLORER}.level, 0.82, 0.5))"
        page.evaluate(f"{open_cell}; Object.assign({EXPLORER}.panel.shown.cell, {{ labels: {labels}, images: 100 }})")
        page.evaluate(f"{EXPLORER}.panel.showCell({EXPLORER}.panel.shown)")
        assert page.locator(".panel h2").inner_text() == title


def test_beyond_ten_classes_dots_have_other_shapes(visit: Visit, many_classes: Atlas, settle: Settle) -> None:
    with start_server(many_classes) as handle:
        page = visit(f"{handle.url}#samples=only&names=off")
        samples = many_classes.layers[0].samples
        rows = live_points(samples.positions, samples.state)
        positions, labels = samples.positions[rows], many_classes.images.label[samples.image[rows]]
        apart = np.abs(positions[:, None] - positions[None]).max(axis=-1)
        np.fill_diagonal(apart, 1)
        shapes: dict[int, list[bool]] = {0: [], 1: [], 2: []}
        for i in np.argsort(-apart.min(axis=1))[:60]:
            if labels[i] < 0:
                continue
            set_view(page, *positions[i].tolist(), 6000, settle)
            x, y = place(page, *positions[i])
            picture, middle = pixels(page), pixels(page)[round(y), round(x)]
            # Of equal areas, a square fills its corner at 0.8 of a disc's radius each way, where disc and diamond end.
            corner = picture[round(y) + 4, round(x) + 4]
            shapes[int(labels[i]) // 10].append(bool(np.abs(corner - middle).max() < 30))
            if min(map(len, shapes.values())) >= 2:
                break
        assert all(shapes[1])
        assert not any(shapes[0] + shapes[2])
        page.keyboard.press("0")
        settle(page)
        legend = page.locator(".legend")
        legend.get_by_text("other classes in view").click()
        legend.locator(".swatch.diamond").nth(3).wait_for()
        counts = [legend.locator(f".swatch.{shape}").count() for shape in ("disc", "square", "diamond")]
        assert counts == [10 + 1, 10, 4]  # and one of no label


def test_a_dark_page_has_no_white_frames(visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle) -> None:
    page = visit(f"{served.url}#colour=effect&effect=2&size=full&names=off", color_scheme="dark")
    settle(page)
    level, picture = planted.layers[0].levels[looking.shown_level(page)], pixels(page)
    at = (level.statistics.effect_class == 2).argmax(axis=1)
    values = level.statistics.effect_value[np.arange(len(at)), at]
    small = np.flatnonzero(level.has_icon & (np.abs(values) < 0.2 * np.abs(values).max()))
    assert len(small) > 5
    width = float(data(page, "cellPx"))
    for cell in small[::4]:
        x, y = looking.centre(page, level, int(cell))
        assert picture[round(y), round(x - 0.97 * width / 2 + 2.5)].max() < 120


def test_a_walk_is_in_the_link_and_leaves_the_map_in_sight(visit: Visit, served: ServerHandle, settle: Settle) -> None:
    page = visit(served.url)
    page.keyboard.press("w")
    page.mouse.move(*place(page, 0.2, 0.5))
    page.mouse.down()
    for at in ((0.5, 0.75), (0.8, 0.55)):
        page.mouse.move(*place(page, *at), steps=6)
    page.mouse.up()
    page.locator(".walk .step").first.wait_for()
    settle(page)
    addressed(page)
    frame = page.evaluate(FRAME)
    assert frame["top"] + frame["height"] <= page.locator(".walk").bounding_box()["y"] + 1
    assert frame["height"] > 350
    steps = f"{EXPLORER}.walk.steps.map(({{ found }}) => [found.column, found.row])"
    again = visit(link_of(page))
    again.locator(".walk .step").first.wait_for()
    settle(again)
    assert again.evaluate(steps) == page.evaluate(steps)
    again.keyboard.press("Escape")
    addressed(again)
    assert "walk=" not in again.url
    assert again.evaluate(FRAME)["height"] > frame["height"] + 100


def test_a_patch_leads_to_all_its_places(visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle) -> None:
    page = visit(served.url)
    level = planted.layers[0].levels[looking.shown_level(page)]
    x, y = int(level.level.column[looking.largest_cell(level)]), int(level.level.row[looking.largest_cell(level)])
    set_view(page, (x + 0.5) / level.side, (y + 0.5) / level.side, 9000, settle)
    page.evaluate(f"{EXPLORER}.set({{ selected: {{ level: {level.number}, column: {x}, row: {y} }} }})")
    page.locator(".patch img[src]").first.wait_for()
    page.locator(".patch").first.click()
    page.locator(".note").get_by_text("place").wait_for()
    settle(page)
    places = page.evaluate(f"{EXPLORER}.places")
    assert len(places["x"]) > 1
    assert page.evaluate(f"{EXPLORER}.places.x.every((x, i) => {EXPLORER}.view.isInSight(x, {EXPLORER}.places.y[i]))")


def test_effects_on_their_way_are_not_called_absent(visit: Visit, planted: Atlas, tmp_path: Path) -> None:
    with start_server(planted) as handle:
        page = visit(handle.url)
        page.route("**/effect/**", lambda route: None)  # asked for, and never answered
        page.get_by_label("Colour", exact=True).select_option("effect")
        page.locator(".legend").get_by_text("Loading the effects").wait_for()
        page.unroute_all(behavior="ignoreErrors")


def test_card_and_panel_judge_an_icon_alike_and_the_panel_follows_the_filter(
    visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle
) -> None:
    page = visit(f"{served.url}#class=1,2&names=off")
    level = planted.layers[0].levels[looking.shown_level(page)]
    label, image = planted.images.label, planted.layers[0].samples.image
    verdicts = set()
    for cell in np.flatnonzero(level.has_icon)[::7]:
        page.mouse.move(*looking.centre(page, level, int(cell)))
        settle(page)
        card = page.locator(".card .verdict").inner_text().removeprefix("Icon: ")
        page.mouse.click(*looking.centre(page, level, int(cell)))
        where = f"column {level.level.column[cell]}, row {level.level.row[cell]} from"
        page.locator(".panel").get_by_text(where).wait_for()
        page.locator(".panel .trust .verdict").wait_for()
        assert page.locator(".panel .trust .verdict").inner_text().lower() == card
        verdicts.add(card)
        members = level.level.members[level.level.start[cell] : level.level.start[cell + 1]]
        left = int(np.isin(label[image[members]], [1, 2]).sum())
        page.locator(".left-of-cell").get_by_text(f"The filter leaves {left} of its {len(members)} sample").wait_for()
    assert len(verdicts) > 1


@pytest.mark.parametrize(
    ("clipboard", "said"),
    [
        ("{ writeText: async (words) => { window.copied = words; } }", "Copied"),
        ("{ writeText: async () => { throw new Error('refused'); } }", "Marked: copy them yourself"),
        ("undefined", "Marked: copy them yourself"),  # as on a page without TLS
    ],
)
def test_ids_are_copied_or_marked(
    visit: Visit, served: ServerHandle, planted: Atlas, clipboard: str, said: str
) -> None:
    page = visit(served.url)
    page.evaluate(f"Object.defineProperty(navigator, 'clipboard', {{ value: {clipboard} }})")
    level = planted.layers[0].levels[looking.shown_level(page)]
    page.mouse.click(*looking.centre(page, level, looking.largest_cell(level)))
    page.get_by_text("Ids of these").click()
    page.get_by_role("button", name="Copy", exact=True).click()
    page.get_by_role("button", name=said, exact=True).wait_for()
    ids = page.locator(".ids").inner_text()
    copied = (
        "window.copied" if said == "Copied" else f"{EXPLORER}.panel.element.getRootNode().getSelection().toString()"
    )
    assert page.evaluate(copied) == ids
    assert len(ids.split("\n")) == 16


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_a_hover_card_stays_on_the_map(visit: Visit, served: ServerHandle, planted: Atlas, width: int) -> None:
    page = visit(served.url, viewport={"width": width, "height": 800})
    level = planted.layers[0].levels[looking.shown_level(page)]
    frame = page.evaluate(FRAME)
    for cell in np.flatnonzero(level.has_icon)[::6]:
        x, y = looking.centre(page, level, int(cell))
        page.mouse.move(x, y)
        page.wait_for_timeout(60)
        card = page.locator(".card").bounding_box()
        if card is None:  # a button stands there
            continue
        assert card["x"] >= frame["left"]
        assert card["x"] + card["width"] <= frame["left"] + frame["width"]
        assert not (card["x"] < x < card["x"] + card["width"] and card["y"] < y < card["y"] + card["height"])
