"""An atlas as it grows, and its shards as they are sent."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError
from atlas.explorer.columns import ColumnTable, Joined
from atlas.explorer.encode import to_json
from atlas.explorer.shards import Shards
from atlas.storage.atlas import open_atlas
from atlas.storage.atlas_header import HEADER
from atlas.storage.files import hash_file

CACHE_BYTES = 128 * 2**20
EDITIONS_KEPT = 4


class Editions:
    """An atlas as it grows: each state of its folder has a token, and the shards of the last few stay at hand."""

    def __init__(self, path: Path, *, pictures: bool = True, columns: ColumnTable | None = None) -> None:
        self._path, self._pictures, self._columns = path, pictures, columns
        self._shards: OrderedDict[str, Shards] = OrderedDict()
        self._seen: tuple[int, str] | None = None
        self._cache: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self._cached = 0
        self._lock = threading.RLock()
        self.words = ""  # on the columns' ids without a counterpart

    @property
    def path(self) -> Path:
        """The atlas' folder."""
        return self._path

    def newest(self) -> tuple[str, Shards]:
        """The folder's present token and shards; the last ones that could be opened, while it is being rewritten.

        Raises AtlasError when it has never been a whole atlas.
        """
        with self._lock:
            header = self._path / HEADER
            changed = header.stat().st_mtime_ns if header.exists() else -1
            if self._seen is None or self._seen[0] != changed:
                try:
                    self._open(header, changed)
                except AtlasError:
                    if self._seen is None:
                        raise
            token = self._seen[1] if self._seen else ""
            return token, self._shards[token]

    def _open(self, header: Path, changed: int) -> None:
        atlas = open_atlas(self._path)
        token = hash_file(header)[:16]
        joined = Joined()
        if self._columns is not None:
            # Browsers keep what a token names, so other columns need another token.
            token = hashlib.sha256(f"{token}{self._columns.digest}".encode()).hexdigest()[:16]
            joined = self._columns.join(atlas.images.ids)
        self._shards[token] = Shards(atlas, pictures=self._pictures, columns=joined.columns)
        self.words = joined.words
        self._seen = changed, token
        while len(self._shards) > EDITIONS_KEPT:
            self._shards.popitem(last=False)

    def edition(self, token: str) -> Shards:
        """The shards of a token. Raises LookupError for one that is not at hand."""
        with self._lock:
            if token not in self._shards:
                raise LookupError(f"no edition {token} of the atlas")
            return self._shards[token]

    def has(self, token: str) -> bool:
        """Whether the token names a state of this atlas that is still at hand."""
        return token in self._shards

    def body(self, token: str, kind: str, numbers: tuple[int, ...]) -> bytes:
        """One shard as gzipped JSON. Raises LookupError for what this edition does not have."""
        key = (token, kind, *numbers)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
            if token not in self._shards:
                raise LookupError(f"no edition {token} of the atlas")
            # Level 1: pictures are compressed already, and gzip only takes back what base64 added.
            body = gzip.compress(to_json(self._shards[token].value(kind, *numbers)).encode(), compresslevel=1, mtime=0)
            self._cache[key] = body
            self._cached += len(body)
            while self._cached > CACHE_BYTES:
                self._cached -= len(self._cache.popitem(last=False)[1])
            return body
