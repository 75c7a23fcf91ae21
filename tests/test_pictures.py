"""Thumbnails and patches: the right part of the right picture, the right way up."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from atlas import pictures
from atlas.pictures import PatchCutter, cut_patch, make_thumbnail


def quarters(width: int, height: int) -> Image.Image:
    """Red left top, green right top, blue left bottom, white right bottom."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = 255
    return Image.fromarray(pixels)


def test_a_thumbnail_keeps_shape_and_orientation() -> None:
    small = make_thumbnail(quarters(200, 100), 64)
    assert small.shape == (64, 64, 3)
    assert (small[:15] == 128).all()
    assert (small[-15:] == 128).all()
    assert tuple(small[24, 8]) == (255, 0, 0)
    assert tuple(small[24, 56]) == (0, 255, 0)
    assert tuple(small[40, 8]) == (0, 0, 255)
    assert tuple(small[40, 56]) == (255, 255, 255)


def test_a_patch_shows_its_box() -> None:
    picture = quarters(100, 100)
    for box, colour in {
        (0, 0, 0.4, 0.4): (255, 0, 0),
        (0.6, 0, 1, 0.4): (0, 255, 0),
        (0, 0.6, 0.4, 1): (0, 0, 255),
    }.items():
        patch = cut_patch(picture, np.array(box, np.float32), 16)
        assert (patch == colour).all(), box


@given(
    st.integers(1, 80), st.integers(1, 80),
    st.tuples(*[st.floats(-0.5, 1.5, width=32)] * 4), st.sampled_from([1, 16, 96]),
)  # fmt: skip
def test_any_box_gives_a_square_of_the_picture_alone(
    width: int, height: int, box: tuple[float, ...], size: int
) -> None:
    left, right = sorted(box[::2])
    top, bottom = sorted(box[1::2])
    picture = Image.new("L", (width, height), 200)
    patch = cut_patch(picture, np.array([left, top, right, bottom], np.float32), size)
    assert patch.shape == (size, size, 3)
    assert (patch == 200).all()
    assert make_thumbnail(picture, size).shape == (size, size, 3)


@pytest.mark.parametrize("workers", [1, 3])
def test_patches_in_any_order_read_each_picture_once_at_a_time(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "CUT_AT_ONCE", 40)
    rng = np.random.default_rng(0)
    shown = [quarters(60 + 7 * image, 50) for image in range(6)]
    image = rng.integers(0, 7, 100)  # picture 6 cannot be had
    corner = rng.uniform(0, 0.5, (100, 2))
    box = np.concatenate([corner, corner + 0.4], axis=1).astype(np.float32)
    read: Counter[tuple[int, int]] = Counter()
    part = 0

    def read_picture(number: int) -> Image.Image | None:
        read[part, number] += 1
        return None if number == 6 else shown[number]

    cut = PatchCutter(read_picture, image, box, 16, workers)
    for number in range(100):
        part = number // 40
        found = cut(number)
        if image[number] == 6:
            assert found is None
        else:
            assert found is not None
            np.testing.assert_array_equal(found, cut_patch(shown[image[number]], box[number], 16))
    assert set(read.values()) == {1}
