"""Small pieces of a report's HTML; whatever is a name or a text is escaped here."""

from __future__ import annotations

import html
import io
from base64 import b64encode
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
say = html.escape


def picture(pixels: Pixels, alt: str, *, lossless: bool = False) -> str:
    """An image inside the page: JPEG, or PNG where it is drawn rather than photographed."""
    buffer = io.BytesIO()
    kind = "PNG" if lossless else "JPEG"
    options = {"optimize": True} if lossless else {"quality": 88, "subsampling": 0}
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, kind, **options)
    data = b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/{kind.lower()};base64,{data}" alt="{say(alt, quote=True)}">'


def figure(inside: str, caption: str = "", kind: str = "") -> str:
    """A figure around HTML. caption: HTML."""
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure class="{kind}">{inside}{below}</figure>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table of HTML cells."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and what they are, HTML both; pairs without a value are left out."""
    return (
        "<dl class='facts'>" + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in pairs if value) + "</dl>"
    )


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def share(value: float) -> str:
    """A share as a percentage."""
    return f"{value:.1%}"
