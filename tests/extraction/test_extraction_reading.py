"""Pictures that decode, but cannot be made an input of the network."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image
from planted_pictures import PREPROCESS, SIDE, Pictures

from atlas.extraction.reading import read_pictures


class WithStrip(Pictures):
    """Picture 1 is a strip of one pixel by fifty thousand."""

    def read(self, index: int) -> Image.Image:
        return Image.new("RGB", (1, 50_000)) if index == 1 else super().read(index)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_strip_is_a_picture_with_a_reason(workers: int) -> None:
    preprocess = replace(PREPROCESS, resize=256)
    read = list(read_pictures(WithStrip(3), preprocess, range(3), workers=workers, ahead=4))
    assert [picture.index for picture in read] == [0, 1, 2]
    assert [picture.pixels is None for picture in read] == [False, True, False]
    assert "too large once resized" in read[1].reason
    assert read[2].pixels is not None
    assert read[2].pixels.shape == (3, SIDE, SIDE)
