"""A comparison in the explorer: its networks side by side, its columns, its list of what changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from looking import EXPLORER, Settle, Visit, addressed, data
from planted import write_planted_atlas

from atlas.explorer import export, start_server
from atlas.explorer.header import page_header
from atlas.explorer.points import live_points
from atlas.explorer.shards import Shards
from atlas.storage.atlas import Atlas, open_atlas
from atlas.storage.diff import write_diff_files

CHANGED = [3, 10, 17, 24, 31]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    folder = tmp_path_factory.mktemp("compared") / "planted.diff"
    atlas = open_atlas(write_planted_atlas(folder, images=200, samples_per_image=2, levels=1, layers=2))
    ids = atlas.images.ids
    texts = [("vanished", "5 pictures <b>dissolved</b>", CHANGED), ("merged", "Two classes became one", [1, 2])]
    document = {
        "kind": "diff",
        "schema": 1,
        "of": "networks",
        "same": False,
        "networks": [{"title": "layer1"}, {"title": "layer2"}],
        "cka": 0.9,
        "procrustes": 0.1,
        "neighbor_overlap": 0.6,
        "intervals": {},
        "noise_floor": {"kind": "sampling", "words": "as other images would move them"},
        "changes": [
            {"kind": kind, "score": 1.0, "p": 0.001, "images": [ids[i] for i in images], "classes": ["a"], "text": text}
            for kind, text, images in texts
        ],
        "classes": [],
        "flips": [],
        "notes": ["A note."],
    }
    columns = {"change": [f"{i / 200:.3f}" for i in range(200)], "verdict": ["same", "other"] * 100}
    write_diff_files(folder, document, {"overlap": np.zeros((1, 400), np.float32)}, ids, columns)
    return open_atlas(folder)


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
