from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from atlas.datasets import decode
from atlas.datasets.decoding import MAX_PIXELS, is_picture, to_rgb
from atlas.errors import PictureError

Encode = Callable[..., bytes]
# Pillow warns of damaged tags, and of pictures near its own limit.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("format", ["PNG", "BMP", "PPM", "TIFF", "WEBP", "JPEG2000"])
def test_lossless_formats_come_back_exactly(format: str, encoded: Encode, gradient: Image.Image) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    assert (pixels(decode(encoded(gradient, format, **options))) == np.asarray(gradient)).all()


@pytest.mark.parametrize(("format", "options"), [("JPEG", {"quality": 95}), ("AVIF", {"quality": 95}), ("MPO", {})])
def test_lossy_formats_come_back_nearly(format: str, options: dict, encoded: Encode, gradient: Image.Image) -> None:
    assert np.abs(pixels(decode(encoded(gradient, format, **options))) - np.asarray(gradient)).mean() < 8


def test_cmyk_keeps_its_colours(encoded: Encode) -> None:
    red_and_blue = Image.new("RGB", (16, 8), (220, 20, 30))
    red_and_blue.paste((20, 30, 210), (8, 0, 16, 8))
    back = pixels(decode(encoded(red_and_blue.convert("CMYK"), "JPEG", quality=95)))
    assert np.abs(back[4, 3] - (220, 20, 30)).max() < 12
    assert np.abs(back[4, 12] - (20, 30, 210)).max() < 12


def test_palette_and_its_transparency(encoded: Encode) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 0])
    image.putdata([0, 1, 2])
    assert pixels(decode(encoded(image)))[0].tolist() == [[10, 20, 30], [200, 100, 50], [0, 0, 0]]
    # Index 2 is transparent, so white shows; index 1 is half transparent.
    half = pixels(decode(encoded(image, transparency=bytes([255, 128, 0]))))[0]
    assert half[0].tolist() == [10, 20, 30]
    assert half[2].tolist() == [255, 255, 255]
    assert np.abs(half[1] - [227, 177, 152]).max() <= 1


def test_one_bit(encoded: Encode) -> None:
    image = Image.new("1", (2, 1))
    image.putdata([0, 255])
    for format in ("PNG", "BMP", "TIFF", "PPM"):
        assert pixels(decode(encoded(image, format)))[0].tolist() == [[0, 0, 0], [255, 255, 255]], format


def test_grey_and_grey_with_alpha(encoded: Encode) -> None:
    grey = Image.fromarray(np.array([[0, 99, 255]], np.uint8))
    assert pixels(decode(encoded(grey)))[0].tolist() == [[0] * 3, [99] * 3, [255] * 3]
    alpha = Image.merge("LA", (grey, Image.fromarray(np.array([[255, 255, 0]], np.uint8))))
    alpha.putpixel((0, 0), (0, 0))
    assert pixels(decode(encoded(alpha)))[0].tolist() == [[255] * 3, [99] * 3, [255] * 3]


def test_rgba_is_laid_on_white(encoded: Encode) -> None:
    rgba = np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [100, 0, 200, 128]]], np.uint8)
    back = pixels(decode(encoded(Image.fromarray(rgba))))[0]
    assert back[:2].tolist() == [[255] * 3, [0] * 3]
    expected = np.rint(rgba[0, 2, :3] * (128 / 255) + 255 * (1 - 128 / 255))
    assert np.abs(back[2] - expected).max() <= 1


def test_a_transparent_colour_of_an_rgb_png(encoded: Encode) -> None:
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert pixels(decode(encoded(image, transparency=(1, 2, 3))))[0].tolist() == [[255] * 3, [4, 5, 6]]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_16_bit_grey_is_scaled_not_clipped(format: str, encoded: Encode) -> None:
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    back = pixels(decode(encoded(Image.fromarray(deep), format)))[..., 0]
    assert np.abs(back - deep / 257).max() <= 0.51


def test_16_bit_grey_that_is_dark_stays_dark(encoded: Encode) -> None:
    for format in ("PNG", "PPM", "TIFF"):
        deep = Image.fromarray(np.full((2, 2), 200, np.uint16))
        assert pixels(decode(encoded(deep, format))).max() == 1, format


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_every_byte_order_of_16_bits(mode: str) -> None:
    deep = np.array([[0, 256, 257, 25700, 65535]], np.uint16)
    order = ">u2" if mode == "I;16B" else "<u2"
    image = Image.frombytes(mode, (5, 1), deep.astype(order).tobytes())
    assert pixels(to_rgb(image))[0, :, 0].tolist() == [0, 1, 1, 100, 255]


