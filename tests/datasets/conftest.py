"""Small pictures and datasets, written by the tests themselves."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from atlas.config import ManifestConfig
from atlas.datasets import ImageSource, open_source


def encode(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def plain(number: int, size: tuple[int, int] = (6, 4)) -> bytes:
    """A PNG of one colour that tells its number."""
    return encode(Image.new("RGB", size, (number % 256, number // 256, 7)))


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    return encode


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    return plain


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Mapping[str, bytes]], Path]:
    """Write files below a folder "data" of the test's own and return it."""

    def into(files: Mapping[str, bytes]) -> Path:
        root = tmp_path / "data"
        for name, data in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return root

    return into


@pytest.fixture
def open_data(tmp_path: Path) -> Callable[..., ImageSource]:
    """Open a source from a manifest's keys, relative paths relative to tmp_path."""

    def opened(source: str, path: Path | str | None = None, **keys: Any) -> ImageSource:
        named = {} if path is None else {"path": str(path)}
        return open_source(ManifestConfig(name="test", source=source, **named, **keys), tmp_path)

    return opened


@pytest.fixture(scope="session")
def gradient() -> Image.Image:
    """An RGB picture that no turn or mirror leaves as it is."""
    y, x = np.mgrid[0:12, 0:18]
    return Image.fromarray(np.stack([x * 14, y * 21, (x + y) * 8], -1).astype(np.uint8))
