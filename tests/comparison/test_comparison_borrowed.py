"""Pictures cut from thumbnails: the right part of the picture, without the grey bars around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atlas.comparison.borrowed import cut_thumbnail
from atlas.storage import Atlas, AtlasWriter

RED, BLUE, GREEN = (220, 30, 30), (30, 30, 220), (30, 200, 30)


@pytest.fixture(scope="module", params=[(64, 32), (32, 64), (200, 150)])
def pictured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """One picture: red on the left, blue on the right, a green quarter at the lower right."""
    width, height = request.param
    picture = Image.new("RGB", (width, height), RED)
    picture.paste(BLUE, (width // 2, 0, width, height))
    picture.paste(GREEN, (width // 2, height // 2, width, height))
    writer = AtlasWriter(tmp_path_factory.mktemp("pictured") / "p.atlas", name="p", fingerprint="p")
    writer.write_images(["one"], width=[width], height=[height])
    writer.write_thumbnails(lambda _: picture)
    return writer.finish()


@pytest.mark.parametrize(
    ("box", "colour"),
    [((0.05, 0.1, 0.4, 0.9), RED), ((0.6, 0.05, 0.95, 0.4), BLUE), ((0.6, 0.6, 0.95, 0.95), GREEN)],
)
def test_a_patch_is_the_part_that_the_box_names(pictured: Atlas, box: tuple[float, ...], colour: tuple[int]) -> None:
    patch = cut_thumbnail(pictured, 0, np.array(box, np.float32), 48)
    assert patch.shape == (48, 48, 3)
    near = np.abs(patch.astype(int) - colour).max(axis=2) < 40
    assert near.mean() > 0.7
    assert not (np.abs(patch.astype(int) - 128).max(axis=2) < 12).any()  # none of the bars' grey


def test_a_picture_without_a_known_size_is_taken_as_square(tmp_path: Path) -> None:
    writer = AtlasWriter(tmp_path / "p.atlas", name="p", fingerprint="p")
    writer.write_images(["one"])
    writer.write_thumbnails(lambda _: Image.new("RGB", (40, 40), RED))
    patch = cut_thumbnail(writer.finish(), 0, np.array([0, 0, 1, 1], np.float32), 24)
    assert (np.abs(patch.astype(int) - RED).max(axis=2) < 40).all()
