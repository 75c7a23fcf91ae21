"""What the network beside an open atlas answers when it is asked to look inside one of the atlas's images."""

from __future__ import annotations

from atlas.errors import DataError, PictureError
from atlas.looking.page import to_html
from atlas.looking.run import look_with
from atlas.records import Progress
from atlas.workshop.bench import Bench
from atlas.workshop.requests import Looked, LookRequest, Message

_ACROSS = 10
"""Icons along a side of a grid: somebody waits. 100 icons of SqueezeNet take 7 s of a core, 14 a side 13 s."""


def answer(bench: Bench, request: Message, progress: Progress) -> Message | None:
    """The page of one image; None for other requests. Raises DataError for an image that is not there."""
    if not isinstance(request, LookRequest):
        return None
    atlas, job = bench.atlas, bench.job
    if not 0 <= request.image < len(atlas.images):
        raise DataError(f"the atlas has images 0 to {len(atlas.images) - 1}, not {request.image}")
    name = str(atlas.images.ids[request.image])
    index = job.source.index_of(name)
    try:
        picture = job.source.read(index)
    except PictureError as error:
        raise DataError(f"'{name}' cannot be read: {error}") from error
    label = job.source.entries()[index].label
    found = look_with(
        job,
        picture,
        title=name,
        label=job.source.classes[label] if label >= 0 else None,
        bench=bench,
        layers=[layer.name for layer in atlas.layers],
        across=_ACROSS,
        progress=progress,
    )
    return Looked(to_html(found).encode())
