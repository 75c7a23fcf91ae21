"""Without a mouse: drawing by keys, and fingers on either map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from looking import EXPLORER, FRAME, Settle, Visit, place, settle_soon

from atlas.explorer import ServerHandle
from atlas.explorer.points import live_points
from atlas.storage.atlas import Atlas

pytestmark = pytest.mark.browser

VIEW = f"() => {{ const {{ view }} = {EXPLORER}.panes[PANE]; return {{ ...view.centre, frame: view.frame }}; }}"


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def samples_inside(atlas: Atlas, outline: list[list[float]]) -> int:
    """Live samples inside a convex outline of corners in order, by the sign of each edge's cross product."""
    samples = atlas.layers[0].samples
    places = samples.positions[live_points(samples.positions, samples.state)]
    corners = np.array(outline)
    along = np.roll(corners, -1, axis=0) - corners
    away = places[:, None] - corners
    side = along[:, 0] * away[..., 1] - along[:, 1] * away[..., 0]
    return int(((side > 0).all(axis=1) | (side < 0).all(axis=1)).sum())


def test_a_box_is_drawn_by_keys(visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle) -> None:
    page = visit(served.url)
    frame, centre = page.evaluate(FRAME), page.evaluate(f"{EXPLORER}.view.centre")
    step = min(frame["width"], frame["height"]) / 40 / frame["scale"]
    press(page, "b", *["ArrowLeft"] * 3, "ArrowDown", "Enter", *["ArrowRight"] * 9, *["ArrowUp"] * 7, "Enter")
    settle_soon(page, settle)
    (outline,) = page.evaluate(f"{EXPLORER}.state.region")
    left, bottom = centre["x"] - 3 * step, centre["y"] - step
    right, top = left + 9 * step, bottom + 7 * step
    wanted = [[left, bottom], [right, bottom], [right, top], [left, top]]
    np.testing.assert_allclose(outline, wanted, atol=1e-6)
    inside = samples_inside(planted, wanted)
    assert inside > 0
    assert page.locator(".selection h2").inner_text() == f"{inside} samples"
    press(page, "b", "ArrowLeft", "Enter", *["ArrowLeft"] * 9, *["ArrowUp"] * 9, "Shift+Enter")
    settle_soon(page, settle)
    assert page.evaluate(f"{EXPLORER}.state.region.length") == 2


def test_a_lasso_and_a_walk_are_drawn_by_keys(
    visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle
) -> None:
    page = visit(served.url)
    press(page, "l", "Space", *["ArrowRight"] * 9, "Space", *["ArrowUp"] * 3, "Space", "Backspace", *["ArrowUp"] * 5)
    assert page.evaluate(f"{EXPLORER}.input.pen.corners.length") == 2
    page.keyboard.press("Enter")
    settle_soon(page, settle)
    (outline,) = page.evaluate(f"{EXPLORER}.state.region")
    assert len(outline) == 3
    assert page.locator(".selection h2").inner_text() == f"{samples_inside(planted, outline)} samples"
    assert page.evaluate(f"{EXPLORER}.input.tool") == "move"
    press(page, "Escape", "w", "Space", *["ArrowLeft"] * 9, "Enter")
    page.locator(".walk svg polyline").first.wait_for()
    press(page, "Escape", "l", "ArrowLeft", "Space", "Escape", "Enter")
    assert page.evaluate(f"{EXPLORER}.input.pen.cross") is None  # Escape lays the tool down


def test_a_tools_button_gives_its_keys_to_the_map(visit: Visit, served: ServerHandle) -> None:
    page = visit(served.url)
    page.locator(".tools button[data-tool=lasso]").focus()
    press(page, "Enter", "Space", "ArrowRight", "Space")
    assert page.evaluate(f"{EXPLORER}.input.pen.corners.length") == 2


@pytest.mark.parametrize("pane", [0, 1])
def test_two_fingers_zoom_and_move_either_map(visit: Visit, served: ServerHandle, settle: Settle, pane: int) -> None:
    page = visit(f"{served.url}#beside=1&names=off", has_touch=True)
    settle_soon(page, settle)
    client = page.context.new_cdp_session(page)
    before = page.evaluate(VIEW.replace("PANE", str(pane)))
    other = page.evaluate(VIEW.replace("PANE", str(1 - pane)))
    outer = page.evaluate(
        "(() => { const r = document.querySelector('.bk-Figure').getBoundingClientRect(); return [r.left, r.top]; })()"
    )
    frame = before["frame"]
    x, y = outer[0] + frame["left"] + frame["width"] / 2, outer[1] + frame["top"] + frame["height"] / 2

    def touch(kind: str, *apart: float, right: float = 0) -> None:
        points = [{"x": x + right + sign * half, "y": y, "id": i} for half in apart for i, sign in enumerate((-1, 1))]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 40)
    for i in range(1, 9):
        touch("touchMove", 40 + 5 * i)
    if pane == 1:
        for i in range(1, 5):
            touch("touchMove", 80, right=5 * i)
    touch("touchEnd")
    settle_soon(page, settle)
    after = page.evaluate(VIEW.replace("PANE", str(pane)))
    if pane == 1:
        assert after["scale"] == pytest.approx(2 * before["scale"], rel=1e-3)
        assert after["x"] == pytest.approx(before["x"] - 20 / after["scale"], abs=1e-3)
        assert after["y"] == pytest.approx(before["y"], abs=1e-3)
    else:
        assert after["scale"] > 1.3 * before["scale"]  # Bokeh's own tool, and its own pace
    assert page.evaluate(VIEW.replace("PANE", str(1 - pane))) == other
    assert page.evaluate(f"{EXPLORER}.state.selected") is None
    assert place(page, 0, 0) is not None


@pytest.mark.parametrize("pane", [0, 1])
def test_a_tap_opens_a_cell_and_a_finger_moves_the_map(
    visit: Visit, served: ServerHandle, planted: Atlas, settle: Settle, pane: int
) -> None:
    page = visit(f"{served.url}#beside=1&names=off", has_touch=True)
    settle_soon(page, settle)
    level = planted.layers[pane].levels[0]
    cell = int(np.where(level.has_icon, level.level.images, -1).argmax())
    middle = [(int(level.level.column[cell]) + 0.5) / level.side, (int(level.level.row[cell]) + 0.5) / level.side]
    at = f"""([x, y]) => {{ const {{ view }} = {EXPLORER}.panes[{pane}], {{ left, top }} = view.frame;
        const outer = {EXPLORER}.plot.el.getBoundingClientRect();
        return [outer.left + left + view.screenX(x), outer.top + top + view.screenY(y)]; }}"""
    x, y = page.evaluate(at, middle)
    page.touchscreen.tap(x, y)
    page.locator(".panel .numbers").wait_for()
    assert page.locator(".panel .numbers dd").all_inner_texts()[0] == str(level.level.images[cell])
    assert page.evaluate(f"{EXPLORER}.state.pane") == pane
    client = page.context.new_cdp_session(page)
    for kind, right in (("touchStart", 0), *(("touchMove", 6 * i) for i in range(1, 9))):
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x + right, "y": y}]})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    settle_soon(page, settle)
    moved = page.evaluate(at, middle)
    assert moved[0] - x == pytest.approx(48, abs=12 if pane == 0 else 1)  # Bokeh's tool begins after some pixels
    assert moved[1] == pytest.approx(y, abs=1)
