"""What a cell's images are taken for, counted, sent and shown."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from looking import Visit, centre, shown_level

from atlas.explorer import ServerHandle
from atlas.explorer.confusions import PAIRS_TOLD, confusions
from atlas.explorer.shards import Shards
from atlas.storage.atlas import Atlas, open_atlas


def test_confusions_are_those_of_a_slow_count() -> None:
    rng = np.random.default_rng(0)
    label, prediction = rng.integers(-1, 5, (2, 400))
    pairs = [(a, b) for a, b in zip(label.tolist(), prediction.tolist(), strict=True) if a != b and min(a, b) >= 0]
    wanted = sorted(Counter(pairs).items(), key=lambda item: (-item[1], item[0]))
    told = confusions(label, prediction)
    assert told["pairs"] == [[*pair, images] for pair, images in wanted[:PAIRS_TOLD]]
    assert told["images"] == len(pairs)
    assert told["others"] == sum(images for _, images in wanted[PAIRS_TOLD:]) > 0


def test_nothing_wrong_is_no_confusion() -> None:
    assert confusions(np.array([2, 2, -1, 3]), np.array([2, 2, 1, -1])) == {"images": 0, "pairs": [], "others": 0}
    assert confusions(np.array([], int), np.array([], int)) == {"images": 0, "pairs": [], "others": 0}


def test_a_cell_counts_images_not_samples(planted: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = open_atlas(planted.path)  # its answers are kept once they have been asked for
    # All 300 even images wrong, three samples each.
    wrong = np.where(np.arange(600) % 2, planted.images.label, (planted.images.label + 1) % 7)
    monkeypatch.setitem(vars(planted.images), "prediction", wrong)
    told = Shards(planted).value("detail", 0, 0, 0, 0)["cells"]
    level, samples = planted.layers[0].levels[0].level, planted.layers[0].samples
    several = 0
    for detail in told.values():
        cell = detail["cell"]
        members = level.members[level.start[cell] : level.start[cell + 1]]
        images = {i for i in samples.image[members].tolist() if i % 2 == 0 and planted.images.label[i] >= 0}
        assert detail["confusions"]["images"] == len(images)
        several += len(members) > len(set(samples.image[members].tolist()))
    assert several > 0


def test_classes_that_do_not_match_are_not_compared(planted: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planted, "aligned", False)
    told: dict[str, Any] = Shards(planted).value("detail", 0, 0, 0, 0)["cells"]
    assert told
    assert all(detail["confusions"] is None for detail in told.values())


@pytest.mark.browser
def test_the_panel_says_what_is_taken_for_what(visit: Visit, served: ServerHandle, planted: Atlas) -> None:
    page = visit(served.url)
    layer = planted.layers[0]
    level = layer.levels[shown_level(page)]
    row = 2  # of image 0, the one that is wrong; its other samples have no place
    at = (layer.samples.positions[row] * level.side).astype(int)
    cell = level.find(int(at[0]), int(at[1]))
    assert cell is not None
    page.mouse.click(*centre(page, level, cell))
    shown = page.locator(".confusion")
    shown.wait_for()
    assert shown.inner_text().split("\n") == ["class 0 → class 1", "1"]
    assert page.get_by_text("Wrong: 1 image, label → prediction").count() == 1
