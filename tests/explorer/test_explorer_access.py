"""Who is let in, what is written, what is refused: tokens, cookies, regions, tables."""

from __future__ import annotations

import http.client
import io
import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from bokeh.client import pull_session
from looking import Visit

from atlas.errors import AtlasError, StoreError
from atlas.explorer import Binding, ServerHandle, start_server
from atlas.explorer.access import check_binding
from atlas.explorer.editions import Editions
from atlas.explorer.marks import MOST_CORNERS, MOST_REGIONS, add_region, drop_region, read_regions
from atlas.explorer.tables import selection_table
from atlas.storage.atlas import Atlas
from atlas.storage.verify import verify

TOKEN = "correct horse battery staple"
REGION = {
    "name": "odd",
    "note": "why?",
    "layer": "layer1",
    "address": "layer=0",
    "outlines": [[[0, 0], [1, 0], [1, 1]]],
}


@pytest.fixture(scope="module")
def guarded(planted: Atlas) -> Iterator[ServerHandle]:
    """The planted atlas behind a token."""
    with start_server(planted, binding=Binding(token=TOKEN)) as handle:
        yield handle


@pytest.fixture
def own(planted: Atlas, tmp_path: Path) -> Iterator[tuple[Atlas, ServerHandle]]:
    """A copy of the atlas that may be written to, served."""
    shutil.copytree(planted.path, tmp_path / "own.atlas")
    with start_server(tmp_path / "own.atlas") as handle:
        yield Atlas(tmp_path / "own.atlas"), handle


def ask(served: ServerHandle, path: str, method: str = "GET", body: Any = None, **headers: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body=body, headers=named)
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


def edition(atlas: Atlas) -> str:
    return Editions(atlas.path).newest()[0]


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.0.7", "::", "8.8.8.8"])
def test_another_address_needs_a_token(address: str) -> None:
    with pytest.raises(AtlasError, match="--token"):
        check_binding(address, None, ())


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_none(address: str) -> None:
    check_binding(address, None, ())


@pytest.mark.parametrize(
    ("address", "token", "words"),
    [
        ("0.0.0.0", TOKEN, "--origin"),
        ("127.0.0.1", "short", "too short"),
        ("my-machine", TOKEN, "no IP address"),
    ],
)
def test_an_odd_binding_is_one_sentence(address: str, token: str, words: str) -> None:
    with pytest.raises(AtlasError, match=words):
        check_binding(address, token, ())


def test_nothing_is_shown_without_the_token(guarded: ServerHandle, planted: Atlas) -> None:
    status, body, headers = ask(guarded, "/")
    assert status == 302
    assert headers["Location"].startswith("/login")
    name = edition(planted)
    for path, method in (
        (f"/data/{name}/points/0/0/0/0.json", "GET"),
        (f"/marks/{name}", "GET"),
        (f"/table/{name}/0/0", "POST"),
    ):
        status, body, _ = ask(guarded, path, method, b"" if method == "POST" else None)
        assert (status, body) == (401, b"401")
    for cookie in ("atlas-access=", f"atlas-access={TOKEN}", "atlas-access=x; atlas-access=y"):
        assert ask(guarded, f"/data/{name}/points/0/0/0/0.json", Cookie=cookie)[0] == 401


def test_a_websocket_needs_the_cookie_too(guarded: ServerHandle) -> None:
    # In a thread of its own: the browser of other tests has an event loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        session = pool.submit(pull_session, url=f"http://127.0.0.1:{guarded.port}/")
        with pytest.raises(OSError, match="Disconnected"):
            session.result(timeout=60)


def test_the_right_token_earns_a_strict_cookie_that_is_not_it(guarded: ServerHandle) -> None:
    status, body, headers = ask(guarded, f"/login?token={TOKEN.replace(' ', '%20')}&next=https://evil.example/")
    assert status == 200
    assert b'content="0;url=/"' in body
    said = headers["Set-Cookie"]
    assert "HttpOnly" in said
    assert "SameSite=Strict" in said
    cookie = said.split(";")[0]
    assert TOKEN not in cookie
    assert ask(guarded, "/", Cookie=cookie)[0] == 200


def test_a_wrong_token_earns_nothing_and_is_not_repeated(guarded: ServerHandle) -> None:
    status, body, headers = ask(guarded, "/login?token=%3Cscript%3Ewrong%3C/script%3E")
    assert status == 403
    assert "Set-Cookie" not in headers
    assert b"wrong" not in body
    assert ask(guarded, "/login", Host="evil.example")[0] == 403


def test_a_browser_logs_in_by_link_and_by_form(visit: Visit, guarded: ServerHandle) -> None:
    assert guarded.url.endswith("?token=correct%20horse%20battery%20staple")
    page = visit(guarded.url, names=True)
    assert "token" not in page.url
    form = visit(f"http://127.0.0.1:{guarded.port}/", wait=False, names=True)
    form.get_by_label("The token for this atlas").fill(TOKEN)
    form.get_by_role("button", name="Open").click()
    form.locator(".status").wait_for()


