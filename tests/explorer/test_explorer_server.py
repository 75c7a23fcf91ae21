"""The server: what it answers, what it refuses, and that it follows an atlas that grows."""

from __future__ import annotations

import gzip
import http.client
import json
import shutil
from pathlib import Path

import pytest

from atlas.errors import AtlasError, StoreError
from atlas.explorer import ServerHandle, start_server
from atlas.explorer.editions import Editions
from atlas.explorer.encode import to_json
from atlas.explorer.shards import Shards
from atlas.storage.atlas import Atlas


def token_of(atlas: Atlas) -> str:
    return Editions(atlas.path).newest()[0]


def ask(served: ServerHandle, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    return connection.getresponse()


def test_a_shard_is_served_as_made(served: ServerHandle, planted: Atlas) -> None:
    answer = ask(served, f"/data/{token_of(planted)}/tile/0/1/0/0.json", Sec_Fetch_Site="same-origin")
    assert answer.status == 200
    assert answer.getheader("Cross-Origin-Resource-Policy") == "same-origin"
    assert "immutable" in (answer.getheader("Cache-Control") or "")
    said = json.loads(gzip.decompress(answer.read()))
    assert said == json.loads(to_json(Shards(planted).value("tile", 0, 1, 0, 0)))


@pytest.mark.parametrize(
    "path",
    [
        *("tile/0/1/9/9.json", "tile/0/0/0.json", "tile/0/0/0/-1.json", "tile/0/0/0/0", "tile//0.json"),
        *("tile/../../atlas.json", "tile/%2e%2e/%2e%2e/atlas.json", "atlas.json", "etc/passwd.json"),
        *("image/99999999999.json", "image/0x0.json", "points/7/0/0/0.json"),
    ],
)
def test_everything_else_is_not_found(served: ServerHandle, planted: Atlas, path: str) -> None:
    assert ask(served, f"/data/{token_of(planted)}/{path}").status in (403, 404)
    assert ask(served, f"/{path}").status == 404


def test_an_unknown_edition_is_not_found(served: ServerHandle) -> None:
    assert ask(served, "/data/0123456789abcdef/points/0/0/0/0.json").status == 404


def test_other_sites_and_other_hosts_are_refused(served: ServerHandle, planted: Atlas) -> None:
    path = f"/data/{token_of(planted)}/points/0/0/0/0.json"
    assert ask(served, path, Sec_Fetch_Site="cross-site").status == 403
    assert ask(served, path, Sec_Fetch_Site="same-site").status == 403
    assert ask(served, path, Host="evil.example").status == 403
    assert ask(served, path, Host=f"evil.example:{served.port}").status == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null"])
def test_a_websocket_from_elsewhere_is_refused(served: ServerHandle, origin: str) -> None:
    handshake = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec_WebSocket_Protocol": "bokeh, token",
        "Origin": origin,
    }
    assert ask(served, "/ws", **handshake).status == 403


def test_a_taken_port_is_one_sentence(served: ServerHandle, planted: Atlas) -> None:
    with pytest.raises(AtlasError, match=f"port {served.port}"):
        start_server(planted, port=served.port)


def test_several_atlases_have_a_page_each(planted: Atlas, hostile: Atlas) -> None:
    with start_server([planted, hostile]) as both:
        assert ask(both, "/").status == ask(both, "/2").status == 200
        assert ask(both, "/3").status == 404
        for atlas in (planted, hostile):
            assert ask(both, f"/data/{token_of(atlas)}/points/0/0/0/0.json").status == 200


def test_nothing_to_show_is_one_sentence() -> None:
    with pytest.raises(AtlasError, match="at least one"):
        start_server([])


def test_no_atlas_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        start_server(tmp_path / "absent.atlas")


def test_editions_follow_the_atlas_and_keep_the_old_one(planted: Atlas, tmp_path: Path) -> None:
    folder = tmp_path / "grown.atlas"
    shutil.copytree(planted.path, folder)
    editions = Editions(folder)
    first, shards = editions.newest()
    assert editions.newest() == (first, shards)
    header = json.loads((folder / "atlas.json").read_text())
    header["layers"][0]["levels"].pop()
    (folder / "atlas.json").write_text(json.dumps(header))
    second, fewer = editions.newest()
    assert second != first
    assert len(fewer.atlas.layers[0].levels) == len(shards.atlas.layers[0].levels) - 1
    assert editions.body(first, "points", (0, 0, 0, 0)) == editions.body(first, "points", (0, 0, 0, 0))
    (folder / "atlas.json").unlink()
    assert editions.newest()[0] == second


def test_the_cache_of_bodies_is_bounded(hostile: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atlas.explorer.editions.CACHE_BYTES", 60_000)
    editions = Editions(hostile.path)
    token, shards = editions.newest()
    for kind, numbers in shards.all_keys():
        body = editions.body(token, kind, numbers)
        assert editions._cached <= 60_000 or len(body) > 60_000
        assert editions._cached == sum(map(len, editions._cache.values()))
