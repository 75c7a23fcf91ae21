"""What can be asked of the network beside an atlas, and what it answers; each as one line of JSON."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class FineRequest:
    """Ask for the fine icon of a cell: indices of the layer, the level and the cell.

    size: the picture's side in px; None: one that suits the network.
    """

    layer: int
    level: int
    cell: int
    size: int | None


@dataclass(frozen=True)
class LocateRequest:
    """Ask where a picture's positions fall on a layer's map: an encoded picture, as it came."""

    layer: int
    picture: bytes


@dataclass(frozen=True)
class LookRequest:
    """Ask what the network makes of one of the atlas's images, by its row, or of another picture.

    image: None where `picture` is given, encoded, as it came, with the name that its page is to bear.
    """

    image: int | None
    picture: bytes = b""
    name: str = ""


@dataclass(frozen=True)
class Looked:
    """What the network makes of an image: an HTML page that needs no other file."""

    page: bytes


@dataclass(frozen=True)
class Fine:
    """A fine icon as two PNG files: the picture, and the same with what it does not hang on made transparent."""

    picture: bytes
    cut_out: bytes


@dataclass(frozen=True)
class Place:
    """Where one position of a picture falls.

    x, y: on the map. u, v: its middle as shares of the picture, u to the right, v down. cosine: with the sample that
    it is placed at, one of its nearest. sample, image: that sample's row, and its image's.
    """

    x: float
    y: float
    u: float
    v: float
    cosine: float
    sample: int
    image: int


@dataclass(frozen=True)
class Located:
    """A picture on a layer's map: its places, and what the network makes of it, the likeliest class first.

    classes: indices of outputs with their softmax shares; () for an encoder.
    """

    places: tuple[Place, ...]
    classes: tuple[tuple[int, float], ...]
    width: int
    height: int


@dataclass(frozen=True)
class Ready:
    """The network is loaded."""


@dataclass(frozen=True)
class Working:
    """How far an answer is."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class Refused:
    """Why there is no answer, in one sentence."""

    reason: str


Message = FineRequest | LocateRequest | LookRequest | Fine | Located | Looked | Ready | Working | Refused
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (FineRequest, LocateRequest, LookRequest, Fine, Located, Looked, Ready, Working, Refused)
}


def to_line(message: Message) -> str:
    """Write a message as one line of JSON; bytes become base64."""
    values = {
        name: b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in asdict(message).items()
    }
    return json.dumps({"kind": type(message).__name__, **values}) + "\n"


def from_line(line: str) -> Message:
    """Read what `to_line` wrote. Raises ValueError for anything else."""
    values = json.loads(line)
    kind = values.pop("kind", None) if isinstance(values, dict) else None
    if kind not in _KINDS:
        raise ValueError(f"no message: {line[:80]!r}")
    for name in ("picture", "cut_out", "page"):
        if name in values:
            values[name] = b64decode(values[name], validate=True)
    if kind == "Located":
        values["places"] = tuple(Place(**place) for place in values["places"])
        values["classes"] = tuple((int(index), float(share)) for index, share in values["classes"])
    try:
        found: Message = _KINDS[kind](**values)
    except TypeError as error:
        raise ValueError(f"no {kind}: {error}") from None
    return found
