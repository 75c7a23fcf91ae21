"""The SHA-256 that a manifest promises."""

from __future__ import annotations

import hashlib
from pathlib import Path

from atlas.errors import DataError


def check_sha256(path: Path, expected: str | None) -> None:
    """Compare a file with its checksum, if one is given. Raises DataError when they differ."""
    if expected is None:
        return
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check 'path'") from None
    if found != expected.strip().lower():
        raise DataError(
            f"{path} has the SHA-256 {found}, not the manifest's {expected}: fetch it again, or correct 'sha256'"
        )
