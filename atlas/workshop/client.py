"""Asking the network's process, from a server that must not wait for it."""

from __future__ import annotations

import multiprocessing
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from atlas.errors import AtlasError, DataError
from atlas.workshop.requests import Fine, FineRequest, Located, LocateRequest

LARGEST_PICTURE = 20_000_000  # bytes of a file that is dropped on the explorer
SIZES = (64, 512)  # px a side of a fine icon: least and most
_PATIENCE = 300.0  # seconds for one answer, loading included
_POLL = 0.1


@dataclass
class Workshop:
    """A network beside an atlas: `fine` and `locate` may be called from any thread, and wait their turn.

    The process is started by the first request and again after it has died or taken longer than `patience` seconds.
    `busy` is (stage, done, total) while a request runs. Close it, or use it in a `with`.
    """

    pipeline: Path
    atlas: Path
    patience: float = _PATIENCE
    busy: tuple[str, int, int] | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _child: tuple[SpawnProcess, Connection] | None = field(default=None, repr=False)

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

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._child is not None:
            process, connection = self._child
            self._child = None
            connection.close()
            process.kill()
            process.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: FineRequest | LocateRequest) -> Any:
        with self._turn:
            until = time.monotonic() + self.patience
            self.busy = ("load the network", 0, 1)
            try:
                if self._child is None or not self._child[0].is_alive():
                    self._start()
                    self._answer(until, "ready")
                assert self._child is not None
                self._child[1].send(request)
                return self._answer(until, "done")
            except (EOFError, OSError) as error:
                self.close()
                raise AtlasError("the network's process has died, perhaps for want of memory: try again") from error
            finally:
                self.busy = None

    def _start(self) -> None:
        self.close()
        from atlas.workshop.launch import run  # a module without torch: the child imports it first

        # Spawned, never forked: threads of a server do not survive a fork.
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(
            target=run, args=(str(self.pipeline), str(self.atlas), there), name="atlas-workshop", daemon=True
        )
        process.start()
        there.close()
        self._child = (process, here)

    def _answer(self, until: float, wanted: str) -> Any:
        """Take messages until the wanted one; show progress."""
        assert self._child is not None
        connection = self._child[1]
        while True:
            if not connection.poll(_POLL):
                if time.monotonic() > until:
                    self.close()
                    raise AtlasError(f"the network gave no answer within {self.patience:.0f} s: it was stopped")
                continue
            kind, *content = connection.recv()
            if kind == "progress":
                self.busy = (content[0], content[1], content[2])
            elif kind == "error":
                if wanted == "ready":
                    self.close()
                raise AtlasError(content[0])
            elif kind == wanted:
                return content[0] if content else None
