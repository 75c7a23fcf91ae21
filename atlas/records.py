"""Frozen dataclasses that pass between rooms: plain values and numpy arrays, nothing else.

Conventions: a *box* is (left, top, right, bottom) as shares of the original picture after
EXIF rotation; (u, v) is a relative position with u to the right and v down, as in a picture;
a layout's x runs to the right and its y up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total); stages of one run come in order."""


def silent(stage: str, done: int, total: int) -> None:
    """Report no progress."""


def prefixed(progress: Progress, prefix: str) -> Progress:
    """Report every stage under a prefix, so that two layers' stages stay apart."""

    def report(stage: str, done: int, total: int) -> None:
        progress(prefix + stage, done, total)

    return report


LayerKind = Literal["map", "map_last", "tokens", "vector"]
RowKind = Literal["positions", "mean", "max", "cls", "center"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a dataset: its stable id and its label (an index into the classes, -1: none)."""

    id: str
    label: int = -1


@dataclass(frozen=True, slots=True)
class LayerShape:
    """The shape of a layer's output for one image.

    kind "map" is (n, c, h, w), "map_last" (n, h, w, c), "tokens" (n, t, c), "vector" (n, c).
    height and width are the grid of positions (1, 1 for a vector); prefix counts the tokens
    before the grid (CLS, registers).
    """

    kind: LayerKind
    channels: int
    height: int = 1
    width: int = 1
    prefix: int = 0


STATES = ("fitted", "placed", "outlier", "duplicate", "other")
PROCESSOR = "processor"


@dataclass(frozen=True)
class Layout:
    """Samples' 2-D positions.

    positions: float32 (rows, 2), x to the right, y up, isotropically scaled so that the inliers
    fill [0, 1] squared; NaN for rows that were left out. state: uint8 (rows,), an index into
    STATES. A duplicate row carries the position of its first copy; an "other" one was not asked
    for, as of another class, and has none. engine: what placed them, "processor" or a library on
    a GPU.
    """

    positions: NDArray[np.float32]
    state: NDArray[np.uint8]
    engine: str = PROCESSOR

    def counts(self) -> dict[str, int]:
        """Rows in each state, in the order of STATES."""
        return {name: int((self.state == i).sum()) for i, name in enumerate(STATES)}


@dataclass(frozen=True)
class Level:
    """One grid over the unit square, with its non-empty cells in order of (row, column).

    column counts from the left and row from the bottom (y up), both int32 (cells,). Cell i's
    samples are members[start[i]:start[i + 1]], ascending. images (cells,) counts distinct images;
    kept (cells,) is True where a cell has at least the minimum of images, and a mean other than zero: it gets an icon.
    """

    level: int
    column: NDArray[np.int32]
    row: NDArray[np.int32]
    start: NDArray[np.int64]
    members: NDArray[np.int64]
    images: NDArray[np.int32]
    kept: NDArray[np.bool_]

    @property
    def side(self) -> int:
        """Cells along one side of the unit square."""
        return 8 * 2**self.level

    @property
    def samples(self) -> NDArray[np.int64]:
        """Samples in each cell, (cells,)."""
        return np.diff(self.start)

    def __len__(self) -> int:
        return len(self.column)


PATCHES_PER_CELL = 16


@dataclass(frozen=True)
class CellStatistics:
    """What each cell of a level holds; row i belongs to cell i of the Level.

    mean: float32 (cells, channels), the mean activation. medoid: int64 (cells,), the sample row
    nearest to the mean by cosine. spread: float32 (cells,), 1 - mean cosine of the samples to the
    mean. label_counts: int32 (cells, classes), distinct images per label. accuracy and confidence:
    float32 (cells,), over distinct images, NaN where there is nothing to average.
    effect_class int32 and effect_value float32 (cells, k): the mean effect on each class over the
    cell's samples that have effects, largest first, padded with -1 and NaN; effect_samples int32
    (cells,) says over how many. patches int64 (cells, 16): sample rows nearest to the mean, each
    of another image, best first, padded with -1; patch_cosine float32 beside them, NaN padded.
    """

    mean: NDArray[np.float32]
    medoid: NDArray[np.int64]
    spread: NDArray[np.float32]
    label_counts: NDArray[np.int32]
    accuracy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    effect_class: NDArray[np.int32]
    effect_value: NDArray[np.float32]
    effect_samples: NDArray[np.int32]
    patches: NDArray[np.int64]
    patch_cosine: NDArray[np.float32]


@dataclass(frozen=True)
class Spectrum:
    """What a dataset's pictures have in common whatever they show: how strong each spatial frequency is.

    amplitude: float32 (channels, height, width // 2 + 1), the mean absolute value of the orthonormal real Fourier
    transform over `pictures` pictures, of their log-odds in decorrelated colours, see `atlas.models.light`. level:
    float32 (channels,), the mean of these log-odds over pictures and pixels.
    """

    amplitude: NDArray[np.float32]
    level: NDArray[np.float32]
    pictures: int


@dataclass(frozen=True)
class FineIcon:
    """One icon of high quality.

    image: uint8 (size, size, 3). importance: uint8 (size, size), how much of what the picture was made for hangs on
    each pixel, from 0 to 255: the rest of the picture is what the spectrum asks for, and means nothing.
    """

    image: NDArray[np.uint8]
    importance: NDArray[np.uint8]


@dataclass(frozen=True)
class LayerQuality:
    """What a layer's layout keeps of the neighbourhoods among the raw activations.

    figures by name, None where one cannot be said (see findings.Quality). anchors int64 (anchors,): the samples that
    were looked at, recall float32 (anchors,): each one's recall at 15. trust: for each level, coarsest first, float32
    (cells,), the mean recall of a cell's anchors or, with fewer than 5, of its parent's; NaN where nothing is known.
    class_spread, class_spread_map float32 (classes,) and class_nearest int32 (classes, 3): see findings.ClassTable.
    """

    figures: Mapping[str, float | None]
    anchors: NDArray[np.int64]
    recall: NDArray[np.float32]
    trust: tuple[NDArray[np.float32], ...]
    class_spread: NDArray[np.float32]
    class_spread_map: NDArray[np.float32]
    class_nearest: NDArray[np.int32]


@dataclass(frozen=True)
class Icons:
    """Feature visualisations and their scores on the stored 8-bit picture, at its own size.

    images: uint8 (n, size, size, 3). centre, robust, windowed: true cosines, float32 (n,), at the
    centre position, over eight transforms not used in rendering, and under a sin-squared window.
    strength: float32 (n,), h.v / v.v at the centre; 1 is as strong as the cell's mean sample.
    nearest: int32 (n,), the icon whose direction the picture's activation, averaged under the window,
    is nearest to, by cosine after subtracting the directions' mean: its own index where the picture
    shows what it was made for, -1 where its activation is not finite. None where the icons were not
    compared, as one alone cannot be.
    """

    images: NDArray[np.uint8]
    centre: NDArray[np.float32]
    robust: NDArray[np.float32]
    windowed: NDArray[np.float32]
    strength: NDArray[np.float32]
    nearest: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def believable(self, bound: float) -> NDArray[np.bool_]:
        """Say of each icon whether its robust cosine reaches the bound and it is nearest to its own direction."""
        enough: NDArray[np.bool_] = np.asarray(self.robust >= bound)
        return enough if self.nearest is None else enough & (self.nearest == np.arange(len(self)))
