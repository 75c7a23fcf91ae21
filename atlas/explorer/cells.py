"""A level's cells as the shards need them: by tile, with their numbers ready for JSON."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.explorer.encode import number, pack
from atlas.storage.atlas import AtlasLevel
from atlas.storage.sheets import TILE_SIDE

TOP_EFFECTS = 3
NEAREST = 6
EFFECTS_PER_SHARD = 16
# Means of a level beyond this many numbers (256 MB) are not compared: the nearest cells are left out.
MEANS_COMPARED = 2**26

USUAL_REAL = 0.75  # mean cosine of a cell's real patches, for cells that have none


class LevelCells:
    """The cells of one level of one layer."""

    def __init__(self, level: AtlasLevel) -> None:
        self.level = level
        self._arrays = level.arrays(
            "column", "row", "start", "images", "label_counts", "accuracy", "confidence", "spread",
            "effect_class", "effect_value", "effect_samples", "patch_cosine", "kept",
        )  # fmt: skip
        self._by_tile: dict[tuple[int, int], list[int]] = {}
        tiles = zip((self["column"] // TILE_SIDE).tolist(), (self["row"] // TILE_SIDE).tolist(), strict=True)
        for cell, tile in enumerate(tiles):
            self._by_tile.setdefault(tile, []).append(cell)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    @property
    def tiles(self) -> list[tuple[int, int]]:
        """The (tx, ty) that hold any cell, in order."""
        return sorted(self._by_tile)

    def in_tile(self, tx: int, ty: int) -> list[int]:
        """Indices of a tile's cells. Raises LookupError for a tile without any."""
        if (tx, ty) not in self._by_tile:
            raise LookupError(f"level {self.level.number} has no cells in tile ({tx}, {ty})")
        return self._by_tile[tx, ty]

    def slot(self, cell: int) -> int:
        """A cell's slot in its tile's sheet, row by row from the top left."""
        column, row = int(self["column"][cell]), int(self["row"][cell])
        return (TILE_SIDE - 1 - row % TILE_SIDE) * TILE_SIDE + column % TILE_SIDE

    def summary(self, cell: int) -> dict[str, Any]:
        """What the map itself needs of a cell."""
        counts = self["label_counts"][cell]
        labels = np.flatnonzero(counts)
        labels = labels[np.argsort(-counts[labels], kind="stable")]
        return {
            "slot": self.slot(cell),
            "images": int(self["images"][cell]),
            "samples": int(self["start"][cell + 1] - self["start"][cell]),
            "icon": bool(self.level.has_icon[cell]),
            "real": bool(self.level.patches[cell, 0] >= 0),
            "bare": bool(self["images"][cell] >= self._enough and not self.level.has_icon[cell]),
            "accuracy": number(self["accuracy"][cell]),
            "confidence": number(self["confidence"][cell]),
            "scores": self.scores(cell),
            "cosine": number(self._real[cell], 3),
            "labels": np.stack([labels, counts[labels]], axis=1).reshape(-1).tolist(),
            "effects": self.effects(cell)[:TOP_EFFECTS],
        }

    @cached_property
    def _enough(self) -> float:
        """Images that earn a cell an icon: one with as many and none, as in a comparison, must not look empty."""
        kept = self["kept"]
        return float(self["images"][kept].min()) if kept.any() else np.inf

    def effects(self, cell: int) -> list[list[float | int | None]]:
        """A cell's mean effects, largest first: [class, value] pairs."""
        pairs = zip(self["effect_class"][cell].tolist(), self["effect_value"][cell].tolist(), strict=True)
        return [[output, number(value)] for output, value in pairs if output >= 0]

    def scores(self, cell: int) -> dict[str, Any] | None:
        """Scores of a cell's icon, whether to believe it, and the [column, row] it shows instead; None without icon."""
        if not self.level.has_icon[cell]:
            return None
        scores = self.level.scores
        names = ("centre", "robust", "windowed", "strength")
        told: dict[str, Any] = {name: number(getattr(scores, name)[cell], 3) for name in names}
        shows = int(self.level.trust.nearest[cell])
        other = None if shows in (-1, cell) else [int(self["column"][shows]), int(self["row"][shows])]
        return told | {"believable": bool(self.level.trust.believable[cell]), "shows": other}

    def trust(self) -> NDArray[np.float32]:
        """How far each icon can be believed, from 0 to 1, float32 (cells,); NaN without icon.

        Its robust cosine over the mean cosine of the cell's real patches; at most 0.5 where the icon is nearer to a
        neighbouring cell than to its own, and 0 where it is nearer to one further off, or under the atlas' bound.
        """
        real = self._real
        against = np.where(np.isfinite(real) & (real > 0), real, USUAL_REAL)
        found = np.clip(self.level.scores.robust / against, 0, 1)
        shows, believable = self.level.trust.nearest, self.level.trust.believable
        other = np.where(shows < 0, np.arange(len(shows)), shows)
        apart = [np.abs(self[name].astype(np.int64)[other] - self[name]) for name in ("column", "row")]
        beside = (other != np.arange(len(other))) & (np.maximum(*apart) <= 1)
        bounded: NDArray[np.float32] = np.where(believable, found, np.where(beside, np.minimum(found, 0.5), 0.0))
        return np.where(np.isnan(found), np.nan, bounded).astype(np.float32)

    def nearest(self, cell: int) -> list[list[float | int | None]]:
        """[column, row, cosine] of the kept cells whose mean activations are most alike, the nearest first."""
        if self._directions is None:
            return []
        cosine = self._directions @ self._directions[cell]
        cosine[cell] = -np.inf
        cosine[~self.level.level.kept] = -np.inf
        best = np.argsort(-cosine, kind="stable")[:NEAREST]
        columns, rows = self["column"], self["row"]
        return [[int(columns[i]), int(rows[i]), number(cosine[i], 3)] for i in best if np.isfinite(cosine[i])]

    @cached_property
    def _real(self) -> NDArray[np.float32]:
        """Mean cosine of each cell's real patches to its mean."""
        return _mean_cosine(self["patch_cosine"])

    @cached_property
    def _directions(self) -> NDArray[np.float32] | None:
        mean = self.level.arrays("mean")["mean"]
        if mean.size > MEANS_COMPARED:
            return None
        length = np.linalg.norm(mean, axis=1, keepdims=True)
        return (mean / np.where(length > 0, length, 1)).astype(np.float32)

    def table(self) -> dict[str, Any]:
        """What colours and filters need of every cell of the level, in its own order, packed."""
        images = self["images"].astype(np.uint32)
        return {
            "column": pack(self["column"].astype(np.uint16)),
            "row": pack(self["row"].astype(np.uint16)),
            "images": pack(images),
            "samples": pack(np.diff(self["start"]).astype(np.uint32)),
            "trust": pack(self.trust()),
            "kept": pack(self.level.layout_trust.astype(np.float32)),
        }

    def effects_of(self, group: int) -> dict[str, Any]:
        """Effects of classes 16 group to 16 group + 15: for each that any cell lists, its cells and values.

        {"classes": {class: {"cell": uint32 (n,), "value": float32 (n,)}}}, packed. Raises LookupError past the last.
        """
        listed, values = self["effect_class"], self["effect_value"]
        if group < 0 or not (listed >= group * EFFECTS_PER_SHARD).any():
            raise LookupError(f"no effects of classes {group * EFFECTS_PER_SHARD} and after")
        classes = {}
        for output in range(group * EFFECTS_PER_SHARD, (group + 1) * EFFECTS_PER_SHARD):
            cell, place = np.nonzero((listed == output) & np.isfinite(values))
            if len(cell):
                value = values[cell, place].astype(np.float32)
                classes[str(output)] = {"cell": pack(cell.astype(np.uint32)), "value": pack(value)}
        return {"classes": classes}

    @property
    def effect_groups(self) -> int:
        """Number of shards that `effects_of` makes."""
        listed = self["effect_class"]
        return int(listed.max()) // EFFECTS_PER_SHARD + 1 if listed.size and listed.max() >= 0 else 0


def _mean_cosine(cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    """(cells, patches) -> (cells,): mean over the patches that are there, NaN without any."""
    there = np.isfinite(cosines)
    total = np.where(there, cosines, 0).sum(axis=1)
    count = there.sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
