"""Open files for positional reading, one per thread and path, so that threads never share a position."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import BinaryIO

from atlas.errors import PictureError

_PER_THREAD = 8  # shards are read in order: a thread rarely needs two at once


class ThreadFiles:
    """Reads byte ranges of local files; each thread, in each process, keeps its own few open."""

    def __init__(self) -> None:
        self._local = threading.local()

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`. Raises PictureError when the file ends before, or cannot be read."""
        try:
            file = self._file(path)
            file.seek(offset)
            data = file.read(size)
        except OSError as error:
            raise PictureError(f"{path.name} cannot be read: {error.strerror}") from None
        if len(data) < size:
            raise PictureError(f"truncated: {path.name} ends {size - len(data)} bytes too soon")
        return data

    def _file(self, path: Path) -> BinaryIO:
        # A forked process would share the position of what its parent opened.
        if getattr(self._local, "owner", None) != os.getpid():
            self._local.owner, self._local.files = os.getpid(), {}
        files: dict[Path, BinaryIO] = self._local.files
        if path not in files:
            while len(files) >= _PER_THREAD:
                files.pop(next(iter(files))).close()
            files[path] = path.open("rb")
        return files[path]
