"""Encoded pictures to RGB: every colour mode, depth and orientation read right, and bad files refused."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from atlas.errors import PictureError

PICTURE_SUFFIXES = frozenset(
    (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "webp", "bmp", "dib", "tif", "tiff"),
        *("pbm", "pgm", "ppm", "pnm", "jp2", "j2k", "avif", "heic", "heif"),
    )
)
MAX_PIXELS = 178_956_970  # twice Pillow's own warning limit, held even where a program lifted Pillow's
MAX_BYTES = 2**30  # of one encoded picture: more than MAX_PIXELS of 16-bit grey need

# A closed list: Pillow would also run Ghostscript for EPS, and takes many a non-picture for a TGA.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF")
# What Pillow's readers raise on damaged files. The first four were seen by flipping and cutting bytes
# of every format 170,000 times; the others are what Pillow's own opener expects of its readers.
DAMAGE = (
    *(OSError, SyntaxError, ValueError, RuntimeError),
    *(EOFError, LookupError, TypeError, ArithmeticError, struct.error, zlib.error),
)
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262


def is_picture(path: str) -> bool:
    """Whether a path inside a dataset names a picture: a known suffix, and nothing hidden on the way."""
    *folders, name = path.split("/")
    stem, _, suffix = name.rpartition(".")
    if not stem or name.startswith(".") or suffix.lower() not in PICTURE_SUFFIXES:
        return False
    return not any(f == "__MACOSX" or (f.startswith(".") and f not in (".", "..")) for f in folders)


def decode(data: bytes) -> Image.Image:
    """Decode an encoded picture to RGB, upright, the first frame of an animation.

    Transparency is laid on white; deeper greys are scaled to 8 bits (`to_rgb`); the EXIF
    orientation is applied. Colour profiles are not, as in torchvision. Raises PictureError, with
    the reason alone, for what is empty, truncated, damaged, no picture, or more than MAX_PIXELS.
    """
    if not data:
        raise PictureError("the file is empty")
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(f"too large: more than {MAX_PIXELS:,} pixels") from None
    except Image.UnidentifiedImageError:
        raise PictureError(_unidentified(data)) from None
    except DAMAGE as error:
        raise PictureError(damaged(error)) from None
    if image.width * image.height > MAX_PIXELS:
        raise PictureError(f"too large: {image.width} × {image.height} is more than {MAX_PIXELS:,} pixels")
    try:
        image.load()
        return _upright(image, to_rgb(image))
    except DAMAGE as error:
        raise PictureError(damaged(error)) from None


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any of Pillow's modes to RGB.

    Transparent pixels are laid on white. 16-bit grey is scaled by its white (65,535; 4,095 in a
    12-bit TIFF), not clipped. 32-bit integers and floats have no fixed white: values within [0, 1]
    (floats), [0, 255] or [0, 65,535] are taken to use that range, others are stretched from their
    least to their greatest. Raises PictureError when no value is finite.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        image = _scaled_16_bit(image)
    elif image.mode in ("I", "F"):
        image = _scaled_32_bit(image)
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _scaled_16_bit(image: Image.Image) -> Image.Image:
    tags = getattr(image, "tag_v2", {})  # a TIFF's own facts
    bits = tags.get(_BITS_PER_SAMPLE, (16,))
    white = 2 ** (bits[0] if isinstance(bits, tuple) else bits) - 1
    # By table: 1 byte per pixel beside the picture, where arithmetic takes 12, and a third of the time.
    table = (np.minimum(np.arange(65536), white) * 255 + white // 2) // white
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero: Pillow inverts it for 8 bits alone
        table = 255 - table
    return Image.fromarray(table.astype(np.uint8)[np.asarray(image)])


def _scaled_32_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image, np.float32)
    finite = np.isfinite(values)
    if not finite.any():
        raise PictureError("no pixel has a finite value")
    low, high = float(values[finite].min()), float(values[finite].max())
    if low < 0 or high > 65535:
        black, white = low, high if high > low else low + max(1.0, abs(low))
    elif image.format in ("PPM", "PNG"):
        black, white = 0.0, 65535.0  # these formats bring 16-bit greys in 32 bits
    elif image.mode == "F" and high <= 1:
        black, white = 0.0, 1.0
    else:
        black, white = 0.0, 255.0 if high <= 255 else 65535.0
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (values - np.float32(black)) * np.float32(255 / (white - black)) + np.float32(0.5)
    scaled[~finite] = 0
    return Image.fromarray(np.clip(scaled, 0, 255, out=scaled).astype(np.uint8))


def _upright(original: Image.Image, image: Image.Image) -> Image.Image:
    try:
        turn = _UPRIGHT.get(original.getexif().get(_ORIENTATION, 1))
    except DAMAGE:
        turn = None  # a broken EXIF block does not make the pixels unreadable
    return image if turn is None else image.transpose(turn)


def _unidentified(data: bytes) -> str:
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"hevc"):
        return "HEIC pictures are not read: convert them to JPEG"
    return "not a picture, or one damaged in its first bytes"


def damaged(error: BaseException) -> str:
    """The reason to tell for what a reader raised."""
    if isinstance(error, PictureError):
        return str(error)
    reason = str(error) or type(error).__name__
    return f"damaged or truncated: {reason}"
