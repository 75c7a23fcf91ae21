"""The widget behind a notebook's output: passes messages between the page in its frame and the kernel.

Imported only where anywidget is there.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any

import anywidget
import traitlets

from atlas.errors import AtlasError
from atlas.explorer.relay import Relay

Selected = dict[str, Any]


class MapWidget(anywidget.AnyWidget):
    """A frame with the explorer's page; the page is sent when a view opens, so that no notebook file holds it."""

    _esm = (files("atlas.explorer") / "static" / "notebook.js").read_text(encoding="utf-8")
    name = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int().tag(sync=True)

    def __init__(self, name: str, height: int, page: Callable[[], str], relay: Relay) -> None:
        super().__init__(name=name, height=height)
        self._page, self._relay = page, relay
        self._aside = ThreadPoolExecutor(max_workers=6, thread_name_prefix="atlas-notebook")
        self.selected: Selected | None = None
        self.on_msg(self._take)

    def _take(self, _: Any, words: dict[str, Any], buffers: list[Any]) -> None:
        body = bytes(buffers[0]) if buffers else None
        if words.get("kind") == "selection":
            self.selected = words.get("selection")
            if self.selected is not None:
                self.selected = {**self.selected, "rows": body}
        elif words.get("kind") in ("page", "ask"):
            self._aside.submit(self._answer, words, body)  # the network may take seconds, and the kernel has other work

    def _answer(self, words: dict[str, Any], body: bytes | None) -> None:
        if words["kind"] == "page":
            try:
                page = self._page()
            except AtlasError as error:
                page = f"<!doctype html><meta charset=utf-8><p>{html.escape(str(error))}</p>"
            self.send({"kind": "page", "own": words.get("own")}, [page.encode()])
            return
        reply = self._relay.ask(str(words["method"]), str(words["path"]), type=str(words.get("type", "")), body=body)
        whose = {"own": words.get("own"), "number": words.get("number")}
        self.send({"kind": "answer", **whose, "status": reply.status, "type": reply.type}, [reply.body])
