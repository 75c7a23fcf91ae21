"""What the network makes of one image: on request beside a server, and put into a site."""

from __future__ import annotations

import http.client
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from looking import EXPLORER, Settle, Visit, place
from PIL import Image

from atlas.comparison import compare
from atlas.demo import shipped
from atlas.errors import AtlasError
from atlas.explorer import ServerHandle, export, start_server
from atlas.explorer.editions import Editions
from atlas.explorer.views import Pages
from atlas.pipeline import build
from atlas.storage.atlas import Atlas, open_atlas
from tests.tiny import write_tiny_pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("views")
    build(write_tiny_pipeline(folder, images=48), folder / "tiny.atlas", overrides=["model.layers=['1']"])
    (folder / "one.toml").write_text((folder / "tiny.toml").read_text().replace('["1", "3"]', '["1"]'))
    return folder


@pytest.fixture(scope="module")
def with_network(folder: Path) -> Iterator[ServerHandle]:
    with start_server(folder / "tiny.atlas", pipelines=[folder / "one.toml"]) as handle:
        yield handle


def ask(
    served: ServerHandle, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=240)
    connection.request(method, path, body if method == "POST" else None, headers)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def test_an_images_page_is_made_and_may_do_nothing(folder: Path, with_network: ServerHandle) -> None:
    token = Editions(folder / "tiny.atlas").newest()[0]
    name = open_atlas(folder / "tiny.atlas").images.ids[7]
    status, _, body = ask(with_network, "POST", f"/view/{token}/7")
    assert (status, json.loads(body)) == (200, {"page": f"view/{token}/7.html"})
    status, headers, body = ask(with_network, "GET", f"/view/{token}/7.html")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "sandbox" in headers["Content-Security-Policy"]
    page = body.decode()
    assert name in page
    assert "On the map of 1" in page
    assert not re.search(r"<script|https?://", page)
    assert "error" in json.loads(ask(with_network, "POST", f"/view/{token}/48")[2])
    assert ask(with_network, "POST", "/view/0123456789abcdef/7")[0] == 404
    assert ask(with_network, "POST", f"/view/{token}/7", Origin="http://elsewhere.example")[0] == 403


def test_a_picture_of_ones_own_has_a_page_too(folder: Path, with_network: ServerHandle) -> None:
    token = Editions(folder / "tiny.atlas").newest()[0]
    buffer = io.BytesIO()
    Image.new("RGB", (90, 70), "orange").save(buffer, "PNG")
    path = f"/view/{token}/own?name=" + quote("<script>alert(1)</script>.png")
    status, _, body = ask(with_network, "POST", path, buffer.getvalue())
    assert status == 200
    status, headers, body = ask(with_network, "GET", "/" + json.loads(body)["page"])
    assert (status, "sandbox" in headers["Content-Security-Policy"]) == (200, True)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.png" in body.decode()
    assert "<script" not in body.decode()
    assert "no picture that can be read" in json.loads(ask(with_network, "POST", path, b"broken")[2])["error"]
    assert ask(with_network, "GET", f"/view/{token}/own/999999999.html")[0] == 404


def test_without_a_network_there_is_no_page(served: ServerHandle, planted: Atlas) -> None:
    token = Editions(planted.path).newest()[0]
    assert ask(served, "POST", f"/view/{token}/7")[0] == 404
    assert ask(served, "GET", f"/view/{token}/7.html")[0] == 404


def test_few_pages_are_kept() -> None:
    pages = Pages()
    for image in range(20):
        pages.put("t", image, b"page")
        pages.get("t", 0)
    assert pages.get("t", 0) == b"page"
    assert pages.get("t", 1) is None
    assert pages.get("t", 19) == b"page"


def test_a_site_has_the_pages_that_were_asked_for(folder: Path) -> None:
    ids = open_atlas(folder / "tiny.atlas").images.ids
    page = export(folder / "tiny.atlas", folder / "site", pipeline=folder / "one.toml", views=[ids[3]])
    assert [path.name for path in (folder / "site" / "views").iterdir()] == ["3.html"]
    assert ids[3] in (folder / "site" / "views" / "3.html").read_text()
    assert re.search(r'"views":\s*\[3\]|\\"views\\":\s*\[3\]', page.read_text())
    export(folder / "tiny.atlas", folder / "site")  # replaces it
    assert not (folder / "site" / "views").exists()
    with pytest.raises(AtlasError, match="no image 'nobody'"):
        export(folder / "tiny.atlas", folder / "site", pipeline=folder / "one.toml", views=["nobody"])
    with pytest.raises(AtlasError, match="take the network"):
        export(folder / "tiny.atlas", folder / "site", views=[ids[3]])
    with pytest.raises(AtlasError, match="a site without pictures has none"):
        export(folder / "tiny.atlas", folder / "site", pictures=False, pipeline=folder / "one.toml", views=[ids[3]])


