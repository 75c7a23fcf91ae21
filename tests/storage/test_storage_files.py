"""Files and folders written beside their place: whole, or one sentence that says why not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from atlas.errors import StoreError
from atlas.storage.files import BESIDE, folder_beside, write_bytes, written_beside


def write_folder(path: Path) -> None:
    with folder_beside(path) as beside:
        (beside / "content").write_bytes(b"x")


def write_file(path: Path) -> None:
    write_bytes(path, b"x")


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_missing_parents_are_made(tmp_path: Path, write) -> None:
    write(tmp_path / "a" / "b" / "c")
    content = tmp_path / "a" / "b" / "c"
    assert (content if content.is_file() else content / "content").read_bytes() == b"x"
    assert [path.name for path in content.parent.iterdir()] == ["c"]


@pytest.mark.parametrize("write", [write_file, write_folder])
@pytest.mark.parametrize("place", ["file/c", "file/b/c"])
def test_a_file_in_the_way_of_a_folder_is_told(tmp_path: Path, write, place: str) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(StoreError, match="cannot be made"):
        write(tmp_path / place)
    assert (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.parametrize("write", [write_file, write_folder])
@pytest.mark.parametrize(
    ("number", "sentence"),
    [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "cannot be written"), (errno.EEXIST, "cannot be made")],
)
def test_a_folder_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write, number: int, sentence: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreError, match=sentence):
        write(tmp_path / "a" / "c")


def test_an_error_of_the_block_is_left_as_it_is_and_nothing_remains(tmp_path: Path) -> None:
    for open_beside in (written_beside, folder_beside):
        with pytest.raises(FileExistsError), open_beside(tmp_path / "c"):
            raise FileExistsError
    assert not list(tmp_path.rglob(f"{BESIDE}*"))
