"""What the network makes of one image: on request beside a server, and put into a site."""

from __future__ import annotations

import http.client
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from looking import EXPLORER, Settle, Visit
from PIL import Image

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


@pytest.mark.browser
def test_the_panel_leads_to_an_images_page(
    folder: Path, with_network: ServerHandle, visit: Visit, settle: Settle
) -> None:
    level = open_atlas(folder / "tiny.atlas").layers[0].levels[0]
    cell = int(level.level.images.argmax())
    place = {"level": 0, "column": int(level.level.column[cell]), "row": int(level.level.row[cell])}
    page = visit(with_network.url)
    page.evaluate(
        f"(place) => {EXPLORER}.set({{ selected: {{ ...{EXPLORER}.state.selected, layer: 0, ...place }} }})", place
    )
    settle(page)
    page.locator(".patches button").first.click()
    page.get_by_role("button", name="Look inside").click()
    link = page.get_by_role("link", name="Open its page")
    link.wait_for(timeout=240_000)
    assert re.fullmatch(r"view/[0-9a-f]{16}/\d+\.html", link.get_attribute("href") or "")
    with page.context.expect_page() as opened:
        link.click()
    opened.value.wait_for_load_state()
    assert opened.value.get_by_role("heading", name="On the map of 1").count() == 1
