"""Pictures cut from thumbnails: the right part of the picture, without the grey bars around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atlas.comparison.borrowed import cut_thumbnail
from atlas.pictures import cut_patch
from atlas.storage import AtlasWriter

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
