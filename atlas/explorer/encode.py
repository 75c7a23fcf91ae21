"""Values on their way into a page: packed numbers, pictures as data URIs, JSON that no HTML parser can misread."""

from __future__ import annotations

import base64
import io
import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

JPEG_QUALITY = 80  # of 64 icons in one sheet: 250 KB, as WebP of the same size, encoded in 3 ms instead of 45

# Harmless inside JSON strings and JavaScript, and nothing else of JSON holds these characters.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def pack(values: NDArray[Any]) -> str:
    """Encode an array, flattened, as base64 of its little-endian bytes: `unpack` in shards.js reads it."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode("ascii")


def to_json(value: Any) -> str:
    """Write JSON that is safe inside an HTML script element and in JavaScript.

    NaN and infinities, which JSON lacks, raise ValueError: say `number` where one may come.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(_ESCAPES)


def number(value: float, digits: int = 4) -> float | None:
    """Round to significant digits; None for NaN and infinities."""
    value = float(value)
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return rounded if math.isfinite(rounded) else value  # the largest floats would be rounded up to infinity


def picture_uri(picture: NDArray[np.uint8]) -> str:
    """Encode uint8 (height, width, 3) as the data URI of a JPEG."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def contact_sheet(pictures: dict[int, NDArray[np.uint8]], side: int, size: int) -> NDArray[np.uint8]:
    """Lay pictures out on a white sheet of side x side slots, counted row by row from the top left.

    {slot: uint8 (size, size, 3)} -> uint8 (side * size, side * size, 3).
    """
    sheet = np.full((side * size, side * size, 3), 255, np.uint8)
    for slot, picture in pictures.items():
        top, left = slot // side * size, slot % side * size
        sheet[top : top + size, left : left + size] = picture
    return sheet
