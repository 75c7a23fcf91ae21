"""How far an atlas's layouts can be trusted: measured at build, told by `atlas quality`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from atlas.config import LayoutConfig
from atlas.errors import StoreError
from atlas.findings import cell_trust, measure_quality, measure_stability
from atlas.layouts.reduce import Metric
from atlas.mapping import followed, lay_out
from atlas.records import PROCESSOR, STATES, LayerQuality, Layout, Level, Progress, RowKind, prefixed, silent
from atlas.storage import ActivationStore, Atlas, AtlasWriter, open_atlas
from atlas.storage.atlas import SCORE_ARRAYS, AtlasLayer
from atlas.storage.remembered import store_of

STABILITY = "stability"
KINDS = ("fitted_recall_15", "placed_recall_15")
MEANING = {
    "layout": {
        "recall_15": "a sample's 15 nearest in truth that are its 15 nearest on the map",
        "recall_50": "the same of 50",
        "trustworthiness": "what is near on the map is near in truth: 1 always, 0.5 by chance",
        "continuity": "what is near in truth is near on the map",
        "centroids": "rank correlation of the distances between classes, map against truth",
        STABILITY: "a sample's 15 nearest on the map that another seed keeps",
        "pca_recall_15": "recall_15 of the principal components that the map is made from",
        "fitted_recall_15": "recall_15 of the samples that the map was fitted on",
        "placed_recall_15": "recall_15 of those that were placed against them",
    },
    "icons": {
        "centre": "cosine of the icon's centre to its cell's mean, the median",
        "robust": "the same when the icon is shifted, turned, scaled, blurred and compressed",
        "windowed": "the same over the whole icon",
        "strength": "1: as strong as the cell's mean sample",
        "matched": "icons that are nearer to their own cell than to any other",
    },
}
"""What each figure says, in a line; docs/layouts.md says more."""


def judge_layer(
    store: ActivationStore,
    name: str,
    kind: RowKind,
    layout: Layout,
    levels: Sequence[Level],
    *,
    metric: str,
    seed: int,
    progress: Progress = silent,
) -> LayerQuality:
    """Measure what one layer's layout keeps; its stability over seeds, which takes a second layout, is left out."""
    stored = store.layers[name]
    found = measure_quality(
        stored.rows(kind),
        layout,
        stored.image_of(kind),
        store.images.label,
        classes=len(store.classes),
        metric=cast(Metric, metric),
        levels=levels,
        seed=seed,
        progress=progress,
    )
    return LayerQuality(
        figures=found.figures(),
        anchors=found.anchors,
        recall=found.recall,
        trust=tuple(cell_trust(levels, found.anchors, found.recall)),
        class_spread=found.classes.spread,
        class_spread_map=found.classes.spread_map,
        class_nearest=found.classes.nearest,
    )


def tell_quality(path: str | Path, *, second_seed: bool = True, progress: Progress = silent) -> dict[str, Any]:
    """Say how far each layer's layout and icons can be trusted, as plain JSON values.

    What was measured at build is read from the atlas. The stability over seeds takes a second layout of each layer:
    with second_seed it is made from the atlas's store, once, and kept in the atlas. Raises StoreError when the atlas
    has no figures, or its store is needed and missing or changed.
    """
    atlas = open_atlas(path)
    silent_layers = [layer.name for layer in atlas.layers if not layer.quality]
    if silent_layers:
        raise StoreError(f"{path} holds no figures of quality for '{silent_layers[0]}': build it again with --force")
    if second_seed and any(STABILITY not in layer.quality for layer in atlas.layers):
        _measure_stability(atlas, progress)
        atlas = open_atlas(path)
    return {
        "layers": {
            layer.name: {
                "layout": {STABILITY: None, **layer.quality} | {"states": dict(layer.header.states)},
                "icons": _icon_figures(layer),
                "classes": _class_figures(atlas, layer),
            }
            for layer in atlas.layers
        }
    }


