"""What can be asked of the network beside an atlas, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass


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
