"""Pictures in a zip archive, read in place."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from atlas.config import ManifestConfig, expand_path
from atlas.datasets.checksums import check_sha256
from atlas.datasets.decoding import MAX_BYTES, decode, is_picture
from atlas.datasets.handles import ThreadFiles
from atlas.datasets.labels import choose_labels, folder_labels, no_labels
from atlas.datasets.source import ListedSource, Listing
from atlas.errors import ConfigError, DataError, PictureError

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 0x1


class ZipSource(ListedSource):
    """Pictures in a zip; an id is the entry's name, and is never used as a path.

    `zipfile` reads the directory once; of each entry 29 bytes are kept (its own records take 600).
    A picture is then read by its offset, without any state that threads could share.
    """

    def __init__(self, config: ManifestConfig, base: Path) -> None:
        if config.path is None:
            raise ConfigError(f"the manifest '{config.name}' lacks 'path': name the zip file")
        self._path = expand_path(config.path, base)
        self._files = ThreadFiles()
        check_sha256(self._path, config.sha256)
        infos = _pictures_of(self._path)
        ids = [id for id, _ in infos]
        self._offset = np.array([i.header_offset for _, i in infos], np.int64)
        self._packed = np.array([i.compress_size for _, i in infos], np.int64)
        self._size = np.array([i.file_size for _, i in infos], np.int64)
        self._crc = np.array([i.CRC for _, i in infos], np.uint32)
        # -1: encrypted
        self._method = np.array([-1 if i.flag_bits & _ENCRYPTED else i.compress_type for _, i in infos], np.int16)
        labels = choose_labels(
            config.labels,
            base,
            ids,
            own=lambda: folder_labels(ids) or no_labels(len(ids)),
            folders=lambda: folder_labels(ids),
            where=f"the zip {self._path}",
        )
        listing = Listing(ids, labels.values)
        super().__init__(config.name, labels.classes, listing, listing.digest(labels.classes, stamps=self._crc))

    def read(self, index: int) -> Image.Image:
        """The picture at an index of `entries`. Raises PictureError when it cannot be read."""
        return decode(self._bytes(index))

    def _bytes(self, index: int) -> bytes:
        size, method = int(self._size[index]), int(self._method[index])
        if size > MAX_BYTES:
            raise PictureError(f"too large: unpacked, the file has {size:,} bytes")
        start = int(self._offset[index])
        head = self._files.read(self._path, start, _LOCAL_HEADER.size)
        signature, *_, name_length, extra_length = _LOCAL_HEADER.unpack(head)
        if signature != b"PK\3\4":
            raise PictureError("damaged: the zip has no entry where its directory says")
        body = start + _LOCAL_HEADER.size + name_length + extra_length
        packed = self._files.read(self._path, body, int(self._packed[index]))
        data = _unpack(packed, method, size)
        if len(data) != size or zlib.crc32(data) != int(self._crc[index]):
            raise PictureError("damaged: the zip's checksum does not fit")
        return data


def _unpack(packed: bytes, method: int, size: int) -> bytes:
    if method == zipfile.ZIP_STORED:
        return packed
    if method == zipfile.ZIP_DEFLATED:
        try:
            # No more than the directory promises: a bomb ends here.
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
        except zlib.error as error:
            raise PictureError(f"damaged: {error}") from None
    if method == -1:
        raise PictureError("the zip's entry is encrypted")
    raise PictureError(f"the zip's compression method {method} is not read: pack it stored or deflated")


def _pictures_of(path: Path) -> list[tuple[str, zipfile.ZipInfo]]:
    """Ids and directory records, sorted by id; of two entries of one name the last, as zipfile has it."""
    if not path.exists():
        raise DataError(f"the zip {path} does not exist: check 'path'")
    if path.is_dir():
        raise DataError(f'{path} is a folder, not a zip: use source = "folder"')
    try:
        with zipfile.ZipFile(path) as archive:
            infos = {_id_of(i.filename): i for i in archive.infolist() if not i.is_dir()}
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is not a zip, or a damaged one ({error}): fetch it again") from None
    except (OSError, NotImplementedError) as error:
        raise DataError(f"the zip {path} cannot be read: {error}") from None
    pictures = sorted((id, info) for id, info in infos.items() if is_picture(id))
    if not pictures:
        raise DataError(f"the zip {path} holds no pictures (.jpg, .png, ...) among {len(infos)} files: check 'path'")
    return pictures


def _id_of(name: str) -> str:
    """Some Windows programs write backslashes, against the format's rule."""
    return name if "/" in name else name.replace("\\", "/")
