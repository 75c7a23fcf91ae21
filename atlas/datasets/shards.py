"""WebDataset tar shards: the headers are read once, every picture again by its offset."""

from __future__ import annotations

import json
import os
import posixpath
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from atlas.config import ManifestConfig
from atlas.datasets.checksums import check_sha256
from atlas.datasets.decoding import MAX_BYTES, PICTURE_SUFFIXES, decode
from atlas.datasets.labels import Labels, choose_labels, folder_labels, no_labels, shared_depth, text_labels
from atlas.datasets.locations import RangeReader, Shard, find_shards
from atlas.datasets.source import ListedSource, Listing
from atlas.errors import ConfigError, DataError, PictureError

_SAMPLE = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)  # key and extension, split at the name's first dot
_META = re.compile(r"__[^/]*__($|/)")
_JSON_LABELS = ("label", "cls", "class", "class_name")
_MOST_LABEL_BYTES = 1 << 16  # longer texts are no labels


@dataclass(slots=True)
class _Sample:
    """One picture of a shard, while its members are being read; the picture is (offset, size)."""

    key: str
    picture: tuple[int, int] | None = None
    exact: bool = False  # the extension is a picture's and nothing else, so "jpg" rather than "mask.png"
    texts: dict[str, str] = field(default_factory=dict)


class ShardSource(ListedSource):
    """Pictures in tar shards, in the order of the shards' names and of the samples in each.

    An id is "shard.tar/key", with the folders in which the shards' places differ; a key that comes
    again in a shard has "#2" behind it. Of each picture 20 bytes are kept besides id and label.
    """

    def __init__(self, config: ManifestConfig, base: Path) -> None:
        if config.path is None:
            raise ConfigError(f"the manifest '{config.name}' lacks 'path': name the shards")
        self._shards = find_shards(config.path, base)
        self._reader = RangeReader()
        _check_single(self._shards, config.sha256)
        ids: list[str] = []
        keys: list[str] = []
        places: list[tuple[int, int, int]] = []
        texts: list[dict[str, str]] = []
        taken: dict[str, int] = {}
        for number, (shard, name) in enumerate(zip(self._shards, _names(self._shards), strict=True)):
            taken.clear()
            for sample in _read_samples(shard):
                if sample.picture is None:
                    continue
                taken[sample.key] = taken.get(sample.key, 0) + 1
                again = f"#{taken[sample.key]}" if taken[sample.key] > 1 else ""
                ids.append(f"{name}/{sample.key}{again}")
                keys.append(sample.key)
                places.append((number, *sample.picture))
                texts.append(sample.texts)
        if not ids:
            raise DataError(f"{config.path} holds no pictures (.jpg, .png, ...): check 'path'")
        labels = choose_labels(
            config.labels,
            base,
            ids,
            own=lambda: _own_labels(texts),
            folders=lambda: folder_labels(keys),
            where=f"the shards' content ({config.path})",
        )
        shard_of, offset, size = np.array(places, np.int64).T
        self._shard, self._offset, self._size = shard_of.astype(np.int32), offset.copy(), size.copy()
        listing = Listing(ids, labels.values)
        super().__init__(config.name, labels.classes, listing, listing.digest(labels.classes, stamps=size))

    def read(self, index: int) -> Image.Image:
        """The picture at an index of `entries`. Raises PictureError when it cannot be read."""
        size = int(self._size[index])
        if size > MAX_BYTES:
            raise PictureError(f"too large: the file has {size:,} bytes")
        return decode(self._reader.read(self._shards[self._shard[index]], int(self._offset[index]), size))


def _check_single(shards: Sequence[Shard], sha256: str | None) -> None:
    if sha256 is None:
        return
    if len(shards) > 1 or shards[0].system is not None:
        raise ConfigError("'sha256' is the checksum of one local file, and 'path' stands for more: leave it out")
    check_sha256(Path(shards[0].path), sha256)


def _names(shards: Sequence[Shard]) -> list[str]:
    """Each shard's path below the folder that all share."""
    places = [shard.plain.replace(os.sep, "/").split("/") for shard in shards]
    depth = shared_depth([place[:-1] for place in places])
    return ["/".join(place[depth:]) for place in places]


def _read_samples(shard: Shard) -> Iterator[_Sample]:
    """Samples of one shard in order: neighbouring members with one key, as the webdataset library groups them."""
    sample: _Sample | None = None
    members = 0
    with shard.open() as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    archive.members = []  # type: ignore[attr-defined]  # else tarfile keeps 1.5 KB for each
                    members += 1
                    match = _SAMPLE.fullmatch(member.name)
                    hidden = posixpath.basename(member.name).startswith(".")
                    if not member.isreg() or match is None or hidden or _META.match(member.name):
                        continue
                    key, extension = match[1], match[2].lower()
                    if sample is None or sample.key != key:
                        if sample is not None:
                            yield sample
                        sample = _Sample(key)
                    _add(sample, extension, member, archive, shard)
        except tarfile.ReadError as error:
            raise DataError(_broken(shard, members, error)) from None
        except (OSError, EOFError) as error:
            raise DataError(f"the shard {shard.path} cannot be read: {error}") from None
    if sample is not None:
        yield sample


def _add(sample: _Sample, extension: str, member: tarfile.TarInfo, archive: tarfile.TarFile, shard: Shard) -> None:
    exact = extension in PICTURE_SUFFIXES
    if exact or extension.rpartition(".")[2] in PICTURE_SUFFIXES:
        if sample.picture is None or (exact and not sample.exact):
            sample.picture, sample.exact = (member.offset_data, member.size), exact
    elif extension in ("cls", "txt", "json") and member.size <= _MOST_LABEL_BYTES:
        content = archive.extractfile(member)
        data = b"" if content is None else content.read()
        try:
            text = data.decode("utf-8-sig").strip()
            sample.texts[extension] = _json_label(text) if extension == "json" else text
        except ValueError as error:
            raise DataError(f"{shard.path}: the label '{member.name}' is not valid {extension} text: {error}") from None


def _json_label(text: str) -> str:
    content = json.loads(text)
    if isinstance(content, dict):
        content = next((content[key] for key in _JSON_LABELS if key in content), None)
    is_label = isinstance(content, str) or (isinstance(content, int) and not isinstance(content, bool))
    return str(content) if is_label else ""


def _own_labels(texts: Sequence[dict[str, str]]) -> Labels:
    """From .cls; else from .json's label; else from .txt, where texts repeat (captions do not)."""
    for extension in ("cls", "json", "txt"):
        found = [t.get(extension) for t in texts]
        distinct = {text for text in found if text}
        if distinct and (extension != "txt" or 2 * len(distinct) <= len(texts)):
            return text_labels(found)
    return no_labels(len(texts))


def _broken(shard: Shard, members: int, error: Exception) -> str:
    with shard.open() as file:
        start = file.read(6)
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        return f"the shard {shard.path} is compressed, so its pictures cannot be read by offset: unpack it to .tar"
    if members:
        return f"the shard {shard.path} is cut short or damaged near its file {members} ({error}): fetch it again"
    return f"{shard.path} is not a tar archive ({error}): check 'path'"
