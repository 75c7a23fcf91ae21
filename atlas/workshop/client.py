"""Asking the network's process, from a server that must not wait for it."""

from __future__ import annotations

import queue
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from atlas.errors import AtlasError, DataError
from atlas.workshop.requests import (
    Fine,
    FineRequest,
    Located,
    LocateRequest,
    Looked,
    LookRequest,
    Message,
    Ready,
    Refused,
    Working,
    from_line,
    to_line,
)

LARGEST_PICTURE = 20_000_000  # bytes of a file that is dropped on the explorer
SIZES = (64, 512)  # px a side of a fine icon: least and most
PLAIN, LOOKING = "atlas.workshop.launch", "atlas.looking.launch"
"""Modules that the process may run: the second can `look`, too. By name: it imports what lies above this room."""
_PATIENCE = 300.0  # seconds for one answer, loading included


class _Child:
    """The process, its answers as they come, and what it said on standard error."""

    def __init__(self, program: str, pipeline: Path, atlas: Path) -> None:
        self.said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        self.process = subprocess.Popen(
            [sys.executable, "-m", program, str(pipeline), str(atlas)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            encoding="utf-8",
        )
        self.answers: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="atlas-workshop", daemon=True).start()

    def ask(self, request: Message) -> None:
        """Send a request. Raises BrokenPipeError when the process has died."""
        assert self.process.stdin is not None
        self.process.stdin.write(to_line(request))
        self.process.stdin.flush()

    def last_words(self) -> str:
        """The last line on standard error."""
        self.said.seek(0)
        lines = self.said.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.said):
            try:
                if stream is not None:
                    stream.close()
            except OSError:  # what was left to send has nowhere to go
                pass

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.answers.put(from_line(line))
        self.answers.put(None)


@dataclass
class Workshop:
    """A network beside an atlas: `fine`, `locate` and `look` may be called from any thread, and wait their turn.

    The process is started by the first request and again after it has died or taken longer than `patience` seconds.
    `busy` is (stage, done, total) while a request runs. Close it, or use it in a `with`.
    """

    pipeline: Path
    atlas: Path
    patience: float = _PATIENCE
    program: str = PLAIN
    busy: tuple[str, int, int] | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _child: _Child | None = field(default=None, repr=False)

    def fine(self, layer: int, level: int, cell: int, *, size: int | None = None) -> Fine:
        """The fine icon of a cell, `size` px a side, by default what suits the network. Raises AtlasError."""
        if size is not None and not SIZES[0] <= size <= SIZES[1]:
            raise AtlasError(f"a fine icon of {size} px cannot be made: give {SIZES[0]} to {SIZES[1]}")
        answer = self._ask(FineRequest(layer, level, cell, size))
        assert isinstance(answer, Fine)
        return answer

    def locate(self, layer: int, picture: bytes) -> Located:
        """Where the positions of an encoded picture fall. Raises AtlasError, DataError for what is no picture."""
        if len(picture) > LARGEST_PICTURE:
            raise DataError(f"the picture has {len(picture):,} bytes: the most is {LARGEST_PICTURE:,}")
        answer = self._ask(LocateRequest(layer, picture))
        assert isinstance(answer, Located)
        return answer

    def look(self, image: int | None, *, picture: bytes = b"", name: str = "") -> bytes:
        """The page of what the network makes of one of the atlas's images, or of a picture that is none of them.

        Needs LOOKING. Raises AtlasError, DataError for what is no picture.
        """
        if len(picture) > LARGEST_PICTURE:
            raise DataError(f"the picture has {len(picture):,} bytes: the most is {LARGEST_PICTURE:,}")
        answer = self._ask(LookRequest(image, picture, name))
        assert isinstance(answer, Looked)
        return answer.page

    def close(self) -> None:
        """End the process, whatever it does."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: FineRequest | LocateRequest | LookRequest) -> Message:
        with self._turn:
            until = time.monotonic() + self.patience
            self.busy = ("load the network", 0, 1)
            try:
                if self._child is None or self._child.process.poll() is not None:
                    self.close()
                    self._child = _Child(self.program, self.pipeline, self.atlas)
                    self._answer(self._child, until)
                self._child.ask(request)
                return self._answer(self._child, until)
            except OSError as error:
                raise self._died() from error
            finally:
                self.busy = None

    def _answer(self, child: _Child, until: float) -> Message:
        """Wait for Ready or an answer, and keep `busy` up to date. Raises AtlasError for what is refused."""
        while True:
            try:
                message = child.answers.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                self.close()
                raise AtlasError(f"the network gave no answer within {self.patience:.0f} s: it was stopped") from None
            if message is None:
                raise self._died()
            if isinstance(message, Working):
                self.busy = (message.stage, message.done, message.total)
            elif isinstance(message, Refused):
                raise AtlasError(message.reason)
            elif isinstance(message, Ready | Fine | Located | Looked):
                return message

    def _died(self) -> AtlasError:
        words = self._child.last_words() if self._child is not None else ""
        self.close()
        return AtlasError(f"the network's process has ended ({words or 'without a word'}): try again")
