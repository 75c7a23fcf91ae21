"""Six views beside pictures of how they should look, kept in references/.

Compared by blocks of 16 pixels: a block differs when its mean colour does by more than a tenth, so that another font,
which moves strokes about, changes few blocks, and another layout, theme or palette changes many. A change that is meant
to be seen: look at the new pictures, which a failing test leaves beside pytest's own files, and renew the old with

    ATLAS_RENEW_REFERENCES=1 python -m pytest tests/explorer/test_explorer_references.py
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from looking import FRAME, Settle, Visit
from PIL import Image, ImageChops

from atlas.explorer import ServerHandle, start_server
from atlas.storage.atlas import Atlas
from atlas.storage.suspects import read_suspects

pytestmark = pytest.mark.browser

REFERENCES = Path(__file__).parent / "references"
SIZE = (640, 360)  # half of the page's: small files
BLOCK = 8  # of half pixels
TENTH = 26
MAP_MAY_DIFFER = 0.01  # of the map's blocks: it holds no words
PAGE_MAY_DIFFER = 0.06  # of all: words, and what they push down
VIEWS = {
    "light": ("names=off&level=0", "light"),
    "dark": ("names=off&samples=over&colour=correct&show=pictures", "dark"),
    "panel": ("names=off&cell=0,6,4&colour=effect&effect=0", "light"),
    "suspects": ("names=off&layer=1", "light"),
    "suspect": ("names=off&layer=1&suspect=FIRST", "dark"),
    "two": ("names=off&beside=1&size=full&region=7000,3500,9500,3500,9500,6500,7000,6500", "light"),
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_looks_as_it_did(
    visit: Visit, served: ServerHandle, suspected: Atlas, settle: Settle, tmp_path: Path, view: str
) -> None:
    address, scheme = VIEWS[view]
    if view.startswith("suspect"):
        found = read_suspects(suspected)
        assert found is not None
        with start_server(suspected) as handle:
            page = visit(f"{handle.url}#{address.replace('FIRST', found.listed[0]['id'])}", color_scheme=scheme)
            compare(page, settle, tmp_path, view)
    else:
        compare(visit(f"{served.url}#{address}", color_scheme=scheme), settle, tmp_path, view)


def compare(page: Any, settle: Settle, tmp_path: Path, view: str) -> None:
    """Hold what a page shows against its reference."""
    page.wait_for_timeout(400)
    settle(page)
    if view == "panel":
        page.locator(".patch img[src]").nth(15).wait_for()
    if view == "suspect":
        page.locator(".suspect-panel .verdict").first.wait_for()
    page.wait_for_timeout(400)
    shot, reference = taken(page), REFERENCES / f"{view}.jpg"
    if os.environ.get("ATLAS_RENEW_REFERENCES"):
        shot.save(reference, quality=85)
    wanted = Image.open(reference).convert("RGB")
    differing = blocks_that_differ(shot, wanted)
    frame = page.evaluate(FRAME)
    left, top = (int(np.ceil(frame[side] / 2 / BLOCK)) for side in ("left", "top"))
    right, bottom = int((frame["left"] + frame["width"]) / 2 / BLOCK), int((frame["top"] + frame["height"]) / 2 / BLOCK)
    on_map = differing[top + 4 : bottom, left:right]  # beneath the line that names the level
    shot.save(tmp_path / f"{view}.png")
    said = f"{on_map.mean():.1%} of the map, {differing.mean():.1%} of the page look otherwise: see {tmp_path}"
    assert on_map.mean() <= MAP_MAY_DIFFER, said
    assert differing.mean() <= PAGE_MAY_DIFFER, said


def taken(page: Any) -> Image.Image:
    """The page as it looks, at half its size."""
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB").resize(SIZE, Image.Resampling.BOX)


def blocks_that_differ(one: Image.Image, other: Image.Image) -> np.ndarray:
    """bool (rows, columns): blocks whose mean colour differs by more than a tenth in any channel."""
    small = (SIZE[0] // BLOCK, SIZE[1] // BLOCK)
    means = [picture.resize(small, Image.Resampling.BOX) for picture in (one, other)]
    return np.asarray(ImageChops.difference(*means)).max(axis=-1) > TENTH


def test_another_look_would_be_noticed() -> None:
    light, dark, two = (Image.open(REFERENCES / f"{view}.jpg").convert("RGB") for view in ("light", "dark", "two"))
    assert blocks_that_differ(light, dark).mean() > 0.5
    assert blocks_that_differ(light, two).mean() > 2 * PAGE_MAY_DIFFER
    red, green, blue = light.split()
    assert blocks_that_differ(light, Image.merge("RGB", (blue, green, red))).mean() > 2 * PAGE_MAY_DIFFER
    assert blocks_that_differ(light, ImageChops.offset(light, 24, 0)).mean() > 2 * PAGE_MAY_DIFFER
    assert blocks_that_differ(light, light.resize((320, 180)).resize(SIZE)).mean() < MAP_MAY_DIFFER
