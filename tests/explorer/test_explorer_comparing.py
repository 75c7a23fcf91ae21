"""A comparison in the explorer: its networks side by side, its columns, its list of what changed."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from comparisons import CHANGED
from looking import EXPLORER, Settle, Visit, addressed, centre, data, link_of, pixels
from PIL import Image

from atlas.explorer import export, start_server
from atlas.explorer.cells import LevelCells
from atlas.explorer.comparing import beyond_floor, cell_change
from atlas.explorer.header import page_header
from atlas.explorer.points import live_points
from atlas.explorer.shards import Shards
from atlas.storage.atlas import Atlas


def test_a_header_tells_of_a_comparison_alone(compared: Atlas, planted: Atlas) -> None:
    told = page_header(Shards(compared), "site", "site")
    assert [column["name"] for column in told["columns"]] == ["change", "verdict"]
    assert told["diff"]["layer"] == "Network"
    assert told["diff"]["changes"][0]["images"] == CHANGED
    assert told["diff"]["changes"][0] | {"text": ""} == {
        "kind": "vanished", "classes": ["a"], "text": "", "p": 0.003, "count": 12, "images": CHANGED
    }  # fmt: skip
    assert [row["images"] for row in told["diff"]["flips"]] == [20, 18, 17, 16]
    assert [row["class"] for row in told["diff"]["classes"]] == [f"class {c}" for c in range(5)]
    change, verdict = told["columns"]
    assert "10 nearest" in change["words"]
    assert "words" not in verdict
    assert page_header(Shards(planted), "site", "site")["diff"] is None


def test_a_cell_tells_what_changed_in_it(compared: Atlas, planted: Atlas) -> None:
    wanted = np.linspace(0, 1, len(compared.layers[0].levels[0]), dtype=np.float32)
    for layer in (0, 1):
        for cell in range(len(wanted)):
            change = cell_change(compared, layer, 0, cell)
            assert change is not None
            assert change["between"] == [0, 1]
            assert change["accuracy"] == pytest.approx([0.82, 0.59])
            assert change["effects"] == [[1, -0.5], [2, 0.25]]
            assert (change["flips"], change["overlap"]) == pytest.approx((0.41, wanted[cell]), abs=1e-3)
    assert cell_change(planted, 0, 0, 0) is None


def test_cells_within_the_noise_floor_are_known(compared: Atlas, planted: Atlas) -> None:
    p = np.linspace(0, 1, len(compared.layers[0].levels[0]))
    wanted = np.where(np.arange(len(p)) % 7 == 0, 2, p < 0.05)
    for layer in (0, 1):
        found = beyond_floor(compared, layer, 0)
        np.testing.assert_array_equal(found, wanted)
        shard = Shards(compared).value("cells", layer, 0)
        assert base64.b64decode(shard["beyond"]) == wanted.astype(np.uint8).tobytes()
    assert set(wanted.tolist()) == {0, 1, 2}
    assert beyond_floor(planted, 0, 0) is None
    assert "beyond" not in Shards(planted).value("cells", 0, 0)


def test_a_changes_first_pictures_come_in_stored_order(compared: Atlas, planted: Atlas) -> None:
    shards = Shards(compared)
    strip = shards.value("strip", 0)
    assert strip["images"] == CHANGED
    assert strip["ids"] == [compared.images.ids[image] for image in CHANGED]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(strip["sheet"].partition(",")[2])))).astype(int)
    size = compared.header.thumbnail_size
    for slot, image in enumerate(CHANGED):
        top, left = slot // 3 * size, slot % 3 * size
        assert np.abs(sheet[top : top + size, left : left + size] - compared.thumbnail(image)).mean() < 12
    assert {("strip", (0,)), ("strip", (1,))} <= set(shards.all_keys())
    bare = Shards(compared, pictures=False)
    assert not any(kind == "strip" for kind, _ in bare.all_keys())
    for other, number in ((bare, 0), (shards, 2), (Shards(planted), 0)):
        with pytest.raises(LookupError):
            other.value("strip", number)


@pytest.mark.browser
def test_pictures_of_changes_and_pale_cells(visit: Visit, compared: Atlas, settle: Settle) -> None:
    with start_server(compared) as handle:
        page = visit(f"{handle.url}#samples=off&names=off&size=full&beside=off&colour=plain")
        strip = page.locator(".strip-of-nine").first
        strip.locator("canvas").nth(len(CHANGED) - 1).wait_for()
        ids = strip.locator("button").evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
        assert ids == [compared.images.ids[image] for image in CHANGED]
        strip.locator("button").first.click()
        page.get_by_text(f"of {compared.images.ids[CHANGED[0]]}").wait_for()
        page.keyboard.press("Escape")
        level, found = compared.layers[0].levels[0], beyond_floor(compared, 0, 0)
        assert found is not None
        places = [centre(page, level, cell) for cell in range(len(level))]

        def inks() -> np.ndarray:
            settle(page)
            picture = pixels(page)
            return np.array([255 - picture[round(y), round(x)].min() for x, y in places])

        paled = inks()
        page.keyboard.press("e")
        full = inks()
        there = (full > 60) & level.has_icon
        assert (found[there] == 0).sum() > 3
        np.testing.assert_allclose(paled[there] / full[there], np.where(found[there] == 0, 0.4, 1), atol=0.06)
        addressed(page)
        assert "floor=off" in page.url
        assert not page.get_by_label("Pale: cells within the noise floor").is_checked()


@pytest.mark.browser
def test_the_panel_tells_the_figures_of_a_cell_and_of_what_changed(visit: Visit, compared: Atlas) -> None:
    level = compared.layers[0].levels[0]
    cell = int(np.where(level.has_icon, level.level.images, -1).argmax())
    column, row = int(level.level.column[cell]), int(level.level.row[cell])
    with start_server(compared) as handle:
        page = visit(f"{handle.url}#in=beside&cell=0,{column},{row}")
        words = page.locator(".cell-change")
        words.wait_for()
        common = f"{np.linspace(0, 1, len(level))[cell]:.2f}"
        said = words.inner_text().replace("\u00a0", " ")
        assert said == f"layer1 82 % → layer2 59 % right, 41 % predicted otherwise, neighbours in common {common}"
        assert page.locator(".panel-head p").inner_text().startswith("layer2 · Level 0")
        changed = page.locator(".panel section", has_text="Effects that changed most").locator(".bar-row")
        assert [words.split("\n")[-1] for words in changed.all_inner_texts()] == ["−0.50", "+0.25"]
        page.keyboard.press("Escape")
        page.locator(".changes li").first.get_by_text("p\u00a00.003 · 5 of 12 images shown").wait_for()
        assert page.locator(".changes li").nth(1).inner_text().endswith("p\u00a00.003 · 2 images")
        page.get_by_text("Predictions that changed").click()
        assert page.locator(".changes tr").nth(1).inner_text().split() == [
            "class",
            "0",
            "→",
            "class",
            "1",
            "20",
            "1",
            "9",
        ]
        heading = page.locator(".legend h3").inner_text()
        assert heading == "change: share of the nearest that are others"
        names = page.locator(".legend .name").all_inner_texts()
        assert all("%" in name for name in names)
        ends = [[float(word) for word in name.replace("\u00a0", " ").split() if word[0].isdigit()] for name in names]
        assert [low for low, *_ in ends[:-1]] == [one[-1] for one in ends[1:]]  # one step begins where the next ends


@pytest.mark.browser
@pytest.mark.parametrize("home", ["server", "site"])
def test_a_comparison_opens_as_two_maps_and_a_list(
    visit: Visit, compared: Atlas, tmp_path: Path, settle: Settle, home: str
) -> None:
    with start_server(compared) as handle:
        page = visit(handle.url if home == "server" else export(compared, tmp_path / "site").as_uri())
        assert data(page, "beside") == "1"
        assert page.evaluate(f"{EXPLORER}.state.colour") == "column0"
        assert page.get_by_label("Network", exact=True).count() == 1
        changes = page.locator(".change")
        assert changes.all_inner_texts() == ["5 pictures <b>dissolved</b>", "Two classes became one"]
        assert "CKA 0.90" in page.locator(".changes").inner_text()
        changes.first.click()
        samples = compared.layers[0].samples
        left = int(np.isin(samples.image[live_points(samples.positions, samples.state)], CHANGED).sum())
        page.locator(".status").get_by_text(f"{left} of 398 samples: vanished: a").wait_for()
        assert page.evaluate(f"{EXPLORER}.panes[1].points.liveCount") > 0
        addressed(page)
        again = visit(link_of(page))
        again.locator(".passing").get_by_text(f"{left} of 398 samples").wait_for()
        again.locator(".change[aria-pressed=true]").click()
        again.locator(".passing").get_by_text("398 of 398 samples").wait_for()
        again.keyboard.press("t")
        addressed(again)
        assert "beside=off" in again.url
        assert data(visit(again.url), "beside") == ""


def test_a_cell_of_enough_images_without_icon_is_bare(compared: Atlas) -> None:
    level = compared.layers[0].levels[0]
    cells = LevelCells(level)
    least = int(level.level.images[level.level.kept].min())
    assert not any(cells.summary(cell)["bare"] for cell in range(len(level)))  # each has an icon or too few images
    lost = int(np.flatnonzero(level.has_icon & (level.level.images > least))[0])
    level.has_icon[lost] = False
    try:
        assert [cell for cell in range(len(level)) if cells.summary(cell)["bare"]] == [lost]
    finally:
        level.has_icon[lost] = True


@pytest.mark.browser
def test_a_bare_cell_shows_its_patch_beneath_small_dots(visit: Visit, compared: Atlas) -> None:
    with start_server(compared) as handle:
        page = visit(handle.url)
        stands = f"""(() => {{
            const {{ tiles, layer, level }} = {EXPLORER};
            const tile = [...tiles.tiles.values()].find((one) => one.key.startsWith('0/0/'));
            const cell = tile.cells.find((one) => one.icon && one.real);
            const before = tiles.sheets(tile, 0, level).length;
            Object.assign(cell, {{ icon: false, bare: true }});
            return [before, tiles.sheets(tile, 0, level).length];
        }})()"""
        assert page.evaluate(stands) == [1, 2]
        radius = f"(area) => {{ const {{ points }} = {EXPLORER}.panes[0]; points.area = area; "
        radius += f"return points.radius({EXPLORER}.view); }}"
        # As crowded as twenty times the samples, ten times, and so on: never so large that they cover what they lie on.
        radii = [page.evaluate(radius, area) for area in (0.05, 0.1, 0.5, 1, 2, 5, 20, 100)]
        assert radii == sorted(radii)
        assert radii[0] < 1.7
        assert radii[-1] == 5
        assert "same images at the same places" in page.locator(".help").inner_html()
        for _ in range(3):
            page.keyboard.press("Escape")
        assert data(page, "beside") == "1"