def tiff(tags: dict[int, tuple[int, int]], data: bytes) -> bytes:
    """The smallest TIFF: one strip; tags are number -> (type, value)."""
    tags = {**tags, 273: (4, 8 + 2 + 12 * (len(tags) + 2) + 4), 279: (4, len(data))}
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0" + data


def test_tiff_of_12_bits_and_with_white_as_zero() -> None:
    shape = {256: (3, 2), 257: (3, 1), 259: (3, 1), 277: (3, 1), 278: (3, 1)}
    twelve = tiff({**shape, 258: (3, 12), 262: (3, 1)}, bytes([0xFF, 0xF0, 0x00]))  # 4095, 0
    assert pixels(decode(twelve))[0, :, 0].tolist() == [255, 0]
    inverted = tiff({**shape, 258: (3, 16), 262: (3, 0)}, struct.pack("<HH", 0, 65535))
    assert pixels(decode(inverted))[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([0.0, 25700.0, 65535.0], [0, 100, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([float("nan"), float("inf"), 1.0], [0, 0, 255]),
        ([0.0, 0.0, 0.0], [0, 0, 0]),
        ([-3.0, -3.0, -3.0], [0, 0, 0]),
        ([0.0, 1e-3, 3e38], [0, 0, 255]),
        ([-3e38, 0.0, 3e38], [0, 128, 255]),
        ([-3e38, -3e38, -3e38], [0, 0, 0]),
    ],
)
def test_float_tiff(values: list[float], expected: list[int], encoded: Encode) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    assert pixels(decode(encoded(image, "TIFF")))[0, :, 0].tolist() == expected


def test_float_tiff_without_a_finite_value(encoded: Encode) -> None:
    image = Image.fromarray(np.full((2, 2), np.nan, np.float32))
    with pytest.raises(PictureError, match="no pixel has a finite value"):
        decode(encoded(image, "TIFF"))


def test_32_bit_integers(encoded: Encode) -> None:
    for values, expected in (([0, 100, 255], [0, 100, 255]), ([0, 25700, 65535], [0, 100, 255])):
        image = Image.fromarray(np.array([values], np.int32))
        assert pixels(decode(encoded(image, "TIFF")))[0, :, 0].tolist() == expected


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_as_pillow_has_it(
    format: str, orientation: int, encoded: Encode, gradient: Image.Image
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(gradient, format, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert (pixels(decode(data)) == np.asarray(expected)).all()
    assert decode(data).size == ((12, 18) if orientation > 4 else (18, 12))


def test_broken_exif_leaves_the_picture_as_stored(encoded: Encode, gradient: Image.Image) -> None:
    data = encoded(gradient, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(data).size == gradient.size


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_give_their_first_frame(format: str, encoded: Encode) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert (pixels(decode(data)) == (255, 0, 0)).all()


def test_transparent_gif(encoded: Encode) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    assert pixels(decode(encoded(image, "GIF", transparency=1)))[0].tolist() == [[255, 0, 0], [255, 255, 255]]


def test_empty_and_non_images() -> None:
    with pytest.raises(PictureError, match="empty"):
        decode(b"")
    for data in (b"hello, world", b"\0" * 100, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"<svg/>"):
        with pytest.raises(PictureError, match="not a picture"):
            decode(data)
    with pytest.raises(PictureError, match="HEIC"):
        decode(b"\0\0\0\x18ftypheic" + b"\0" * 30)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"])
def test_truncated(format: str, encoded: Encode) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, format)
    for cut in (len(data) // 2, len(data) // 10, 10):
        with pytest.raises(PictureError):
            decode(data[:cut])


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it has so many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    for width, height in ((60_000, 60_000), (MAX_PIXELS + 1, 1)):
        with pytest.raises(PictureError, match="too large"):
            decode(bomb(width, height))


def test_a_bomb_is_refused_where_a_program_lifted_pillows_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(PictureError, match="too large: 60000 × 60000"):
        decode(bomb(60_000, 60_000))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_never_raises_anything_else(data: st.DataObject) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (9, 7, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])))
    content = bytearray(buffer.getvalue())
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)))):
        content[place] = value
    with contextlib.suppress(PictureError):
        assert decode(bytes(content[: data.draw(st.integers(1, len(content)))])).mode == "RGB"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.jpg", True),
        ("a/b.JPEG", True),
        ("../a.png", True),
        ("a.b/c d.tiff", True),
        ("a.txt", False),
        ("jpg", False),
        (".a.jpg", False),
        (".git/a.jpg", False),
        ("__MACOSX/a.jpg", False),
        ("a/._b.jpg", False),
        ("a.jpg.csv", False),
        ("a.jpg/b", False),
    ],
)
def test_what_counts_as_a_picture(path: str, expected: bool) -> None:
    assert is_picture(path) is expected
