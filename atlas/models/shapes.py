"""Telling channels from space in the shapes that layers give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import nn

from atlas.records import LayerShape

MAX_PREFIX = 16  # CLS and registers; more tokens than these before the grid are not known of any network

_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.GroupNorm,
    nn.PixelShuffle,
    nn.Upsample,
)

Order = Literal["map", "map_last"]
_FARTHEST = 0.7  # a grid whose proportions differ by more than a factor of 2 from the picture's is none (windows)


@dataclass(frozen=True)
class Seen:
    """The shape of a tensor that a module took or gave, for two pictures."""

    shape: tuple[int, ...]


class Called(Protocol):
    """What is known of one call of a layer."""

    @property
    def layer(self) -> str: ...  # noqa: D102
    @property
    def module(self) -> nn.Module: ...  # noqa: D102
    @property
    def input(self) -> Seen | None: ...  # noqa: D102
    @property
    def output(self) -> Seen | None: ...  # noqa: D102


def classify(
    calls: Sequence[Called],
    second: Mapping[str, Called],
    input_shape: tuple[int, int, int],
    tap: Literal["output", "input"],
) -> dict[str, LayerShape | None]:
    """Tell how the output (or input) of each call is laid out; None where it cannot be mapped.

    calls: of one pass of two pictures, in order. second: the same of a pass at another size, empty where the
    network takes no other. The order of channels and space follows, in this order, from the module's type, from
    what changed with the input's size, from the module's known number of channels, from which two sizes have the
    picture's proportions, and from the latest layer of the same shape.
    """
    grids: list[tuple[int, int]] = []  # of the maps so far, the latest last: tokens come from one of them
    orders: dict[tuple[int, ...], Order] = {}
    found: dict[str, LayerShape | None] = {}
    for call in calls:
        # Outputs are followed in any case: they place the tokens that come later.
        for side in ("input", "output"):
            seen: Seen | None = getattr(call, side)
            other: Seen | None = getattr(second[call.layer], side) if call.layer in second else None
            shape = None
            if seen is not None and len(seen.shape) >= 2 and seen.shape[0] == 2:
                again = other.shape[1:] if other is not None else None
                shape = _laid_out(seen.shape[1:], again, call.module, side, input_shape, grids, orders)
            if side == tap:
                found[call.layer] = shape
            if side == "output" and shape is not None and shape.kind in ("map", "map_last"):
                grids.append((shape.height, shape.width))
    return found


def _laid_out(
    sizes: tuple[int, ...],
    again: tuple[int, ...] | None,
    module: nn.Module,
    side: str,
    input_shape: tuple[int, int, int],
    grids: list[tuple[int, int]],
    orders: dict[tuple[int, ...], Order],
) -> LayerShape | None:
    if len(sizes) == 1:
        return LayerShape("vector", sizes[0])
    if len(sizes) == 2:
        return _tokens(sizes, again, module, input_shape, grids)
    if len(sizes) != 3:
        return None
    order = _order(sizes, again, module, side, input_shape)
    if order == "none":
        return None
    if order == "unknown":
        order = orders.get(sizes, "map")
    else:
        orders[sizes] = order
    if order == "map":
        return LayerShape("map", sizes[0], sizes[1], sizes[2])
    return LayerShape("map_last", sizes[2], sizes[0], sizes[1])


def _order(
    sizes: tuple[int, ...],
    again: tuple[int, ...] | None,
    module: nn.Module,
    side: str,
    input_shape: tuple[int, int, int],
) -> Order | Literal["none", "unknown"]:
    if isinstance(module, _CHANNELS_FIRST):
        return "map"
    if again is not None and len(again) == 3:
        changed = tuple(a != b for a, b in zip(sizes, again, strict=True))
        if changed == (False, True, True):
            return "map"
        if changed == (True, True, False):
            return "map_last"
        if changed == (True, False, False):
            return "none"  # a number of windows, and what is inside them
    if isinstance(module, nn.Linear):
        return "map_last"
    channels = _known_channels(module, side)
    if channels is not None and (sizes[0] == channels) != (sizes[2] == channels):
        return "map" if sizes[0] == channels else "map_last"
    _, height, width = input_shape
    first, last = (_stretch(pair, height, width) for pair in (sizes[1:], sizes[:2]))
    if min(first, last) > _FARTHEST:
        return "none"
    if abs(first - last) < 0.05:
        return "unknown"
    return "map" if first < last else "map_last"


def _stretch(pair: Sequence[int], height: int, width: int) -> float:
    """How far a grid's proportions are from the picture's: 0 for the same."""
    return abs(math.log(pair[0] / max(1, pair[1]) * width / height)) if pair[0] else math.inf


def _known_channels(module: nn.Module, side: str) -> int | None:
    own = ("in_channels", "in_features") if side == "input" else ("out_channels", "out_features")
    names = ("normalized_shape", "num_features", "num_channels", *own)
    for name in names:
        value: Any = getattr(module, name, None)
        if isinstance(value, int):
            return value
        if isinstance(value, tuple) and len(value) == 1:
            return int(value[0])
    return None


def _tokens(
    sizes: tuple[int, ...],
    again: tuple[int, ...] | None,
    module: nn.Module,
    input_shape: tuple[int, int, int],
    grids: list[tuple[int, int]],
) -> LayerShape | None:
    count, channels = sizes
    if isinstance(module, _CHANNELS_FIRST):
        return None  # (n, c, t): a one-dimensional convolution's order, which is no grid
    if again is not None and len(again) == 2 and again[0] == count and again[1] != channels:
        return None
    grid = _grid(count, input_shape, grids)
    if grid is None:
        return None
    height, width = grid
    return LayerShape("tokens", channels, height, width, prefix=count - height * width)


def _grid(count: int, input_shape: tuple[int, int, int], grids: list[tuple[int, int]]) -> tuple[int, int] | None:
    """The grid behind a number of tokens: a map's from before, with the fewest tokens over, or the picture's shape."""
    fitting = [grid for grid in reversed(grids) if 0 <= count - grid[0] * grid[1] <= min(MAX_PREFIX, count // 2)]
    if fitting:
        return min(fitting, key=lambda grid: count - grid[0] * grid[1])
    _, height, width = input_shape
    for prefix in range(min(MAX_PREFIX, count // 2) + 1):
        rows = math.isqrt((count - prefix) * height // width)
        if rows and (count - prefix) % rows == 0 and rows * width == (count - prefix) // rows * height:
            return rows, (count - prefix) // rows
    return None