def quality_tables(told: dict[str, Any]) -> list[list[dict[str, str]]]:
    """What `tell_quality` tells, for a person: the layouts' table, then the icons', a column for each layer."""
    layers: dict[str, Any] = told["layers"]

    def row(part: str, name: str, values: list[Any], meaning: str) -> dict[str, str]:
        said = ["not known" if v is None else f"{v:,}" if isinstance(v, int) else f"{v:.3f}" for v in values]
        return {part: name, **dict(zip(layers, said, strict=True)), "meaning": meaning}

    # In most layouts all samples are fitted: figures of either kind would say it again.
    kinds = any(layer["layout"].get("placed_recall_15") is not None for layer in layers.values())
    tables = []
    for part, meanings in MEANING.items():
        found = [(name, [layer[part].get(name) for layer in layers.values()], what) for name, what in meanings.items()]
        tables.append([row(part, *one) for one in found if kinds or one[0] not in KINDS])
    for state in STATES:
        counts = [layer["layout"]["states"].get(state, 0) for layer in layers.values()]
        if any(counts):
            tables[0].append(row("layout", f"{state} samples", counts, ""))
    return tables


def _measure_stability(atlas: Atlas, progress: Progress) -> None:
    store = store_of(
        atlas,
        "its stability cannot be measured: leave it out with --no-second-seed",
        "restore it, or leave the stability out (--no-second-seed)",
    )
    writer = AtlasWriter.resume(atlas.path)
    other: Layout | None = None
    missing = [layer.index for layer in atlas.layers if STABILITY not in layer.quality]
    for layer in atlas.layers[: missing[-1] + 1]:
        # The same recipe but for the seed: it follows the layer before it, laid out with the other seed too.
        config = LayoutConfig(**{key: layer.layout_settings[key] for key in LayoutConfig.model_fields})
        other = lay_out(
            store,
            layer.name,
            config,
            followed(config, other, len(layer.samples)),
            seed=int(layer.layout_settings["seed"]) + 1,
            deterministic=bool(atlas.provenance.get("deterministic", False)),
            device="cpu" if layer.layout.engine == PROCESSOR else "auto",
            progress=prefixed(progress, f"{layer.name}: "),
        )
        if layer.index not in missing:
            continue
        # None is kept too: there are too few samples, and it need not be tried again.
        stable = measure_stability(layer.layout, other, np.asarray(layer.samples.image))
        writer.write_figures(layer.index, {**layer.quality, STABILITY: stable})


def _icon_figures(layer: AtlasLayer) -> dict[str, float | None]:
    """Medians of the icons' scores over all levels, and the share nearest to their own cell; None without icons."""
    scores: dict[str, NDArray[np.float32]] = {}
    for name in SCORE_ARRAYS:
        parts = [getattr(level.scores, name)[level.has_icon] for level in layer.levels]
        scores[name] = np.concatenate(parts) if parts else np.empty(0, np.float32)
    if not len(scores["centre"]):
        return dict.fromkeys((*SCORE_ARRAYS, "matched"))
    medians: dict[str, float | None] = {name: float(np.median(values)) for name, values in scores.items()}
    # An icon alone in its level is compared with nothing: it would be matched whatever it shows.
    compared = [level for level in layer.levels if level.has_icon.sum() > 1]
    matched = [(level.trust.nearest == np.arange(len(level)))[level.has_icon] for level in compared]
    return medians | {"matched": float(np.concatenate(matched).mean()) if matched else None}


def _class_figures(atlas: Atlas, layer: AtlasLayer) -> dict[str, Any]:
    """Spread and nearest classes of each class that has samples."""
    arrays = layer.class_quality()
    return {
        name: {
            "spread": float(arrays["class_spread"][i]),
            "spread_map": float(arrays["class_spread_map"][i]),
            "nearest": [atlas.classes[j] for j in arrays["class_nearest"][i] if j >= 0],
        }
        for i, name in enumerate(atlas.classes)
        if np.isfinite(arrays["class_spread"][i])
    }
