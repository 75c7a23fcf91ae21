"""What the network beside an open atlas answers when it is asked to look inside one of the atlas's images."""

from __future__ import annotations

from PIL import Image

from atlas.datasets import decode
from atlas.errors import DataError, PictureError
from atlas.looking.page import to_html
from atlas.looking.run import look_with
from atlas.records import Progress
from atlas.workshop.bench import Bench
from atlas.workshop.requests import Looked, LookRequest, Message

_ACROSS = 10
"""Icons along a side of a grid: somebody waits. 100 icons of SqueezeNet take 7 s of a core, 14 a side 13 s."""


def answer(bench: Bench, request: Message, progress: Progress) -> Message | None:
    """The page of one image; None for other requests. Raises DataError for one that is not there or no picture."""
    if not isinstance(request, LookRequest):
        return None
    title, picture, label = _opened(bench, request)
    found = look_with(
        bench.job,
        picture,
        title=title,
        label=label,
        bench=bench,
        layers=[layer.name for layer in bench.atlas.layers],
        across=_ACROSS,
        progress=progress,
    )
    return Looked(to_html(found).encode())


def _opened(bench: Bench, request: LookRequest) -> tuple[str, Image.Image, str | None]:
    """The picture with its name and its label's."""
    shown, source = bench.shown, bench.job.source
    if request.image is None:
        try:
            return request.name or "a picture", decode(request.picture), None
        except PictureError as error:
            raise DataError(f"this is no picture that can be read: {error}") from error
    if not 0 <= request.image < len(shown.images):
        raise DataError(f"the atlas has images 0 to {len(shown.images) - 1}, not {request.image}")
    name = str(shown.images.ids[request.image])
    index = source.index_of(name)
    label = source.entries()[index].label
    try:
        title = f"{name}, seen by {bench.title}" if bench.title else name
        return title, source.read(index), source.classes[label] if label >= 0 else None
    except PictureError as error:
        raise DataError(f"'{name}' cannot be read: {error}") from error