def open_largest_cell(page: Any, atlas: Path) -> None:
    level = open_atlas(atlas).layers[0].levels[0]
    cell = int(level.level.images.argmax())
    place = {"level": 0, "column": int(level.level.column[cell]), "row": int(level.level.row[cell])}
    page.evaluate(f"(place) => {EXPLORER}.set({{ selected: place }})", place)
    page.locator(".patches button").first.wait_for()


@pytest.mark.browser
def test_the_panel_leads_to_an_images_page(folder: Path, with_network: ServerHandle, visit: Visit) -> None:
    page = visit(with_network.url)
    open_largest_cell(page, folder / "tiny.atlas")
    page.locator(".patches button").first.click()
    page.locator(".caption").get_by_role("button", name="Look inside").click()
    link = page.locator(".caption").get_by_role("link", name="Open its page")
    link.wait_for(timeout=240_000)
    assert re.fullmatch(r"view/[0-9a-f]{16}/\d+\.html", link.get_attribute("href") or "")
    with page.context.expect_page() as opened:
        link.click()
    opened.value.wait_for_load_state()
    assert opened.value.get_by_role("heading", name="On the map of 1").count() == 1


@pytest.mark.browser
def test_beside_a_comparison_a_compared_network_looks_inside_and_does_nothing_else(folder: Path, visit: Visit) -> None:
    build(folder / "tiny.toml", folder / "deeper.atlas", overrides=["model.layers=['3']"])
    diff = compare(folder / "tiny.atlas", folder / "deeper.atlas", out=folder / "tiny-deeper.diff").atlas
    with start_server(diff, pipelines=[folder / "one.toml"]) as served:
        token = Editions(diff.path).newest()[0]
        status, _, body = ask(served, "POST", f"/view/{token}/7")
        assert status == 200, body
        page = ask(served, "GET", "/" + json.loads(body)["page"])[2].decode()
        assert f"{diff.images.ids[7]}, seen by tiny" in page
        assert "looks inside pictures alone" in json.loads(ask(served, "POST", f"/network/{token}/0")[2])["error"]
        seen = visit(served.url)
        seen.evaluate(f"{EXPLORER}.goToImage(7)")
        seen.locator(".note").get_by_role("button", name="Look inside").wait_for()
        assert seen.get_by_role("button", name="Your picture").count() == 0
    with start_server(diff, pipelines=[shipped("pipelines/shapes_honest.toml")]) as served:
        said = json.loads(ask(served, "POST", f"/view/{token}/8")[2])["error"]
        assert re.search(r"shapes_honest\.toml has the weights of no network in .*tiny-deeper\.diff", said)


@pytest.fixture
def asked(visit: Visit, with_network: ServerHandle) -> Iterator[tuple[Any, list[int], list[Any]]]:
    """A page whose questions for images' pages are kept: the page, the images, and the questions, to be answered."""
    page = visit(with_network.url)
    images: list[int] = []
    questions: list[Any] = []

    def keep(route: Any) -> None:
        images.append(int(route.request.url.rsplit("/", 1)[1]))
        questions.append(route)

    page.route("**/view/**", keep)
    yield page, images, questions
    page.unroute("**/view/**")


def answer(question: Any) -> None:
    path = question.request.url.split("/", 3)[3]
    question.fulfill(status=200, content_type="application/json", body=json.dumps({"page": f"{path}.html"}))


@pytest.mark.browser
def test_a_clicked_patch_stays_beneath_the_others_while_the_hand_goes_down_to_its_button(
    folder: Path, asked: tuple[Any, list[int], list[Any]]
) -> None:
    page, images, questions = asked
    open_largest_cell(page, folder / "tiny.atlas")
    patches = page.locator(".patches button")
    patches.first.click()
    clicked = page.locator(".caption .id").inner_text()
    patches.last.hover()
    page.wait_for_function(
        "(id) => document.querySelector('.bk-Figure').shadowRoot.querySelector('.caption .id')?.textContent !== id",
        arg=clicked,
    )
    page.locator(".caption").hover()
    assert page.locator(".caption .id").inner_text() == clicked
    page.locator(".caption").get_by_role("button", name="Look inside").click()
    page.locator(".note .working").wait_for()  # whose places are marked is told over the map: there, too
    assert page.locator(".caption .working").count() == 1
    assert open_atlas(folder / "tiny.atlas").images.ids[images[0]] == clicked
    answer(questions[0])
    page.locator(".note").get_by_role("link", name="Open its page").wait_for()
    assert page.locator(".caption").get_by_role("link", name="Open its page").count() == 1
    patches.last.hover()
    page.locator(".caption").hover()
    assert page.locator(".caption").get_by_role("link", name="Open its page").count() == 1  # and is not made again
    assert len(images) == 1


