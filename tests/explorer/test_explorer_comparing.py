"""A comparison in the explorer: its networks side by side, its columns, its list of what changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from comparisons import CHANGED
from looking import EXPLORER, Settle, Visit, addressed, data

from atlas.explorer import export, start_server
from atlas.explorer.cells import LevelCells
from atlas.explorer.header import page_header
from atlas.explorer.points import live_points
from atlas.explorer.shards import Shards
from atlas.storage.atlas import Atlas


def test_a_header_tells_of_a_comparison_alone(compared: Atlas, planted: Atlas) -> None:
    told = page_header(Shards(compared), "site", "site")
    assert [column["name"] for column in told["columns"]] == ["change", "verdict"]
    assert told["diff"]["layer"] == "Network"
    assert told["diff"]["changes"][0]["images"] == CHANGED
    assert page_header(Shards(planted), "site", "site")["diff"] is None


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
        again = visit(page.url)
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
        radius = f"{EXPLORER}.panes[0].points.radius({EXPLORER}.view)"
        roomy = page.evaluate(radius)
        page.evaluate(f"{EXPLORER}.panes[0].points.area = 0.05")  # as crowded as twenty times the samples
        assert roomy > 4 > 1.7 > page.evaluate(radius)
        assert "same images at the same places" in page.locator(".help").inner_html()
        for _ in range(3):
            page.keyboard.press("Escape")
        assert data(page, "beside") == "1"
