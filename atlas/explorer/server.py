"""The explorer as a Bokeh server on this machine, and the handler that hands it shards by their numbers."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.server import Server
from tornado.ioloop import IOLoop
from tornado.web import RequestHandler

from atlas.errors import AtlasError
from atlas.explorer.encode import to_json
from atlas.explorer.figure import figure
from atlas.explorer.header import page_header
from atlas.explorer.shards import Shards
from atlas.storage.atlas import Atlas, open_atlas
from atlas.storage.atlas_header import HEADER
from atlas.storage.files import hash_file

ADDRESS = "127.0.0.1"
CACHE_BYTES = 128 * 2**20
EDITIONS_KEPT = 4


class Editions:
    """An atlas as it grows: each state of its folder has a token, and the shards of the last few stay at hand."""

    def __init__(self, path: Path, *, pictures: bool = True) -> None:
        self._path, self._pictures = path, pictures
        self._shards: OrderedDict[str, Shards] = OrderedDict()
        self._seen: tuple[int, str] | None = None
        self._cache: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self._cached = 0
        self._lock = threading.RLock()

    def newest(self) -> tuple[str, Shards]:
        """The folder's present token and shards; the last ones that could be opened, while it is being rewritten.

        Raises AtlasError when it has never been a whole atlas.
        """
        with self._lock:
            header = self._path / HEADER
            changed = header.stat().st_mtime_ns if header.exists() else -1
            if self._seen is None or self._seen[0] != changed:
                try:
                    self._open(header, changed)
                except AtlasError:
                    if self._seen is None:
                        raise
            token = self._seen[1] if self._seen else ""
            return token, self._shards[token]

    def _open(self, header: Path, changed: int) -> None:
        atlas = open_atlas(self._path)
        token = hash_file(header)[:16]
        self._shards[token] = Shards(atlas, pictures=self._pictures)
        self._seen = changed, token
        while len(self._shards) > EDITIONS_KEPT:
            self._shards.popitem(last=False)

    def has(self, token: str) -> bool:
        """Whether the token names a state of this atlas that is still at hand."""
        return token in self._shards

    def body(self, token: str, kind: str, numbers: tuple[int, ...]) -> bytes:
        """One shard as gzipped JSON. Raises LookupError for what this edition does not have."""
        key = (token, kind, *numbers)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
            if token not in self._shards:
                raise LookupError(f"no edition {token} of the atlas")
            # Level 1: pictures are compressed already, and gzip only takes back what base64 added.
            body = gzip.compress(to_json(self._shards[token].value(kind, *numbers)).encode(), compresslevel=1, mtime=0)
            self._cache[key] = body
            self._cached += len(body)
            while self._cached > CACHE_BYTES:
                self._cached -= len(self._cache.popitem(last=False)[1])
            return body


class ShardHandler(RequestHandler):
    """GET data/TOKEN/KIND/N/N/....json: everything in the address but the kind is a number or a known token."""

    def initialize(self, library: Sequence[Editions], hosts: frozenset[str]) -> None:
        """Take what all requests share."""
        self.library, self.hosts = library, hosts

    def _body(self, token: str, kind: str, numbers: tuple[int, ...]) -> bytes:
        for editions in self.library:
            if editions.has(token):
                return editions.body(token, kind, numbers)
        raise LookupError(f"no edition {token} of any atlas here")

    def prepare(self) -> None:
        """Refuse what comes from another site's page, or under another host's name (DNS rebinding)."""
        foreign = self.request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none")
        if foreign or self.request.host.lower() not in self.hosts:
            self.send_error(403)

    async def get(self, token: str, kind: str, numbers: str) -> None:
        """Answer with the shard, or 404."""
        try:
            wanted = tuple(int(number) for number in numbers.strip("/").split("/"))
            body = await asyncio.get_running_loop().run_in_executor(None, self._body, token, kind, wanted)
        except (LookupError, ValueError):
            self.send_error(404)
            return
        except AtlasError:
            self.send_error(500)
            return
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Content-Encoding", "gzip")
        # The token changes with the atlas, so what it names never does.
        self.set_header("Cache-Control", "private, max-age=31536000, immutable")
        self.finish(body)

    def set_default_headers(self) -> None:
        """Say to browsers that these answers belong to this page alone."""
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")

    def write_error(self, status_code: int, **_: Any) -> None:
        """Answer errors with their number alone: nothing of the request is repeated."""
        self.set_header("Content-Type", "text/plain")
        self.finish(str(status_code))


@dataclass
class ServerHandle:
    """A running explorer: `url` to open, `stop()` to end it; also a context manager."""

    url: str
    port: int
    _loop: IOLoop
    _thread: threading.Thread

    def wait(self) -> None:
        """Return when the server has ended, or at Ctrl-C."""
        try:
            while self._thread.is_alive():
                self._thread.join(timeout=0.5)
        except KeyboardInterrupt:
            return

    def stop(self) -> None:
        """End the server and its thread."""
        self._loop.add_callback(self._loop.stop)
        self._thread.join(timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


Source = Atlas | str | Path


def start_server(atlas: Source | Sequence[Source], *, port: int = 0) -> ServerHandle:
    """Serve an atlas, or several, on 127.0.0.1 from a thread of its own; port 0 takes a free one.

    Raises AtlasError when an atlas cannot be opened or the port is taken.
    """
    started: list[tuple[IOLoop, int] | BaseException] = []
    ready = threading.Event()

    def run() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        try:
            server = make_server(atlas, port=port)
        except (AtlasError, OSError) as error:
            started.append(error)
            ready.set()
            return
        loop = IOLoop.current()
        started.append((loop, int(server.port or 0)))
        server.start()
        ready.set()
        loop.start()
        server.stop()

    thread = threading.Thread(target=run, name="atlas-explorer", daemon=True)
    thread.start()
    ready.wait()
    outcome = started[0]
    if isinstance(outcome, BaseException):
        raise outcome
    return ServerHandle(f"http://{ADDRESS}:{outcome[1]}/", outcome[1], outcome[0], thread)


def make_server(atlas: Source | Sequence[Source], *, port: int) -> Server:
    """A Bokeh server for one atlas or several, not yet started, on the current event loop.

    The first atlas is at /, the others at /2, /3 and so on. It binds 127.0.0.1 alone and takes websockets only from
    its own pages. Raises AtlasError when an atlas cannot be opened or the port is taken.
    """
    sources = [atlas] if isinstance(atlas, Atlas | str | Path) else list(atlas)
    if not sources:
        raise AtlasError("there is no atlas to show: name at least one NAME.atlas")
    library = [Editions(source.path if isinstance(source, Atlas) else Path(source)) for source in sources]
    names = [editions.newest()[1].atlas.name for editions in library]
    routes = ["/", *(f"/{number}" for number in range(2, len(library) + 1))]
    others = tuple(zip(names, routes, strict=True)) if len(library) > 1 else ()
    port = port or free_port()
    hosts = frozenset(f"{name}:{port}" for name in (ADDRESS, "localhost"))
    pattern = r"/data/([0-9a-f]{16})/([a-z]{1,8})((?:/[0-9]{1,9}){1,4})\.json"
    try:
        return Server(
            {
                route: Application(FunctionHandler(partial(_show, editions, others)))
                for route, editions in zip(routes, library, strict=True)
            },
            port=port,
            address=ADDRESS,
            allow_websocket_origin=sorted(hosts),
            use_index=False,
            extra_patterns=[(pattern, ShardHandler, {"library": library, "hosts": hosts})],
        )
    except OSError as error:
        raise AtlasError(
            f"port {port} of {ADDRESS} cannot be used ({error.strerror}): name another one, or stop what uses it"
        ) from None


def _show(editions: Editions, others: tuple[tuple[str, str], ...], document: Document) -> None:
    """Fill a session's document, with the atlas as it is now."""
    token, shards = editions.newest()
    figure(page_header(shards, "server", token, others=others), document=document)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])
