"""What the server answers with a network at hand: where a dropped picture falls, and a cell's fine icon."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from atlas.errors import AtlasError
from atlas.explorer.handlers import TOKEN, DeskHandler
from atlas.storage.atlas import Atlas
from atlas.workshop import Located, Workshop

Made = TypeVar("Made")
POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class NetworkHandler(DeskHandler):
    """What the answers of the network have in common: 404 without one, `{"error": sentence}` when it cannot."""

    def workshop(self, token: str) -> tuple[Workshop, Atlas]:
        """The network of the atlas that a token names. Raises LookupError for an atlas without."""
        editions = self.desk.editions(token)
        workshop = self.desk.workshops.get(editions.path)
        if workshop is None:
            raise LookupError("no network at hand")
        return workshop, editions.edition(token).atlas

    async def aside(self, make: Callable[[], Made]) -> Made:
        """What `make` returns, run in a thread of its own."""
        return await asyncio.get_running_loop().run_in_executor(None, make)

    def show(self, page: bytes) -> None:
        """Answer with an HTML page that may run nothing and ask for nothing, whatever a picture is called."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", POLICY)
        self.finish(page)

    async def ask(self, make: Callable[[], dict[str, Any]]) -> None:
        """Answer with what `make` returns, run aside: the network takes seconds."""
        try:
            found = await self.aside(make)
        except LookupError:
            self.send_error(404)
        except AtlasError as error:  # it names the picture or the pipeline: whoever may ask may read it
            self.finish({"error": str(error)})
        else:
            self.finish(found)


class LocateHandler(NetworkHandler):
    """POST network/TOKEN/LAYER with a picture as it is: where its positions fall on the layer's map."""

    PATTERN = rf"/network/{TOKEN}/([0-9]{{1,5}})"

    async def post(self, token: str, layer: str) -> None:
        """Answer with places and classes."""
        picture = self.request.body

        def locate() -> dict[str, Any]:
            workshop, atlas = self.workshop(token)
            return located_json(workshop.locate(int(layer), picture), atlas)

        await self.ask(locate)


class FineHandler(NetworkHandler):
    """POST network/TOKEN/LAYER/LEVEL/COLUMN/ROW: the cell's fine icon."""

    PATTERN = rf"/network/{TOKEN}/([0-9]{{1,5}})/([0-9]{{1,2}})/([0-9]{{1,6}})/([0-9]{{1,6}})"

    async def post(self, token: str, layer: str, level: str, column: str, row: str) -> None:
        """Answer with both pictures as data addresses."""

        def fine() -> dict[str, Any]:
            workshop, atlas = self.workshop(token)
            cell = atlas.layers[int(layer)].levels[int(level)].find(int(column), int(row))
            if cell is None:
                raise LookupError("an empty cell")
            icon = workshop.fine(int(layer), int(level), cell)
            return {"picture": _address(icon.picture), "cut_out": _address(icon.cut_out)}

        await self.ask(fine)


class BusyHandler(NetworkHandler):
    """GET network/TOKEN: what the network is doing."""

    PATTERN = rf"/network/{TOKEN}"

    async def get(self, token: str) -> None:
        """Answer with stage, done and total, or null."""

        def busy() -> dict[str, Any]:
            now = self.workshop(token)[0].busy
            return {"busy": None if now is None else dict(zip(("stage", "done", "total"), now, strict=True))}

        await self.ask(busy)


HANDLERS: tuple[type[NetworkHandler], ...] = (LocateHandler, FineHandler, BusyHandler)


def located_json(found: Located, atlas: Atlas) -> dict[str, Any]:
    """Plain values of an answer, classes by name."""
    return {
        "places": [asdict(place) for place in found.places],
        "classes": [{"name": atlas.outputs[index], "share": share} for index, share in found.classes],
        "width": found.width,
        "height": found.height,
    }


def _address(png: bytes) -> str:
    return "data:image/png;base64," + b64encode(png).decode()
