"""A report's other parts: layer health, the map, what differs from another network."""

from __future__ import annotations

from typing import Any

import numpy as np

from atlas.findings.health_record import Health
from atlas.layout_quality import quality_tables
from atlas.looking.depth import depth_charts, health_table
from atlas.review.data import hits_of
from atlas.review.drawing import icons_picture, map_level, samples_picture, trust_picture
from atlas.review.glossary import Terms
from atlas.review.markup import counted, figure, picture, say, share, table
from atlas.storage import Atlas
from atlas.storage.atlas import AtlasLayer
from atlas.storage.diff import Diff

_TERMS = {
    "recall_15": "recall", "recall_50": "recall", "trustworthiness": "trustworthiness", "continuity": "trustworthiness",
    "centroids": "centroids", "stability": "stability", "pca_recall_15": "pca", "fitted_recall_15": "recall",
    "placed_recall_15": "recall", "centre": "scores", "robust": "scores", "windowed": "scores", "strength": "scores",
    "matched": "matched",
}  # fmt: skip
_HEALTH = ("dead", "stuck", "zeros", "norm", "rank", "bytes")
_NINE = 9
_FLIPS = 12


def health_section(health: Health, other_weights: bool, terms: Terms) -> str:
    """What stands out, curves over depth, the table. other_weights: of another network than the atlas's."""
    said = "".join(f"<li>{say(sentence)}</li>" for sentence in health.findings)
    layers = health.layers
    keys = [*_HEALTH, *(key for key, there in (
        ("gradient", any(layer.gradient is not None for layer in layers)),
        ("spread", any(layer.spread is not None for layer in layers)),
        ("probe", any(layer.separability for layer in layers)),
        ("gap", any(layer.gap for layer in layers)),
        ("rounding", any(layer.half is not None or layer.rounding for layer in layers)),
    ) if there)]  # fmt: skip
    links = ", ".join(terms(key) for key in keys)
    warning = (
        "<p class='warn'>These figures are of a network with other weights than the atlas's.</p>"
        if other_weights
        else ""
    )
    return (
        f"{warning}<p>{say(health.title)}.</p><ul>{said}</ul><div class='charts'>{depth_charts(health)}</div>"
        f"<div class='wide tight'>{health_table(health)}</div><p class='small'>How: {links}.</p>"
    )


def map_section(atlas: Atlas, told: dict[str, Any] | None, terms: Terms) -> str:
    """Each layer's map, where its errors lie, how far to trust it. told: what `tell_quality` says, None without."""
    known, right = hits_of(atlas)
    parts = [
        f"<p>{terms('layout', 'The map')} puts samples that the layer treats alike side by side. In each cell stands "
        f"its {terms('icon', 'icon')}, larger where more pictures fall. Neighbours can be believed as far as the "
        "figures below say; distances between far groups cannot.</p>"
    ]
    parts += [f"<h3>{say(layer.name)}</h3>{_layer_pictures(layer, known & ~right, terms)}" for layer in atlas.layers]
    for one in [] if told is None else quality_tables(told):
        head = [*(say(name) for name in one[0])]
        rows = []
        for line in one:
            name, *values = line.values()
            cell = terms(_TERMS[name], name) if name in _TERMS else say(name)
            rows.append([cell, *(say(str(value)) for value in values)])
        parts.append(table(head, rows, "quality"))
    if told is None:
        parts.append("<p class='note'>The atlas holds no figures of quality: build it again to have them.</p>")
    return "".join(parts)


def _layer_pictures(layer: AtlasLayer, wrong: np.ndarray, terms: Terms) -> str:
    settings = layer.layout_settings
    how = ", ".join(
        f"{say(str(k))} {say(str(settings[k]))}" for k in ("method", "neighbors", "metric") if settings.get(k)
    )
    level = map_level(layer)
    states = ", ".join(f"{count:,} {say(state)}" for state, count in layer.header.states.items() if count)
    words = f"{counted(layer.header.samples, 'sample')} ({states}); {how}."
    shown = []
    if level is not None:
        caption = f"{words} {level.side} × {level.side} cells, {counted(int(level.has_icon.sum()), 'icon')}."
        shown.append(figure(picture(icons_picture(level), f"the map of {layer.name}"), caption, "map"))
    else:
        shown.append(f"<p>{words} No icons were rendered.</p>")
    small = []
    if wrong.any():
        caption = f"Red: samples of the {counted(int(wrong.sum()), 'picture')} that the network gets wrong."
        drawn = picture(samples_picture(layer, wrong), "where errors lie", lossless=True)
        small.append(figure(drawn, caption))
    if layer.quality and layer.levels:
        finest = level or layer.levels[0]
        caption = f"The darker, the more of its true neighbours a cell keeps ({terms('recall', 'recall at 15')})."
        small.append(figure(picture(trust_picture(finest), "how far cells can be trusted", lossless=True), caption))
    return "".join(shown) + f"<div class='pair'>{''.join(small)}</div>"


