"""A comparison in the explorer: its networks side by side, its columns, its list of what changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from comparisons import CHANGED
from looking import EXPLORER, Settle, Visit, addressed, data

from atlas.explorer import export, start_server
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
