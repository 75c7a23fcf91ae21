"""Two datasets through one network: one map of both, where either is denser, what is new and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.comparison.figures import MAPPED, number
from atlas.comparison.networks import Network
from atlas.comparison.pairing import FEWEST_IMAGES, Pair, check_classes
from atlas.comparison.plan import Plan, header_of, is_finished, layout_there, named_by, told_of_icons, writer_of
from atlas.comparison.shared_map import MIN_IMAGES, SharedMap, map_network, write_network
from atlas.comparison.told import placed
from atlas.errors import ConfigError, StoreError
from atlas.findings.densities import CellDensity, Region, compare_densities, find_regions, region_images
from atlas.findings.neighborhoods import NEAR, nearest_others
from atlas.layouts import bin_into_cells, compute_layout, measure_levels
from atlas.records import Layout, Progress
from atlas.storage import AtlasWriter
from atlas.storage.diff import FIGURES, Diff, open_diff, write_diff_files

PER_CHANGE = 200
"""Images named for a change."""
COMMON = (
    "{:,} ids are in both datasets. The tests take their pictures for different ones: where they are the same, the "
    "datasets differ by less than chance would make them, and too little is found."
)
DRAWS = 199
"""Times that images are dealt out anew."""


@dataclass(frozen=True)
class Both:
    """Two datasets' samples one after the other.

    rows: float16 (samples, channels). image_of: int64 (samples,), the other's images counted on from the first's.
    other: bool (images,), True for the other's. ids: distinct, with the dataset's title before those that both use,
    which are `common`.
    """

    networks: tuple[Network, Network]
    rows: NDArray[Any]
    image_of: NDArray[np.int64]
    other: NDArray[np.bool_]
    ids: tuple[str, ...]
    common: int

    @classmethod
    def of(cls, one: Network, two: Network) -> Both:
        """Join them. Raises StoreError where they cannot be joined."""
        if one.kind != two.kind:
            raise StoreError(
                f"{one.title} maps {one.pool_words} and {two.title} {two.pool_words}: build both with the same "
                "layout.rows"
            )
        check_classes(one, two)
        for network in (one, two):
            if len(network.store) < FEWEST_IMAGES:
                raise StoreError(
                    f"{network.path} was made from {len(network.store)} images: a comparison needs {FEWEST_IMAGES}"
                )
        images = [len(network.store) for network in (one, two)]
        image_of = [network.layer.image_of(network.kind) for network in (one, two)]
        named = [list(network.store.images.ids) for network in (one, two)]
        clash = set(named[0]) & set(named[1])
        ids = [f"{n.title}: {i}" if i in clash else i for n, some in zip((one, two), named, strict=True) for i in some]
        return cls(
            (one, two),
            np.concatenate([network.layer.rows(network.kind)[:] for network in (one, two)]),
            np.concatenate([image_of[0], image_of[1] + images[0]]),
            np.repeat([False, True], images),
            tuple(ids),
            len(clash),
        )

    def column(self, name: str) -> NDArray[Any]:
        """One column of both stores' images."""
        return np.concatenate([getattr(network.store.images, name) for network in self.networks])


