"""What the network makes of one image, as a page of its own: made on request beside a server, or put into a site."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError
from atlas.explorer.handlers import TOKEN
from atlas.explorer.network import NetworkHandler
from atlas.records import Progress
from atlas.storage.atlas import Atlas
from atlas.workshop import Workshop
from atlas.workshop.client import LOOKING

VIEWS_NAME = "views"
_KEPT = 16


class Pages:
    """The pages made last, by the atlas's token and the image; a visitor's own pictures count from -1 down."""

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, token: str, image: int) -> bytes | None:
        """A page that was made before."""
        with self._lock:
            page = self._pages.get((token, image))
            if page is not None:
                self._pages.move_to_end((token, image))
            return page

    def put(self, token: str, image: int, page: bytes) -> None:
        """Keep a page, and forget the one that was not asked for the longest."""
        with self._lock:
            self._pages[token, image] = page
            while len(self._pages) > _KEPT:
                self._pages.popitem(last=False)


_PAGES = Pages()
_NUMBERS = 10**9  # a visitor's picture is found by a number that nobody else can guess
_LONGEST_NAME = 200


def chosen_views(atlas: Atlas, ids: Sequence[str], pipeline: str | Path | None, *, pictures: bool) -> tuple[int, ...]:
    """The images whose pages a site is to have, by their ids. Raises AtlasError for what cannot be."""
    if not ids:
        return ()
    if pipeline is None:
        raise AtlasError("pages of single images take the network: name the atlas's pipeline, too (--pipeline)")
    if not pictures:
        raise AtlasError("pages of single images show them, so a site without pictures has none: leave one of them out")
    return tuple(dict.fromkeys(atlas.images.ids.index_of(name) for name in ids))


def write_views(
    folder: Path, atlas: Atlas, images: Sequence[int], pipeline: str | Path | None, progress: Progress
) -> None:
    """Make the pages of some images and write them as IMAGE.html. Raises AtlasError where the network cannot."""
    if not images or pipeline is None:
        return
    folder.mkdir()
    with Workshop(Path(pipeline), atlas.path, program=LOOKING) as workshop:
        for done, image in enumerate(images):
            progress("pages of single images", done, len(images))
            (folder / f"{image}.html").write_bytes(workshop.look(image))
    progress("pages of single images", len(images), len(images))


class ViewHandler(NetworkHandler):
    """POST view/TOKEN/IMAGE: look inside an image, now; GET view/TOKEN/IMAGE.html: the page."""

    PATTERN = rf"/view/{TOKEN}/([0-9]{{1,9}})(?:\.html)?"

    async def post(self, token: str, image: str) -> None:
        """Answer with the page's address once it is made, or with why not."""

        def look() -> dict[str, Any]:
            workshop, _ = self.workshop(token)
            if _PAGES.get(token, int(image)) is None:
                _PAGES.put(token, int(image), workshop.look(int(image)))
            return {"page": f"view/{token}/{int(image)}.html"}

        await self.ask(look)

    async def get(self, token: str, image: str) -> None:
        """Answer with a page that was made, or make it."""

        def page() -> bytes:
            workshop, _ = self.workshop(token)
            found = _PAGES.get(token, int(image))
            if found is None:
                found = workshop.look(int(image))
                _PAGES.put(token, int(image), found)
            return found

        try:
            body = await self.aside(page)
        except LookupError:
            self.send_error(404)
        except AtlasError as error:
            self.send_error(500, reason_in_words=str(error))
        else:
            self.show(body)


class OwnViewHandler(NetworkHandler):
    """POST view/TOKEN/own?name=NAME with a picture: look inside it; GET view/TOKEN/own/N.html: its page, while kept."""

    PATTERN = rf"/view/{TOKEN}/own(?:/([0-9]{{1,9}})\.html)?"

    async def post(self, token: str, _number: str | None) -> None:
        """Answer with the page's address once it is made, or with why not."""
        picture, name = self.request.body, self.get_query_argument("name", "")[:_LONGEST_NAME]

        def look() -> dict[str, Any]:
            workshop, _ = self.workshop(token)
            page = workshop.look(None, picture=picture, name=name)
            number = secrets.randbelow(_NUMBERS)
            _PAGES.put(token, -1 - number, page)
            return {"page": f"view/{token}/own/{number}.html"}

        await self.ask(look)

    def get(self, token: str, number: str | None) -> None:
        """Answer with a page that is still kept."""
        page = None if number is None else _PAGES.get(token, -1 - int(number))
        if page is None:
            self.send_error(404)
        else:
            self.show(page)