def diff_section(diff: Diff, terms: Terms) -> str:
    """What differs between the networks of a comparison, and whether it is more than chance."""
    told = diff.document
    titles = [say(network["title"]) for network in told["networks"]]
    if diff.same:
        return f"<p>{' and '.join(titles)} are the same network on the same pictures.</p>"
    networks = [
        [say(n["title"]), f"<code>{say(str(n['layer']))}</code>", f"{n['images']:,}",
         "" if n["accuracy"] is None else share(n["accuracy"]), f"<code>{say(str(n['weights'])[:16])}…</code>"]
        for n in told["networks"]
    ]  # fmt: skip
    parts = [table(["Network", "Layer", "Pictures", "Accuracy", terms("hash", "Weights")], networks)]
    floor, rows = told["noise_floor"], []
    for name, key in (("cka", "cka"), ("procrustes", "procrustes"), ("neighbor_overlap", "overlap")):
        if told[name] is not None:
            low, high = floor[name]
            rows.append([terms(key, name), f"{told[name]:.3f}", f"{low:.3f} to {high:.3f}"])
    if rows:
        head = ["Figure", f"{titles[-1]} against {titles[0]}", f"{terms('floor')}, {say(str(floor['kind']))}"]
        parts.append(table(head, rows) + f"<p class='small'>{say(str(floor.get('words', '')))}</p>")
    parts.append(f"<h3>{terms('change')}</h3>" + _changes(diff))
    flips = [
        [say(f["from"]), say(f["to"]), f"{f['images']:,}", f"{f['gained']:,}", f"{f['lost']:,}"] for f in told["flips"]
    ]
    if flips:
        parts.append("<h3>Predictions that changed</h3>")
        parts.append(table(["From", "To", "Pictures", "Gained", "Lost"], flips[:_FLIPS]))
        if len(flips) > _FLIPS:
            parts.append(f"<p class='small'>The {_FLIPS} most frequent of {len(flips)}.</p>")
    parts += [f"<p class='note'>{say(note)}</p>" for note in told["notes"]]
    return "".join(parts)


def _changes(diff: Diff) -> str:
    if not diff.changes:
        tested = diff.document["tested"] or {}
        groups = counted(int(tested.get("tests", 0)), "group")
        return f"<p>{groups} of pictures tested, and none changed beyond the floor.</p>"
    shown = []
    index = {name: number for number, name in enumerate(diff.atlas.images.ids)}
    for change in diff.changes:
        own = [index[name] for name in change["images"] if name in index][:_NINE]
        strip = "".join(picture(diff.atlas.thumbnail(i), diff.atlas.images.ids[i]) for i in own)
        words = f"<b>{say(change['kind'])}</b>, p {change['p']:.2g}. {say(change['text'])}"
        shown.append(f"<article><p>{words}</p><div class='strip nine'>{strip}</div></article>")
    return "".join(shown)


def blocks_table(rows: list[dict[str, Any]], parameters: int) -> str:
    """The network's architecture: its blocks as `layer_table` tells them."""
    cells = [
        [
            f"<code>{say(str(row['name']))}</code>",
            say(str(row["kind"])),
            "×".join(map(str, row["output"])),
            f"{row['parameters']:,}",
            "×".join(map(str, row["field"])) if row.get("field") else "all",
        ]
        for row in rows
    ]
    return f"<h3>Architecture</h3><p>{parameters:,} parameters, of them in these blocks:</p>" + table(
        ["Block", "Kind", "Output", "Parameters", "Sees, px"], cells
    )