def compare_datasets(plan: Plan, progress: Progress) -> Diff:
    """Compare two atlases of one network and layer, made from different images. Raises ConfigError, StoreError."""
    if len(plan.networks) != 2 or plan.references:
        raise ConfigError("two datasets through one network are compared two at a time, and without references")
    if is_finished(plan):
        return open_diff(plan.target)
    both = Both.of(*plan.networks)
    metric = plan.networks[0].metric
    layout = layout_there(plan, len(both.rows))
    if layout is None:
        # What an interrupted run has left of one dataset is of another map.
        plan = replace(plan, force=True)
        layout = compute_layout(
            both.rows, method="tsne", neighbors=min(MAPPED, len(both.rows) - 2), metric=metric, seed=plan.seed,
            deterministic=plan.deterministic, progress=progress,
        )  # fmt: skip
    count = measure_levels(layout, both.image_of, min_images=MIN_IMAGES)
    levels = [bin_into_cells(layout, both.image_of, level=z, min_images=MIN_IMAGES) for z in range(count)]
    densities = compare_densities(levels, both.image_of, both.other)
    regions = find_regions(densities, both.image_of, both.other)
    mixed = _mixing(both, metric, plan.seed, plan.threads, progress)
    document = _document(plan, both, densities, regions, mixed)
    writer = writer_of(plan, document)
    _write_images(writer, both, progress)
    _write_layers(writer, plan, layout, count, progress)
    columns: dict[str, Sequence[Any]] = {"dataset": [plan.networks[int(one)].title for one in both.other]}
    shared = SharedMap(layout, tuple(levels), both.image_of, both.column("label"), 0)
    document["changes"], in_change = placed(document["changes"], shared, both.ids)
    columns |= in_change
    names = write_diff_files(plan.target, document, _arrays(layout, densities), both.ids, columns)
    writer.record_files(names)
    writer.finish()
    return open_diff(plan.target)


def _mixing(both: Both, metric: str, seed: int, threads: int, progress: Progress) -> dict[str, Any]:
    """The share of a sample's neighbours that are of the other dataset, over what a random mixture would have.

    Both datasets count the same. 1: thoroughly mixed; 0: apart. The statistic is Schilling's, 1986; what chance gives,
    95 % of it, and p come from dealing the images out anew to datasets of these sizes.
    """
    known: Any = metric
    near = nearest_others(both.rows, both.image_of, NEAR, metric=known, seed=seed, threads=threads, progress=progress)
    # A sample's own image gives it no neighbours.
    reach = len(both.image_of) - np.bincount(both.image_of)[both.image_of]

    def mixing(other: NDArray[np.bool_]) -> float:
        of = other[both.image_of]
        strange = (of[near.indices] != of[:, None]).mean(axis=1) * reach / np.where(of, (~of).sum(), of.sum())
        return float((strange[of].mean() + strange[~of].mean()) / 2)

    rng = np.random.default_rng(seed)
    value = mixing(both.other)
    drawn = np.array([mixing(rng.permutation(both.other)) for _ in range(DRAWS)])
    low, high = np.quantile(drawn, [0.025, 0.975])
    p = (1 + int((drawn <= value).sum())) / (1 + DRAWS)
    return {"value": value, "chance": [float(low), float(high)], "p": p}


def _document(
    plan: Plan, both: Both, densities: Sequence[CellDensity], regions: Sequence[Region], mixed: dict[str, Any]
) -> dict[str, Any]:
    tested = sum(int(np.isfinite(cells.p).sum()) for cells in densities)
    return {
        **header_of(plan, "datasets", len(densities)),
        **dict.fromkeys(FIGURES),
        "intervals": {name: [None, None] for name in FIGURES},
        "noise_floor": {
            "kind": "sampling",
            **{name: [None, None] for name in FIGURES},
            "references": [],
            "words": "which images were drawn: Fisher's exact test over images in each cell, adjusted over all cells",
        },
        "mixing": mixed,
        "curve": [],
        "changes": [_change(plan, both, densities, region) for region in regions],
        "tested": {"tests": tested, "level": 0.05},
        "classes": [],
        "flips": [],
        "notes": [
            told_of_icons(plan, len(densities)),
            "Different images through the same network: similarity of networks cannot be said, densities can.",
            *([COMMON.format(both.common)] if both.common else []),
        ],
    }


