"""What browser tests share: where things of the map are on the page, and what is seen there."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from atlas.explorer.points import live_points
from atlas.storage.atlas import Atlas

EXPLORER = "document.querySelector('.bk-Figure').atlasExplorer"

Visit = Callable[..., Any]
Settle = Callable[[Any], None]

FRAME = """() => {
    const { view } = document.querySelector('.bk-Figure').atlasExplorer;
    const outer = document.querySelector('.bk-Figure').getBoundingClientRect();
    const { left, top, width, height } = view.frame;
    return { left: outer.left + left, top: outer.top + top, width, height, scale: view.scale,
             x: view.worldX(0), y: view.worldY(0) };
}"""


def place(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a point of the unit square is on the page, in CSS pixels."""
    frame = page.evaluate(FRAME)
    return frame["left"] + (x - frame["x"]) * frame["scale"], frame["top"] + (frame["y"] - y) * frame["scale"]


def centre(page: Any, level: Any, cell: int) -> tuple[float, float]:
    column, row = int(level.level.column[cell]), int(level.level.row[cell])
    return place(page, (column + 0.5) / level.side, (row + 0.5) / level.side)


def data(page: Any, name: str) -> str:
    return str(page.evaluate(f"document.querySelector('.bk-Figure').dataset.{name}"))


def shown_level(page: Any) -> int:
    return int(data(page, "level"))


def pixels(page: Any) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)


def set_view(page: Any, x: float, y: float, scale: float, settle: Settle) -> None:
    view = f"{{ x: {x}, y: {y}, scale: {scale} }}"
    page.evaluate(f"document.querySelector('.bk-Figure').atlasExplorer.view.show({view})")
    page.wait_for_timeout(60)
    settle(page)


def addressed(page: Any) -> None:
    """Wait until the page's URL says what the page shows: it is written a moment later."""
    page.wait_for_function(f"{EXPLORER}.address.written === {EXPLORER}.addressText")


def link_of(page: Any) -> str:
    """The link to what the page shows now."""
    addressed(page)
    return str(page.url)


def settle_soon(page: Any, settle: Settle) -> None:
    """Wait until what was just done has been taken up, is painted, and stands in the URL."""
    page.wait_for_timeout(200)
    settle(page)
    addressed(page)


def drawn_box(page: Any, wanted: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of the box that was just drawn between two corners, as the page took it.

    A pointer is at whole pixels, and a sample may lie between the corner that was meant and the nearest of them.
    """
    corners = np.array(page.evaluate(f"{EXPLORER}.state.region.at(-1)"))
    (left, bottom), (right, top) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    pixel = 1 / page.evaluate(f"{EXPLORER}.selectedPane.view.scale")
    assert np.abs(np.subtract([(left, bottom), (right, top)], wanted)).max() <= pixel
    return left, bottom, right, top


def label_of_live(atlas: Atlas, layer: int = 0) -> np.ndarray:
    """Labels of the samples on the map."""
    samples = atlas.layers[layer].samples
    return atlas.images.label[samples.image[live_points(samples.positions, samples.state)]]


def largest_cell(level: Any) -> int:
    """A cell with an icon and many images, away from the middle: a mix-up of axes would show."""
    column, row = level.level.column, level.level.row
    away = np.abs(column - row) + np.abs(column - (level.side - 1 - row)) > 2
    return int(np.where(level.has_icon & away, level.level.images, -1).argmax())
