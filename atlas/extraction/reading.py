"""Pictures read and resized by threads, handed out in order, a bounded number of them ahead."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from atlas.cores import core_count
from atlas.datasets import ImageSource
from atlas.errors import PictureError
from atlas.models import Preprocess

_TOGETHER = 8
"""Pictures of one task: handing over 32 px pictures one by one costs as much as reading them."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture ready for the network, uint8 (channels, height, width), or why there is none.

    index: its place in the manifest. width, height: of the original, in px after EXIF rotation.
    """

    index: int
    pixels: NDArray[np.uint8] | None
    width: int = 0
    height: int = 0
    reason: str = ""


def worker_count(workers: int | Literal["auto"]) -> int:
    """Threads that read pictures: "auto" is the number of cores this process may use, at most 8."""
    if workers != "auto":
        return workers
    return min(core_count(), 8)


def read_pictures(
    source: ImageSource,
    preprocess: Preprocess,
    indices: Iterable[int],
    *,
    workers: int,
    ahead: int,
    bursts: bool = False,
) -> Generator[Picture, None, None]:
    """Yield the pictures at `indices` in that order; at most about `ahead` wait to be taken.

    Threads are enough: decoding and resizing leave Python's lock, and the network needs no lock while it
    runs. With 0 workers each picture is read when it is asked for. What cannot be decoded or resized is a Picture
    with a reason; any other error of the source is raised. bursts: `ahead` pictures are read at once, and nothing while
    they are being used: for a network on the same cores, which would only be slowed.
    """

    def read(some: Sequence[int]) -> list[Picture]:
        return [_read(source, preprocess, index) for index in some]

    numbers = iter(indices)
    if workers == 0:
        for index in numbers:
            yield _read(source, preprocess, index)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="atlas-read") as pool:
        waiting: deque[Future[list[Picture]]] = deque()
        try:
            while some := list(itertools.islice(numbers, _TOGETHER)):
                waiting.append(pool.submit(read, some))
                if bursts and len(waiting) * _TOGETHER >= ahead:
                    while waiting:
                        yield from waiting.popleft().result()
                elif not bursts and len(waiting) * _TOGETHER >= ahead + workers * _TOGETHER:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:  # an error, or a caller that has enough
            for future in waiting:
                future.cancel()


def _read(source: ImageSource, preprocess: Preprocess, index: int) -> Picture:
    try:
        image = source.read(index)
        return Picture(index, preprocess.picture(image), *image.size)
    except PictureError as error:
        return Picture(index, None, reason=str(error))
