"""What the server answers beside Bokeh's page: shards by their numbers, the user's regions, tables of selections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tornado.web import RequestHandler

from atlas.errors import AtlasError
from atlas.explorer.access import Access
from atlas.explorer.editions import Editions
from atlas.explorer.marks import add_region, drop_region, judge_suspect, read_marks, read_regions
from atlas.explorer.tables import selection_parquet
from atlas.workshop import Workshop

TOKEN = r"([0-9a-f]{16})"
MOST_BYTES_OF_A_REGION = 2**16
MOST_LETTERS_OF_A_SEARCH = 500
FOUND_TOLD = 50


@dataclass(frozen=True)
class Desk:
    """What all handlers of a server share: its atlases, the names it answers to, who may ask, the networks at hand."""

    library: Sequence[Editions]
    hosts: frozenset[str]
    access: Access
    workshops: Mapping[Path, Workshop] = field(default_factory=dict)

    def editions(self, token: str) -> Editions:
        """The atlas that a token names. Raises LookupError for none of them."""
        for editions in self.library:
            if editions.has(token):
                return editions
        raise LookupError(f"no edition {token} of any atlas here")


class DeskHandler(RequestHandler):
    """What all answers have in common: refused to strangers, errors without words of the request."""

    PATTERN: ClassVar[str]

    def initialize(self, desk: Desk) -> None:
        """Take what all requests share."""
        self.desk = desk

    def prepare(self) -> None:
        """Refuse another site's page, another host's name (DNS rebinding), and who has no right to this server."""
        foreign = self.request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none")
        origin = self.request.headers.get("Origin")
        elsewhere = origin is not None and origin.partition("://")[2].lower() not in self.desk.hosts
        if foreign or elsewhere or self.request.host.lower() not in self.desk.hosts:
            self.send_error(403)
        elif not self.desk.access.admits(self):
            self.send_error(401)

    async def answer(self, make: Callable[[], bytes | dict[str, Any]]) -> bytes | dict[str, Any] | None:
        """Run some work aside and return its result; None when an error was sent instead."""
        try:
            return await asyncio.get_running_loop().run_in_executor(None, make)
        except ValueError as error:
            self.send_error(400, reason_in_words=str(error))
        except LookupError:
            self.send_error(404)
        except AtlasError as error:
            self.send_error(500, reason_in_words=str(error) if self.desk.access.needed is False else "")
        return None

    def set_default_headers(self) -> None:
        """Say to browsers that these answers belong to this page alone."""
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Cache-Control", "no-store")

    def write_error(self, status_code: int, *, reason_in_words: str = "", **_: Any) -> None:
        """Answer errors with a sentence of our own or their number alone."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(reason_in_words or str(status_code))


class ShardHandler(DeskHandler):
    """GET data/TOKEN/KIND/N/N/....json: everything in the address but the kind is a number or a known token."""

    PATTERN = rf"/data/{TOKEN}/([a-z]{{1,8}})((?:/[0-9]{{1,9}}){{1,4}})\.json"

    async def get(self, token: str, kind: str, numbers: str) -> None:
        """Answer with the shard, or 404."""
        wanted = tuple(int(number) for number in numbers.strip("/").split("/"))
        body = await self.answer(lambda: self.desk.editions(token).body(token, kind, wanted))
        if body is None:
            return
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Content-Encoding", "gzip")
        # The token changes with the atlas, so what it names never does.
        self.set_header("Cache-Control", "private, max-age=31536000, immutable")
        self.finish(body)


class FindHandler(DeskHandler):
    """GET find/TOKEN?q=WORDS: images whose ids hold some words, and how many there are."""

    PATTERN = rf"/find/{TOKEN}"

    async def get(self, token: str) -> None:
        """Answer with {"found": [[image, id], ...], "images": all}, or 400 for no words or too many."""
        words = self.get_query_argument("q", "").strip()
        if not 0 < len(words) <= MOST_LETTERS_OF_A_SEARCH:
            self.send_error(400)
            return
        found = await self.answer(lambda: self._find(token, words))
        if found is not None:
            self.finish(found)

    def _find(self, token: str, words: str) -> dict[str, Any]:
        ids = self.desk.editions(token).edition(token).atlas.images.ids
        images = ids.containing(words)
        return {"found": [[image, ids[image]] for image in images[:FOUND_TOLD].tolist()], "images": len(images)}


class MarksHandler(DeskHandler):
    """GET, POST and DELETE marks/TOKEN: the user's regions of an atlas."""

    PATTERN = rf"/marks/{TOKEN}"
    KEPT: ClassVar[str] = "regions"

    async def get(self, token: str) -> None:
        """All regions."""
        await self._change(token, read_regions)

    async def post(self, token: str) -> None:
        """Keep the region of the body; answers with all."""
        region = self._said()
        if region is not None:
            await self._change(token, lambda path: add_region(path, region))

    async def delete(self, token: str) -> None:
        """Delete the region whose id the body says; answers with the others."""
        region = self._said()
        if region is not None:
            await self._change(token, lambda path: drop_region(path, str(region.get("id"))))

    def _said(self) -> dict[str, Any] | None:
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip()
        # A form of another site can send no JSON: so this refuses what slipped through the checks of the origin.
        if kind != "application/json" or len(self.request.body) > MOST_BYTES_OF_A_REGION:
            self.send_error(400)
            return None
        try:
            said = json.loads(self.request.body)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            self.send_error(400)
            return None
        return said

    async def _change(self, token: str, change: Callable[[Path], Any]) -> None:
        found = await self.answer(
            lambda: {self.KEPT: change(self.desk.editions(token).edition(token).atlas.marks_path)}
        )
        if found is not None:
            self.finish(found)


class JudgementHandler(MarksHandler):
    """GET and POST marks/TOKEN/suspects: what the user says of an atlas's suspects."""

    PATTERN = rf"/marks/{TOKEN}/suspects"
    SUPPORTED_METHODS = ("GET", "POST")
    KEPT = "suspects"

    async def get(self, token: str) -> None:
        """All that is said, by the suspects' ids."""
        await self._change(token, lambda path: read_marks(path).suspects)

    async def post(self, token: str) -> None:
        """Keep the body's mark and note of the suspect that it names, or with "mark": null take them back."""
        said = self._said()
        if said is not None:
            judgement = None if said.get("mark") is None else said
            await self._change(token, lambda path: judge_suspect(path, said.get("id"), judgement))


class TableHandler(DeskHandler):
    """POST table/TOKEN/LAYER/LEVEL with sample rows as little-endian uint32: the same as a Parquet file."""

    PATTERN = rf"/table/{TOKEN}/([0-9]{{1,5}})/([0-9]{{1,2}})"

    async def post(self, token: str, layer: str, level: str) -> None:
        """Answer with the file, or 404 for rows that the layer does not have."""
        body = self.request.body
        if len(body) % 4:
            self.send_error(400)
            return
        rows = np.frombuffer(body, "<u4").astype(np.int64)
        found = await self.answer(
            lambda: selection_parquet(self.desk.editions(token).edition(token).atlas, int(layer), int(level), rows)
        )
        if found is not None:
            self.set_header("Content-Type", "application/vnd.apache.parquet")
            self.finish(found)


HANDLERS: tuple[type[DeskHandler], ...] = (ShardHandler, FindHandler, MarksHandler, JudgementHandler, TableHandler)