def test_regions_come_and_go(own: tuple[Atlas, ServerHandle]) -> None:
    atlas, handle = own
    path = f"/marks/{edition(atlas)}"
    kind = {"Content_Type": "application/json"}
    assert json.loads(ask(handle, path)[1]) == {"regions": []}
    status, body, _ = ask(handle, path, "POST", json.dumps({**REGION, "extra": 1}), **kind)
    assert status == 200
    (kept,) = json.loads(body)["regions"]
    assert {name: kept[name] for name in REGION} == REGION
    assert "extra" not in kept
    assert verify(atlas.path) == []
    assert json.loads(ask(handle, path, "DELETE", json.dumps({"id": kept["id"]}), **kind)[1]) == {"regions": []}


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"name": ""},
            {"name": 7},
            {"name": "x" * 121},
            {"note": "x" * 4001},
            {"outlines": "x"},
            {"outlines": [[[0]]]},
        ),
        *({"outlines": [[["a", 0]]]}, {"outlines": [[[1e300, 0]]]}, {"outlines": [[[0, 0]] * (MOST_CORNERS + 1)]}),
    ],
)
def test_what_is_no_region_is_not_kept(own: tuple[Atlas, ServerHandle], change: dict[str, Any]) -> None:
    atlas, handle = own
    path = f"/marks/{edition(atlas)}"
    status, body, _ = ask(handle, path, "POST", json.dumps(REGION | change), Content_Type="application/json")
    assert status == 400
    assert b"region" in body
    assert not atlas.marks_path.exists()


def test_other_sites_cannot_write(own: tuple[Atlas, ServerHandle]) -> None:
    atlas, handle = own
    path, body = f"/marks/{edition(atlas)}", json.dumps(REGION)
    kind = "application/json"
    assert ask(handle, path, "POST", body, Content_Type="text/plain")[0] == 400
    assert ask(handle, path, "POST", body, Content_Type=kind, Origin="http://evil.example")[0] == 403
    assert ask(handle, path, "POST", body, Content_Type=kind, Origin="null")[0] == 403
    assert ask(handle, path, "POST", body, Content_Type=kind, Sec_Fetch_Site="cross-site")[0] == 403
    assert ask(handle, path, "POST", body, Content_Type=kind, Host="evil.example")[0] == 403
    assert ask(handle, "/marks/0123456789abcdef", "POST", body, Content_Type=kind)[0] == 404
    assert ask(handle, path, "POST", "[" * 10_000, Content_Type=kind)[0] == 400
    assert not atlas.marks_path.exists()


def test_a_full_or_damaged_marks_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "marks.json"
    full = {"schema": 1, "regions": [{**REGION, "id": str(i)} for i in range(MOST_REGIONS)]}
    path.write_text(json.dumps(full))
    with pytest.raises(ValueError, match="1000 regions"):
        add_region(path, REGION)
    for damage in ("{", "[]", '{"schema": 2, "regions": []}', '{"schema": 1, "regions": [{"name": 3}]}'):
        path.write_text(damage)
        for act in (lambda: read_regions(path), lambda: add_region(path, REGION), lambda: drop_region(path, "0")):
            with pytest.raises(StoreError):
                act()
        assert path.read_text() == damage


def test_a_table_holds_what_the_atlas_says(own: tuple[Atlas, ServerHandle]) -> None:
    atlas, handle = own
    rows = np.array([5, 3, 1799, 700], "<u4")
    status, body, _ = ask(handle, f"/table/{edition(atlas)}/0/1", "POST", rows.tobytes())
    assert status == 200
    found = pq.read_table(io.BytesIO(body))
    samples, images = atlas.layers[0].samples, atlas.images
    for row, said in zip(rows.tolist(), found.to_pylist(), strict=True):
        image, (x, y) = int(samples.image[row]), samples.positions[row]
        assert (said["x"], said["y"], said["id"]) == (x, y, images.ids[image])
        assert said["label"] == (atlas.classes[images.label[image]] if images.label[image] >= 0 else None)
        assert said["prediction"] == atlas.outputs[images.prediction[image]]
        assert said["cell"] == f"1/{int(x * 16)}/{int(y * 16)}"


def test_a_table_of_nothing_and_of_strangers(own: tuple[Atlas, ServerHandle], planted: Atlas) -> None:
    atlas, handle = own
    base = f"/table/{edition(atlas)}"
    assert selection_table(planted, 0, 0, np.empty(0, np.int64)).num_rows == 0
    assert ask(handle, f"{base}/0/1", "POST", np.array([10**6], "<u4").tobytes())[0] == 404
    assert ask(handle, f"{base}/9/1", "POST", b"")[0] == 404
    assert ask(handle, f"{base}/0/9", "POST", b"")[0] == 404
    assert ask(handle, f"{base}/0/1", "POST", b"abc")[0] == 400


def test_no_picture_of_the_dataset_is_in_a_site_without_them(planted: Atlas, tmp_path: Path) -> None:
    """Every picture in every file of the site is a tile of icons, and no shard of pictures is there at all."""
    import base64

    from PIL import Image

    from atlas.explorer import export

    site = export(planted, tmp_path / "site", pictures=False).parent
    tiles = {
        (layer.index, level.number, tx, ty): level.tile(tx, ty)
        for layer in planted.layers
        for level in layer.levels
        for tx, ty in level.tiles
    }
    found = 0
    for path in sorted(site.rglob("*")):
        if path.is_dir():
            continue
        assert path.suffix in (".js", ".html", ".json"), path
        if path.parent == site:
            assert "data:image/jpeg" not in path.read_text("utf-8")
            continue
        kind, *numbers = path.relative_to(site / "data").with_suffix("").parts
        assert kind not in ("real", "patch")
        for uri in re.findall(r"data:image/[^\"]+", path.read_text("utf-8")):
            assert kind == "tile", path
            picture = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB")
            icons = tiles[tuple(map(int, numbers))]  # type: ignore[index]
            assert np.abs(np.asarray(picture).astype(int) - icons).mean() < 6
            found += 1
    assert found == len(tiles)
