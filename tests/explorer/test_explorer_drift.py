"""Curves of a comparison of many networks: drawn where they belong, and a way to each network."""

from __future__ import annotations

import numpy as np
import pytest
from comparisons import cell_figures, share_the_map
from looking import EXPLORER, Visit
from planted import write_planted_atlas

from atlas.explorer import start_server
from atlas.storage.atlas import Atlas, open_atlas
from atlas.storage.diff import write_diff_files

FIRST, BEFORE = [0.9, 0.5, 0.25], [0.9, 0.7, 0.6]


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    folder = tmp_path_factory.mktemp("steps") / "steps.diff"
    write_planted_atlas(folder, images=120, levels=1, layers=4)
    share_the_map(folder)
    atlas = open_atlas(folder)
    curve = [
        {
            "title": f"layer{i + 2}",
            "first": {"cka": first, "procrustes": 0.1, "neighbor_overlap": first / 2},
            "previous": {"cka": before, "procrustes": 0.1, "neighbor_overlap": None},
        }
        for i, (first, before) in enumerate(zip(FIRST, BEFORE, strict=True))
    ]
    document = {
        "of": "networks", "same": False, "networks": [{"title": f"layer{i + 1}"} for i in range(4)], "cka": 0.25,
        "procrustes": 0.1, "neighbor_overlap": 0.1, "noise_floor": {"kind": "sampling", "words": "no words"},
        "curve": curve, "changes": [], "tested": {"tests": 1}, "classes": [], "flips": [], "notes": [],
    }  # fmt: skip
    columns = {"change": [f"{i / 120:.3f}" for i in range(120)]}
    said = {
        "prediction": np.tile(atlas.images.prediction, (4, 1)),
        "confidence": np.tile(atlas.images.confidence, (4, 1)),
    }
    arrays = {"overlap": np.zeros((3, 120), np.float32), **said, **cell_figures(atlas)}
    write_diff_files(folder, document, arrays, atlas.images.ids, columns)
    return open_atlas(folder)


@pytest.mark.browser
def test_the_curves_go_through_their_figures_and_lead_to_networks(visit: Visit, steps: Atlas) -> None:
    with start_server(steps) as handle:
        page = visit(handle.url)
        lines = [
            [tuple(map(float, corner.split(","))) for corner in (line.get_attribute("points") or "").split()]
            for line in page.locator(".drift polyline").all()
        ]
        guides = page.locator(".drift line").all()
        zero, one = (float(guides[i].get_attribute("y1")) for i in (0, 2))
        heights = [[(y - zero) / (one - zero) for _, y in line] for line in lines]
        np.testing.assert_allclose(heights[0], [1, *FIRST], atol=1e-6)
        np.testing.assert_allclose(heights[1], BEFORE, atol=1e-6)
        assert [x for x, _ in lines[0][1:]] == [x for x, _ in lines[1]]
        assert lines[3] == []  # figures that cannot be told
        titles = page.locator(".drift .stop title").all_text_contents()
        assert titles[0] == "layer1"
        assert titles[2].splitlines()[:2] == ["layer3", "CKA, against the first: 0.50"]
        page.locator(".drift .stop").nth(2).click()
        assert page.evaluate(f"{EXPLORER}.state.layer") == 2
