"""The explorer as a Bokeh server: on this machine alone, or on an address of it for whoever has the token."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self
from urllib.parse import quote

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.server import Server
from tornado.ioloop import IOLoop

from atlas.errors import AtlasError
from atlas.explorer.access import LOGIN, Access, LoginHandler, TokenAuth, check_binding, is_loopback
from atlas.explorer.columns import ColumnTable
from atlas.explorer.editions import Editions
from atlas.explorer.figure import figure
from atlas.explorer.handlers import HANDLERS, Desk, DeskHandler
from atlas.explorer.header import page_header
from atlas.explorer.network import HANDLERS as NETWORK_HANDLERS
from atlas.explorer.views import OwnViewHandler, ViewHandler
from atlas.storage.atlas import Atlas
from atlas.workshop import Workshop
from atlas.workshop.client import LOOKING

ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class Binding:
    """Where a server listens and who is let in.

    address: of this machine; another than loopback needs a token. token: asked for at once. origins: HOST:PORT names
    under which browsers reach the server, beside its address.
    """

    address: str = ADDRESS
    token: str | None = None
    origins: tuple[str, ...] = ()


LOCAL = Binding()


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


def start_server(
    atlas: Source | Sequence[Source],
    *,
    port: int = 0,
    binding: Binding = LOCAL,
    pipelines: Sequence[str | Path] = (),
    columns: str | Path | None = None,
) -> ServerHandle:
    """Serve an atlas, or several, on 127.0.0.1 from a thread of its own; port 0 takes a free one.

    pipelines: for each atlas the pipeline file that it was made with, whose network then answers on request. columns: a
    CSV with a column `id`, whose other columns the map can be coloured by. Raises AtlasError when an atlas or the CSV
    cannot be read, or the port is taken.
    """
    started: list[tuple[IOLoop, int] | BaseException] = []
    ready = threading.Event()

    def run() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        try:
            server = make_server(atlas, port=port, binding=binding, workshops=workshops, columns=table)
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
        for workshop in workshops.values():
            workshop.close()

    workshops = _workshops(_sources(atlas), pipelines)
    table = None if columns is None else ColumnTable(columns)
    thread = threading.Thread(target=run, name="atlas-explorer", daemon=True)
    thread.start()
    ready.wait()
    outcome = started[0]
    if isinstance(outcome, BaseException):
        raise outcome
    return ServerHandle(_url(binding, outcome[1]), outcome[1], outcome[0], thread)


def make_server(
    atlas: Source | Sequence[Source],
    *,
    port: int,
    binding: Binding = LOCAL,
    workshops: Mapping[Path, Workshop] = MappingProxyType({}),
    columns: ColumnTable | None = None,
) -> Server:
    """A Bokeh server for one atlas or several, not yet started, on the current event loop.

    The first atlas is at /, the others at /2, /3 and so on. It takes requests and websockets only from its own pages,
    and with a token only from who has said it. workshops: networks at hand, by the folders of their atlases. Raises
    AtlasError when an atlas cannot be opened, the port is taken, or the binding would let strangers in.
    """
    check_binding(binding.address, binding.token, binding.origins)
    library = [Editions(source, columns=columns) for source in _sources(atlas)]
    names = [editions.newest()[1].atlas.name for editions in library]
    for words in {editions.words: None for editions in library if editions.words}:
        print(words, file=sys.stderr, flush=True)
    routes = ("/", *(f"/{number}" for number in range(2, len(library) + 1)))
    others = tuple(zip(names, routes, strict=True)) if len(library) > 1 else ()
    port = port or free_port(binding.address)
    access = Access(binding.token)
    desk = Desk(library, _hosts(binding, port), access, workshops)
    answers: tuple[type[DeskHandler], ...] = (*HANDLERS, *NETWORK_HANDLERS, ViewHandler, OwnViewHandler)
    patterns: list[Any] = [(one.PATTERN, one, {"desk": desk}) for one in answers]
    guard: dict[str, Any] = {}
    if access.needed:
        patterns.append((LOGIN, LoginHandler, {"access": access, "hosts": desk.hosts, "routes": routes}))
        guard["auth_provider"] = TokenAuth(access)
    try:
        return Server(
            {
                route: Application(FunctionHandler(partial(_show, editions, others, editions.path in workshops)))
                for route, editions in zip(routes, library, strict=True)
            },
            port=port,
            address=binding.address,
            allow_websocket_origin=sorted(desk.hosts),
            use_index=False,
            extra_patterns=patterns,
            **guard,
        )
    except OSError as error:
        raise AtlasError(
            f"port {port} of {binding.address} cannot be used ({error.strerror}): name another, or stop what uses it"
        ) from None


def _sources(atlas: Source | Sequence[Source]) -> list[Path]:
    sources = [atlas] if isinstance(atlas, Atlas | str | Path) else list(atlas)
    if not sources:
        raise AtlasError("there is no atlas to show: name at least one NAME.atlas")
    return [source.path if isinstance(source, Atlas) else Path(source) for source in sources]


def _workshops(atlases: Sequence[Path], pipelines: Sequence[str | Path]) -> dict[Path, Workshop]:
    """A network for each atlas, in order; none is loaded before it is asked for."""
    if not pipelines:
        return {}
    if len(pipelines) != len(atlases):
        raise AtlasError(f"{len(pipelines)} pipelines for {len(atlases)} atlases: name one for each, in the same order")
    for pipeline in pipelines:
        if not Path(pipeline).is_file():
            raise AtlasError(f"{pipeline} is not there: name the pipeline file that the atlas was made with")
    return {
        atlas: Workshop(Path(pipeline), atlas, program=LOOKING)
        for atlas, pipeline in zip(atlases, pipelines, strict=True)
    }


def _show(editions: Editions, others: tuple[tuple[str, str], ...], network: bool, document: Document) -> None:
    """Fill a session's document, with the atlas as it is now."""
    token, shards = editions.newest()
    figure(page_header(shards, "server", token, others=others, network=network), document=document)


def _hosts(binding: Binding, port: int) -> frozenset[str]:
    """The names under which the server answers, lower case."""
    own = (ADDRESS, "localhost") if is_loopback(binding.address) else ()
    names = {f"{name}:{port}" for name in (_bracketed(binding.address), *own)}
    return frozenset(name.lower() for name in (*names, *binding.origins))


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _url(binding: Binding, port: int) -> str:
    host = binding.origins[0] if binding.origins else f"{_bracketed(binding.address)}:{port}"
    return f"http://{host}/" + (f"?token={quote(binding.token, safe='')}" if binding.token else "")


def free_port(address: str = ADDRESS) -> int:
    """A port of an address that nobody listens on."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
