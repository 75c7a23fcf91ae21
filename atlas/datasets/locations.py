"""Where shards are: local paths and URLs, with braces and globs, and byte ranges read from either."""

from __future__ import annotations

import asyncio
import functools
import glob
import importlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from atlas.config import expand_path
from atlas.datasets.handles import ThreadFiles
from atlas.errors import DataError

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*(://|::)")
_RANGE = re.compile(r"^(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?$")
_MOST_SHARDS = 1_000_000
_PAUSES = (0.5, 2.0)  # seconds before a second and a third try


def expand_braces(pattern: str) -> list[str]:
    """Expand {a,b} and {000..127} as a shell does, nested and in order; other braces stay.

    Raises DataError for more than a million results.
    """
    start, end = _first_group(pattern)
    if end < 0:
        return [pattern]
    head, inner = pattern[:start], pattern[start + 1 : end]
    results: list[str] = []
    tails = expand_braces(pattern[end + 1 :])
    for choice in _choices(inner):
        results += [head + choice + tail for tail in tails]
        if len(results) > _MOST_SHARDS:
            raise DataError(f"'{pattern}' stands for more than {_MOST_SHARDS:,} shards: check its ranges")
    return results


def _first_group(pattern: str) -> tuple[int, int]:
    """Where the first brace that holds a choice begins and ends, or (-1, -1)."""
    for start in (i for i, character in enumerate(pattern) if character == "{"):
        depth = 0
        for end in range(start, len(pattern)):
            depth += {"{": 1, "}": -1}.get(pattern[end], 0)
            if depth == 0:
                inner = pattern[start + 1 : end]
                if len(_split(inner)) > 1 or _RANGE.match(inner):
                    return start, end
                break
    return -1, -1


def _split(inner: str) -> list[str]:
    """Split at the commas that stand in no further brace."""
    parts, depth = [""], 0
    for character in inner:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _choices(inner: str) -> list[str]:
    if not (match := _RANGE.match(inner)):
        return [text for part in _split(inner) for text in expand_braces(part)]
    first, last = int(match[1]), int(match[2])
    step = abs(int(match[3] or 1)) or 1
    if abs(last - first) // step >= _MOST_SHARDS:
        raise DataError(f"'{{{inner}}}' stands for more than {_MOST_SHARDS:,} shards: check the range")
    padded = any(len(text.lstrip("-")) > 1 and text.lstrip("-")[0] == "0" for text in (match[1], match[2]))
    width = max(len(match[1]), len(match[2])) if padded else 0
    numbers = range(first, last + 1, step) if last >= first else range(first, last - 1, -step)
    return [f"{number:0{width}d}" for number in numbers]


@dataclass(frozen=True)
class Shard:
    """One shard: its full path inside its file system (None: local), which is its place on the disk or its URL."""

    path: str
    system: Any = None

    @property
    def plain(self) -> str:
        """The path without a URL's query, from which ids are made."""
        return self.path if self.system is None else self.path.partition("?")[0]

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The shard from its beginning, seekable. Raises DataError when it is not there."""
        try:
            file = open(self.path, "rb") if self.system is None else self.system.open(self.path)  # noqa: PTH123, SIM115
        except (FileNotFoundError, IsADirectoryError):
            raise DataError(f"the shard {self.path} does not exist: check 'path'") from None
        except _troubles() as error:
            raise DataError(f"the shard {self.path} cannot be opened: {_reason(error)}") from None
        with file:
            if not file.seekable():
                raise DataError(f"the server of {self.path} does not serve byte ranges: fetch the shard first")
            yield file


class RangeReader:
    """Reads byte ranges of shards from several threads at once."""

    def __init__(self) -> None:
        self._files = ThreadFiles()

    def read(self, shard: Shard, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`. Raises PictureError when they are not there.

        A remote shard that stays out of reach raises DataError instead: skipping its pictures would
        give another store on a day with a better network.
        """
        if shard.system is None:
            return self._files.read(Path(shard.path), offset, size)
        for pause in _PAUSES:
            try:
                return _fetch(shard, offset, size)
            except _troubles():
                time.sleep(pause)
        try:
            return _fetch(shard, offset, size)
        except _troubles() as error:
            raise DataError(
                f"the shard {shard.path} cannot be reached ({_reason(error)}): run again to go on"
            ) from None


def _fetch(shard: Shard, offset: int, size: int) -> bytes:
    # One request for one range: an open file would fetch its neighbours again in every thread.
    data: bytes = shard.system.cat_file(shard.path, start=offset, end=offset + size)
    if len(data) > size:
        raise DataError(f"the server of {shard.path} does not serve byte ranges: fetch the shard first")
    if len(data) < size:
        raise OSError(f"{len(data)} bytes came instead of {size}")
    return data


def find_shards(text: str, base: Path) -> list[Shard]:
    """Shards that a manifest's path stands for, sorted: a file, a folder's *.tar, globs, braces, URLs.

    `~` and `${VARIABLE}` expand, a relative path is relative to base. A file that exists by that very
    name is taken as it is. Raises DataError when there is none.
    """
    local = expand_path(text, base)  # also refuses unset variables
    plain = re.sub(r"\$\{(\w+)\}", lambda match: os.environ[match.group(1)], text)
    if _SCHEME.match(plain):
        return _find_remote(plain)
    if local.is_file():
        return [Shard(str(local))]
    if local.is_dir():
        local = local / "*.tar"
    found: set[str] = set()
    for pattern in expand_braces(str(local)):
        if Path(pattern).is_file() or not glob.has_magic(pattern):
            if not Path(pattern).is_file():
                raise DataError(f"the shard {pattern} does not exist: check 'path'")
            found.add(pattern)
        else:
            found |= {path for path in glob.glob(pattern, recursive=True) if Path(path).is_file()}  # noqa: PTH207
    if not found:
        raise DataError(f"no shard fits {local}: check 'path'")
    return [Shard(path) for path in sorted(found)]


def _find_remote(text: str) -> list[Shard]:
    import fsspec

    found: dict[str, Any] = {}
    try:
        for url in expand_braces(text):
            system, path = fsspec.core.url_to_fs(url)
            # A "?" in an address begins its query.
            magic = glob.has_magic(path.partition("?")[0] if "http" in url else path)
            for match in system.glob(path) if magic else [path]:
                found[str(match)] = system
    except ImportError as error:
        raise DataError(
            f"reading {text} needs a package that is not installed ({error}): pip install 'activation-atlas[url]'"
        ) from None
    except _troubles() as error:
        raise DataError(f"{text} cannot be read: {_reason(error)}") from None
    if not found:
        raise DataError(f"no shard fits {text}: check 'path'")
    return [Shard(path, found[path]) for path in sorted(found)]


@functools.cache
def _troubles() -> tuple[type[BaseException], ...]:
    """What a file system or a network raises when it cannot deliver."""
    kinds: tuple[type[BaseException], ...] = (OSError, ValueError, RuntimeError, asyncio.TimeoutError)
    try:
        return (*kinds, importlib.import_module("aiohttp").ClientError)
    except ImportError:
        return kinds


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
