"""Pictures in a folder on disk: a class-per-folder tree or a flat folder."""

from __future__ import annotations

import heapq
import os
import stat
from pathlib import Path

import numpy as np
from PIL import Image

from atlas.config import ManifestConfig, expand_path
from atlas.datasets.decoding import MAX_BYTES, decode, is_picture
from atlas.datasets.labels import choose_labels, folder_labels, no_labels
from atlas.datasets.source import ListedSource, Listing
from atlas.errors import ConfigError, DataError, PictureError


class FolderSource(ListedSource):
    """Pictures below a folder; an id is the path below it, with "/" and suffix."""

    def __init__(self, config: ManifestConfig, base: Path) -> None:
        if config.path is None:
            raise ConfigError(f"the manifest '{config.name}' lacks 'path': name the folder of pictures")
        self._root = expand_path(config.path, base)
        if not self._root.exists():
            raise DataError(f"the folder {self._root} does not exist: check 'path' in the manifest '{config.name}'")
        if not self._root.is_dir():
            raise DataError(f'{self._root} is a file, not a folder: name its folder, or use source = "zip"')
        found = sorted((_id_of(place), place, size) for place, size in _find_pictures(self._root))
        if not found:
            raise DataError(f"the folder {self._root} holds no pictures (.jpg, .png, ...): check 'path'")
        ids = [id for id, _, _ in found]
        # Names that are not UTF-8 have ids that differ from their paths.
        self._places = {id: place for id, place, _ in found if id != place}
        labels = choose_labels(
            config.labels,
            base,
            ids,
            own=lambda: folder_labels(ids) or no_labels(len(ids)),
            folders=lambda: folder_labels(ids),
            where=f"the folder {self._root}",
        )
        listing = Listing(ids, labels.values)
        sizes = np.array([size for _, _, size in found], np.int64)
        super().__init__(config.name, labels.classes, listing, listing.digest(labels.classes, stamps=sizes))

    def read(self, index: int) -> Image.Image:
        """The picture at an index of `entries`. Raises PictureError when it cannot be read."""
        id = self._listing.id(index)
        return decode(_read_file(os.path.join(self._root, self._places.get(id, id))))  # noqa: PTH118


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (pathlib costs a tenth of a small picture's reading)
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise PictureError(f"too large: the file has {size:,} bytes")
            return file.read()
    except OSError as error:
        raise PictureError(f"the file cannot be opened: {error.strerror}") from None


def _id_of(place: str) -> str:
    if place.isascii():
        return place
    return place.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _find_pictures(root: Path) -> list[tuple[str, int]]:
    """Paths below root, with "/", and sizes in bytes (-1: a link to nowhere), in no order.

    Each real folder is read once, so a link that closes a loop ends there; real folders come before
    links to folders, so that a folder reached both ways goes by its own name.
    """
    found: list[tuple[str, int]] = []
    seen: set[tuple[int, int]] = set()
    folders, links = [""], list[str]()
    while folders or links:
        place = folders.pop() if folders else heapq.heappop(links)
        path = os.path.join(root, place)  # noqa: PTH118
        try:
            about = os.stat(path)  # noqa: PTH116
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            with os.scandir(path) as entries:
                for entry in entries:
                    inner = f"{place}/{entry.name}" if place else entry.name
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(inner)
                    elif entry.is_symlink() and os.path.isdir(entry.path):  # noqa: PTH112
                        heapq.heappush(links, inner)
                    elif is_picture(entry.name) and (size := _size(entry)) is not None:
                        found.append((inner, size))
        except OSError as error:
            raise DataError(f"the folder {path} cannot be read: {error.strerror}") from None
    return found


def _size(entry: os.DirEntry[str]) -> int | None:
    """Bytes; -1 for a link to nowhere (told when read); None for what is no file, such as a pipe."""
    try:
        about = entry.stat()
    except OSError:
        return -1
    return about.st_size if stat.S_ISREG(about.st_mode) else None
