"""Write a store part by part; a part that is whole is never written again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py

from atlas.errors import StoreError
from atlas.records import Spectrum
from atlas.storage.files import hash_file, remove_unfinished, write_bytes
from atlas.storage.parts import (
    PARTS,
    Part,
    PartHeader,
    Skipped,
    part_name,
    read_part_header,
    read_skipped,
    write_part,
)
from atlas.storage.store_index import INDEX, KIND, SUMS, Joined, StoreHeader, build_index, join


@dataclass
class StoreWriter:
    """An unfinished store: `missing` parts are written in any order, then `finish` joins them.

    path: the store's folder. entries: images in the manifest. size: images of the manifest in each part.
    Raises StoreError when the folder holds something else, or a store of another fingerprint and not
    `force`; with `force` that store is deleted.
    """

    path: Path
    header: StoreHeader
    entries: int
    size: int
    force: bool = False
    done: dict[int, PartHeader] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.path = Path(self.path)
        made_from = fingerprint_of(self.path)
        if made_from not in (None, self.header.fingerprint):
            if not self.force:
                raise StoreError(
                    f"{self.path} was made from another configuration (fingerprint {made_from}, now "
                    f"{self.header.fingerprint}): choose another --out, or replace it with --force"
                )
            self._clear()
        try:
            (self.path / PARTS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be made ({error.strerror}): choose another folder") from None
        remove_unfinished(self.path)
        for number in range(self.parts):
            found = read_part_header(self.path / part_name(number))
            # A part of another library version or device differs in its last bits: made anew, not mixed in.
            if found and found == self._expected(number, found.images):
                self.done[number] = found

    @property
    def parts(self) -> int:
        """How many parts the store has when it is whole."""
        return -(-self.entries // self.size)

    @property
    def missing(self) -> list[int]:
        """Numbers of the parts that are yet to be written, ascending."""
        return [number for number in range(self.parts) if number not in self.done]

    def range_of(self, number: int) -> range:
        """The part's images, as places in the manifest."""
        return range(number * self.size, min((number + 1) * self.size, self.entries))

    def skipped_in(self, number: int) -> list[Skipped]:
        """Pictures skipped in a part that is done."""
        with h5py.File(self.path / part_name(number), "r") as file:
            return read_skipped(file)

    def write(self, number: int, part: Part) -> None:
        """Write one part, whole or not at all. Raises StoreError on a full disk or rows that are not finite."""
        (self.path / INDEX).unlink(missing_ok=True)  # the index of a store that is being mended
        write_part(
            self.path / part_name(number), part, self.header.layers, self.header.fingerprint, self.header.environment
        )
        self.done[number] = self._expected(number, len(part.images))

    def join(self) -> Joined:
        """Counts and moments over all parts. Raises StoreError while parts are missing."""
        if self.missing:
            raise StoreError(f"{self.path} lacks {len(self.missing)} of {self.parts} parts: run the extraction again")
        return join(self.path, self.parts, self.header.layers)

    def finish(self, joined: Joined, notes: Sequence[str] = (), spectrum: Spectrum | None = None) -> None:
        """Write the sums of all files, then the index, which makes the store whole."""
        index = build_index(self.path, self.parts, self.header, joined, notes, spectrum)
        names = [part_name(number) for number in range(self.parts)]
        sums = [f"{hash_file(self.path / name)}  {name}\n" for name in names]
        sums.append(f"{hashlib.sha256(index).hexdigest()}  {INDEX}\n")
        write_bytes(self.path / SUMS, "".join(sums).encode())
        write_bytes(self.path / INDEX, index)

    def _expected(self, number: int, images: int) -> PartHeader:
        covered = self.range_of(number)
        return PartHeader(self.header.fingerprint, self.header.environment, covered.start, len(covered), images)

    def _clear(self) -> None:
        """Delete a store's own files, and nothing that a user may have put beside them."""
        for name in (INDEX, SUMS):
            (self.path / name).unlink(missing_ok=True)
        for part in (self.path / PARTS).glob("*.h5"):
            part.unlink()


def fingerprint_of(path: Path) -> str | None:
    """Fingerprint of a store, finished or not; None where there is nothing yet.

    Raises StoreError where something else stands at the path.
    """
    if not path.exists():
        return None
    if not path.is_dir():
        raise StoreError(f"{path} is a file, not the folder of a store: choose another --out")
    index = path / INDEX
    if index.is_file():
        try:
            with h5py.File(index, "r") as file:
                if file.attrs.get("kind") == KIND:
                    return str(file.attrs["fingerprint"])
        except (OSError, KeyError):
            pass  # damaged: its parts still say from what it was made
    found = [header for part in sorted((path / PARTS).glob("*.h5")) if (header := read_part_header(part))]
    if found:
        return found[0].fingerprint
    if any(entry.name not in (PARTS, INDEX, SUMS) for entry in path.iterdir()):
        raise StoreError(f"{path} holds files but is not a store: choose another --out")
    return None
