"""Pictures cut from thumbnails: the right part of the picture, without the grey bars around it."""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from atlas.comparison.borrowed import PatchShelf, cut_thumbnail
from atlas.pictures import cut_patch
from atlas.storage import AtlasWriter, sheets

RED, BLUE, GREEN = (220, 30, 30), (30, 30, 220), (30, 200, 30)


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (200, 150)])
@pytest.mark.parametrize("box", [(0.05, 0.1, 0.3, 0.4), (0.6, 0.05, 0.95, 0.4), (0.6, 0.6, 0.8, 0.95), (0, 0, 1, 1)])
def test_a_patch_is_that_of_the_picture_itself(
    tmp_path: Path, size: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    """Red on the left, blue on the right, a green quarter at the lower right."""
    width, height = size
    picture = Image.new("RGB", size, RED)
    picture.paste(BLUE, (width // 2, 0, width, height))
    picture.paste(GREEN, (width // 2, height // 2, width, height))
    writer = AtlasWriter(tmp_path / "p.atlas", name="p", fingerprint="p")
    writer.write_images(["one"], width=[width], height=[height])
    writer.write_thumbnails(lambda _: picture)
    patch = cut_thumbnail(writer.finish(), 0, np.array(box, np.float32), 48)
    expected = cut_patch(picture, np.array(box, np.float32), 48)
    assert np.abs(patch.astype(int) - expected).mean() < 12
    assert np.median(np.abs(patch.astype(int) - expected).max(axis=2)) < 8


def test_a_picture_without_a_known_size_is_taken_as_square(tmp_path: Path) -> None:
    writer = AtlasWriter(tmp_path / "p.atlas", name="p", fingerprint="p")
    writer.write_images(["one"])
    writer.write_thumbnails(lambda _: Image.new("RGB", (40, 40), RED))
    patch = cut_thumbnail(writer.finish(), 0, np.array([0, 0, 1, 1], np.float32), 24)
    assert (np.abs(patch.astype(int) - RED).max(axis=2) < 40).all()


@pytest.mark.parametrize(("window", "decoded"), [(1000, 3), (200, 9)])
def test_a_window_of_patches_takes_each_sheet_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int, decoded: int
) -> None:
    """600 images on three sheets, told apart by their grey, each wanted once, in any order; ten are patches already."""
    decodings: list[Path] = []
    whole = sheets.decode_exactly
    monkeypatch.setattr(sheets, "decode_exactly", lambda path, *rest: decodings.append(path) or whole(path, *rest))
    monkeypatch.setattr(sheets, "lru_cache", lambda maxsize: functools.lru_cache(1))
    writer = AtlasWriter(tmp_path / "p.atlas", name="p", fingerprint="p")
    writer.write_images([str(image) for image in range(600)], width=[32] * 600, height=[32] * 600)
    writer.write_thumbnails(lambda image: Image.new("RGB", (32, 32), (image * 7 % 250,) * 3))
    rng = np.random.default_rng(0)
    images_at, rows = rng.permutation(600), rng.permutation(600)
    layer = SimpleNamespace(patch_rows=np.arange(10), patch_size=16, patch=lambda patch: np.full((16, 16, 3), patch))
    stored = SimpleNamespace(box=lambda kind: np.tile(np.float32([0, 0, 1, 1]), (600, 1)))
    network: Any = SimpleNamespace(atlas=writer.finish(), mapped=layer, layer=stored, kind="mean")
    pair: Any = SimpleNamespace(network=network, rows_at=None, images_at=images_at)
    shelf = PatchShelf(pair, np.arange(600), rows, window)
    for place, row in enumerate(rows):
        grey = row if row < 10 else images_at[row] * 7 % 250
        assert abs(float(shelf.read(place).mean()) - grey) < 2
    assert len(decodings) == decoded
