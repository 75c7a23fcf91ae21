"""Whole or absent: files and folders are written beside their place, then renamed into it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atlas.errors import StoreError

BESIDE = ".beside-"
"""How the name of an unfinished file or folder begins; whatever bears it may be deleted."""


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write a file to; it takes the place of `path` when the block ends well.

    The folders above it are made. On any error the unfinished file is removed and `path` stays as it was. Raises
    StoreError on a full disk, and where the folder cannot be made or written to.
    """
    beside = path.with_name(f"{BESIDE}{os.getpid()}-{path.name}")
    make_folder(path.parent)
    try:
        yield beside
        _flush(beside)
        beside.replace(path)
        _flush(path.parent)
    except OSError as error:
        _explain(error, path)
        raise
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`; it is renamed to `path` when the block ends well.

    `path` itself must not exist by then. The folders above it are made. Raises StoreError on a full disk, and where
    a folder cannot be made or written to.
    """
    beside = path.with_name(f"{BESIDE}{os.getpid()}-{path.name}")
    shutil.rmtree(beside, ignore_errors=True)
    make_folder(beside, new=True)
    try:
        yield beside
        beside.rename(path)
    except OSError as error:
        _explain(error, path)
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def make_folder(folder: Path, *, new: bool = False) -> None:
    """Make a folder and those above it; new refuses one that is there. Raises StoreError where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=not new)
    except OSError as error:
        _explain(error, folder)
        raise StoreError(f"the folder {folder} cannot be made ({error.strerror}): choose another place") from error


def remove_unfinished(folder: Path) -> None:
    """Delete, at any depth, what an interrupted run has left beside its place."""
    for left in list(folder.rglob(f"{BESIDE}*")):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document, keys in the order given, whole or not at all; NaN is refused (ValueError)."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    with written_beside(path) as beside:
        beside.write_text(text + "\n", encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all. Raises StoreError on a full disk."""
    with written_beside(path) as beside:
        beside.write_bytes(content)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Wait until a file or a folder's list of names is on the disk: a name must never outlive its bytes."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explain(error: OSError, path: Path) -> None:
    """Raise StoreError for what a user can mend; return for the rest."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise StoreError(
            f"the disk is full, so {path} was not written: free some space and run the same command again"
        ) from error
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        raise StoreError(f"{path} cannot be written ({error.strerror}): choose another folder") from error
