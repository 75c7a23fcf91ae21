"""What a notebook's page asks, answered by a server of the kernel's own: the same answers as `atlas explore` gives."""

from __future__ import annotations

import gzip
import re
import secrets
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from http.cookiejar import CookieJar
from pathlib import Path

from atlas.errors import AtlasError
from atlas.explorer.access import LOGIN
from atlas.explorer.server import Binding, ServerHandle, start_server

METHODS = ("GET", "POST", "DELETE")
# What the page's own scripts ask for, and nothing else of the server: no login, no Bokeh session.
ASKABLE = re.compile(r"(data|find|marks|table|network|view)/[0-9a-f]{16}[\w/.?=&%+~!*'()-]*", re.ASCII)
_SECONDS = 320.0  # the network's patience is 300


@dataclass(frozen=True)
class Reply:
    """An answer as the page's `fetch` would give it."""

    status: int
    type: str
    body: bytes


class Relay:
    """Passes questions on to a server that starts with the first of them, and ends with `close()` or the kernel.

    The server listens on 127.0.0.1 with a token of its own, so that other users of the machine are not let in.
    """

    def __init__(self, atlas: Path, *, pipelines: Sequence[str | Path] = (), columns: str | Path | None = None) -> None:
        self._atlas, self._pipelines, self._columns = atlas, tuple(pipelines), columns
        self._server: ServerHandle | None = None
        self._closed = False
        self._lock = threading.Lock()
        # Without a proxy: an environment's proxy would be asked for this machine's own address.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar())
        )

    def ask(self, method: str, path: str, *, type: str = "", body: bytes | None = None) -> Reply:
        """The server's answer to one question; 404 for what a page has no reason to ask."""
        if method not in METHODS or not ASKABLE.fullmatch(path) or ".." in path.partition("?")[0]:
            return Reply(404, "text/plain", b"404")
        headers = {"Content-Type": type} if type else {}
        try:
            request = urllib.request.Request(f"{self._start()}{path}", data=body, headers=headers, method=method)
            with self._opener.open(request, timeout=_SECONDS) as answer:
                found = answer.read()
                if answer.headers.get("Content-Encoding") == "gzip":
                    found = gzip.decompress(found)
                return Reply(answer.status, answer.headers.get("Content-Type", ""), found)
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.headers.get("Content-Type", ""), error.read())
        except (AtlasError, OSError, HTTPException) as error:
            return Reply(503, "text/plain", str(error).encode())

    def close(self) -> None:
        """End the server; what is asked from now on is answered with 503."""
        with self._lock:
            self._closed = True
            if self._server is not None:
                self._server.stop()
                self._server = None

    def _start(self) -> str:
        with self._lock:
            if self._closed:
                raise AtlasError("this explorer was closed: make another with atlas.explore")
            if self._server is None:
                token = secrets.token_urlsafe(32)
                self._server = start_server(
                    self._atlas, binding=Binding(token=token), pipelines=self._pipelines, columns=self._columns
                )
                login = urllib.parse.urlencode({"token": token}).encode()
                self._opener.open(f"http://127.0.0.1:{self._server.port}{LOGIN}", data=login, timeout=_SECONDS).close()
            return f"http://127.0.0.1:{self._server.port}/"