@pytest.mark.browser
def test_every_picture_that_can_be_opened_can_be_looked_into(
    folder: Path, asked: tuple[Any, list[int], list[Any]], settle: Settle
) -> None:
    page, images, questions = asked
    atlas = open_atlas(folder / "tiny.atlas")

    def look(where: str) -> str:
        page.locator(where).get_by_role("button", name="Look inside").click()
        page.locator(f"{where} .working").wait_for()
        answer(questions[-1])
        page.locator(where).get_by_role("link", name="Open its page").wait_for()
        page.keyboard.press("Escape")
        return atlas.images.ids[images[-1]]

    outline = [[0, 0], [1, 0], [1, 1], [0, 1]]
    page.evaluate(f"(region) => {EXPLORER}.set({{ region }})", [outline])
    page.locator(".gallery .thumb").nth(3).click()
    named = page.locator(".caption .id").inner_text()
    assert look(".gallery .caption") == named
    page.keyboard.press("Escape")

    page.keyboard.press("i")
    page.keyboard.type(atlas.images.ids[9])
    page.locator(".matches button").first.click()
    assert look(".chosen") == atlas.images.ids[9]

    page.evaluate(f"{EXPLORER}.set({{ points: 'only' }})")
    settle(page)
    # One in the middle: others may lie under what stands around the map.
    x, y, image = page.evaluate(
        f"""() => {{
            const {{ points, view }} = {EXPLORER}.panes[0];
            const far = (i) => Math.hypot(points.x[i] - view.centre.x, points.y[i] - view.centre.y);
            const all = Array.from(points.x, (_, i) => i);
            const best = all.reduce((one, other) => (far(other) < far(one) ? other : one));
            return [points.x[best], points.y[best], points.image[best]];
        }}"""
    )
    page.mouse.click(*place(page, x, y))
    assert look(".note") == atlas.images.ids[image]

    page.evaluate(f"{EXPLORER}.goToImage(12)")
    page.locator(".note").get_by_text(atlas.images.ids[12]).wait_for()
    page.keyboard.press("r")
    page.locator(".note .working").wait_for()
    assert images[-1] == 12


@pytest.mark.browser
def test_a_page_that_cannot_be_made_is_told_and_can_be_asked_for_again(
    folder: Path, asked: tuple[Any, list[int], list[Any]]
) -> None:
    page, images, questions = asked
    open_largest_cell(page, folder / "tiny.atlas")
    page.locator(".patches button").first.click()
    for _ in range(2):
        page.locator(".note").get_by_role("button", name="Look inside").click()
        page.locator(".note .working").wait_for()
        said = json.dumps({"error": "the picture <b>is</b> gone"})
        questions[-1].fulfill(status=200, content_type="application/json", body=said)
        page.locator(".note .wrong").wait_for()
        assert page.locator(".note .wrong").inner_text() == "the picture <b>is</b> gone"
    assert len(images) == 2


@pytest.mark.browser
def test_a_site_leads_to_the_pages_it_has_and_to_no_others(folder: Path, visit: Visit, tmp_path: Path) -> None:
    ids = open_atlas(folder / "tiny.atlas").images.ids
    site = export(folder / "tiny.atlas", tmp_path / "site", pipeline=folder / "one.toml", views=[ids[3], ids[30]])
    page = visit(site.as_uri())
    page.locator(".gallery .thumb.viewed").nth(1).click()
    page.locator(".caption .id").wait_for()
    assert page.locator(".caption .id").inner_text() == ids[30]
    link = page.locator(".note").get_by_role("link", name="Open its page")
    with page.context.expect_page() as opened:
        link.click()
    opened.value.wait_for_load_state()
    assert opened.value.get_by_role("heading", name="On the map of 1").count() == 1
    for image, links in ((3, 1), (4, 0)):
        page.evaluate(f"(image) => {EXPLORER}.goToImage(image)", image)
        page.locator(".note").get_by_text(ids[image]).wait_for()
        assert page.locator(".note").get_by_role("link").count() == links
    assert page.get_by_role("button", name="Look inside").count() == 0