def _change(plan: Plan, both: Both, densities: Sequence[CellDensity], region: Region) -> dict[str, Any]:
    cells = densities[region.depth]
    images = region_images(cells.level, region.cells, both.image_of)
    images = images[both.other[images] == region.appeared]
    names, shares = _named(both, images)
    one, two = (network.title for network in plan.networks)
    totals = int((~both.other).sum()), int(both.other.sum())
    many, few = (two, one) if region.appeared else (one, two)
    counts = (region.other, totals[1]), (region.one, totals[0])
    (m, of_m), (f, of_f) = counts if region.appeared else counts[::-1]
    mostly = f", {' and '.join(f'{name} ({share:.0%})' for name, share in shares)}" if shares else ""
    text = (
        f"{m:,} of {many}'s {of_m:,} pictures ({m / of_m:.1%}{mostly}) lie where {f:,} of {few}'s {of_f:,} "
        f"({f / of_f:.1%}) do."
    )
    return {
        "kind": "appeared" if region.appeared else "vanished",
        "score": number(region.score),
        "p": number(region.p),
        "images": [both.ids[int(i)] for i in images[:PER_CHANGE]],
        "count": len(images),
        "groups": [[both.ids[int(i)] for i in images[:PER_CHANGE]]],
        "classes": names,
        "before": region.one / totals[0],
        "after": region.other / totals[1],
        "retrained": None,
        "level": cells.level.level,
        "cells": [[int(cells.level.column[c]), int(cells.level.row[c])] for c in region.cells],
        "text": text,
    }


def _named(both: Both, images: NDArray[np.int64]) -> tuple[list[str], list[tuple[str, float]]]:
    """The classes of some images by label, else by prediction: those of a tenth or more, at most two told."""
    first = both.networks[0].store
    values, names = both.column("label")[images], named_by(both.networks).store.classes
    if not (values >= 0).any():
        values, names = both.column("prediction")[images], first.outputs
    known = values[(values >= 0) & (values < len(names))]
    if not len(known):
        return [], []
    classes, counts = np.unique(known, return_counts=True)
    order = [i for i in np.argsort(-counts, kind="stable") if counts[i] >= 0.1 * len(known)]
    told = [(names[classes[i]], float(counts[i] / len(known))) for i in order]
    return [name for name, _ in told], told[:2]


def _write_images(writer: AtlasWriter, both: Both, progress: Progress) -> None:
    if not writer.has_images():
        told = (both.column(name) for name in ("label", "prediction", "confidence", "width", "height"))
        writer.write_images(both.ids, *told)
    if not writer.has_thumbnails():
        atlases = [network.atlas for network in both.networks]
        first = len(both.networks[0].store)

        def read(image: int) -> NDArray[np.uint8]:
            atlas = atlases[int(image >= first)]
            assert atlas is not None
            return atlas.thumbnail(image - first if image >= first else image)

        writer.write_thumbnails(read, progress=progress)


def _write_layers(writer: AtlasWriter, plan: Plan, layout: Layout, count: int, progress: Progress) -> None:
    """Each dataset as a layer of the same map and grid: only its own samples."""
    first_rows, first_images = len(plan.networks[0].layer.image_of(plan.networks[0].kind)), len(plan.networks[0].store)
    settings = {
        "method": "tsne", "neighbors": MAPPED, "seed": plan.seed, "fused": [one.title for one in plan.networks]
    }  # fmt: skip
    for index, network in enumerate(plan.networks):
        part = slice(first_rows, None) if index else slice(0, first_rows)
        own = Layout(layout.positions[part], layout.state[part])
        image_of = network.layer.image_of(network.kind)
        levels = tuple(bin_into_cells(own, image_of, level=z, min_images=MIN_IMAGES) for z in range(count))
        shared = SharedMap(
            own, levels, image_of, network.store.images.label, len(named_by(plan.networks).store.classes)
        )
        pair = Pair(network, None, None)
        mapped = map_network(pair, shared, progress, plan.jobs[index] if plan.jobs else None, plan.rendered)
        write_network(writer, index, mapped, shared, settings, progress, first_image=first_images if index else 0)


def _arrays(layout: Layout, densities: Sequence[CellDensity]) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {"positions": layout.positions, "state": layout.state}
    for z, cells in enumerate(densities):
        arrays |= {f"cells_{z}_{name}": getattr(cells, name) for name in ("one", "other", "ratio", "p")}
        arrays |= {f"cells_{z}_{name}": getattr(cells.level, name) for name in ("column", "row")}
    return arrays
