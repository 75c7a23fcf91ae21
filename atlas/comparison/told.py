"""What a comparison says of classes, predictions and changes: plain values for its document, arrays for its map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.comparison.figures import Account, Whole, number
from atlas.comparison.pairing import Pair
from atlas.comparison.shared_map import MappedNetwork, SharedMap
from atlas.errors import DataError
from atlas.findings.changes import Change, NetworkView, find_changes
from atlas.findings.local import (
    Groups,
    LocalChange,
    SampleChange,
    describe_change,
    effect_changes,
    group_means,
    groups_of_labels,
)
from atlas.layouts.cells import mean_effects

EXAMPLES = 24
"""Images named for each kind of flip."""
IN_CHANGE = "what changed"
"""The column of images that says which of the listed changes each is in."""
PER_CHANGE = 200
"""Images named for a change, first those that show it best."""


def sample_change(
    first: Account, other: Account, whole: Whole, shared: SharedMap, kept: NDArray[np.float32] | None
) -> SampleChange:
    """What changed for each sample from the first network to another one."""
    return SampleChange(
        image_of=shared.image_of,
        overlap=whole.overlap,
        denser=first.crowding - other.crowding,
        kept=kept,
        labels=shared.labels if first.pair.network.store.aligned else np.full_like(shared.labels, -1),
        predictions=(first.pair.predictions, other.pair.predictions),
    )


def class_rows(
    first: Account, other: Account, whole: Whole, change: SampleChange, shared: SharedMap, names: Sequence[str]
) -> list[dict[str, Any]]:
    """What changed in each class, the least overlap first; classes without images are left out."""
    groups = groups_of_labels(shared.labels, shared.image_of, shared.classes)
    means = group_means(first.rows, groups), group_means(other.rows, groups)
    told = describe_change(groups, change, means, whole.alignment)
    effects = _class_effects(first.pair, other.pair, shared)
    order = np.argsort(np.nan_to_num(told.overlap, nan=np.inf), kind="stable")
    return [
        {
            "class": names[c],
            "images": int(told.images[c]),
            "overlap": number(told.overlap[c]),
            "floor": number(told.floor[c]),
            "p": number(told.p[c]),
            "denser": number(told.denser[c]),
            "shift": number(told.shift[c]),
            "flips": number(told.flips[c]),
            "accuracy": [number(told.accuracy_one[c]), number(told.accuracy_other[c])],
            "effects": effects[c],
        }
        for c in order
        if told.images[c]
    ]


def _class_effects(first: Pair, other: Pair, shared: SharedMap) -> list[list[list[Any]]]:
    """For each class, the outputs that its samples' mean effect on changed most: [name, change in logits]."""
    names = first.network.store.outputs
    label_of = shared.labels[shared.image_of]
    one, two = (
        mean_effects(label_of, shared.classes, pair.effects, len(pair.network.store.outputs) or None)
        for pair in (first, other)
    )
    outputs, changes = effect_changes((one[0], one[1]), (two[0], two[1]))
    return [
        [[names[o], number(change)] for o, change in zip(row, values, strict=True) if o >= 0]
        for row, values in zip(outputs.tolist(), changes.tolist(), strict=True)
    ]


def flip_rows(first: Pair, other: Pair, shared: SharedMap) -> list[dict[str, Any]]:
    """Which predictions changed, by the class before and after, the most frequent first, with images of each."""
    one, two = first.predictions, other.predictions
    if one is None or two is None:
        return []
    outputs, ids = first.network.store.outputs, first.network.store.images.ids
    changed = np.flatnonzero((one != two) & (one >= 0) & (two >= 0))
    pairs, of, counts = np.unique(
        np.stack([one[changed], two[changed]], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    judged = first.network.store.aligned
    rows = []
    for at in np.argsort(-counts, kind="stable"):
        images = changed[of.reshape(-1) == at]
        sure = np.argsort(-other.confidence[images], kind="stable")
        before, after = (int(c) for c in pairs[at])
        rows.append(
            {
                "from": outputs[before],
                "to": outputs[after],
                "images": len(images),
                "gained": int((shared.labels[images] == after).sum()) if judged else None,
                "lost": int((shared.labels[images] == before).sum()) if judged else None,
                "examples": [ids[int(i)] for i in images[sure[:EXAMPLES]]],
            }
        )
    return rows


def discover(
    first: Pair, other: Pair, references: Sequence[Pair], shared: SharedMap, seed: int
) -> tuple[list[dict[str, Any]], dict[str, Any], list[str]]:
    """The ranked list of what changed, what it was held against, and notes; nothing where the images are too few."""
    store = first.network.store
    # Outputs of another numbering than the labels say nothing of them.
    views = [
        NetworkView(pair.vectors(), pair.predictions if store.aligned else None) for pair in (first, other, *references)
    ]
    labels = shared.labels if (shared.labels >= 0).any() else None
    ids = store.images.ids
    try:
        titles = first.network.title, other.network.title
        found = find_changes(
            views[0], views[1], labels, store.classes, views[2:], ids=list(ids), seed=seed, titles=titles
        )
    except DataError as error:
        return [], {}, [f"Changes were not looked for: {error}."]
    tested = {
        "tests": found.tests,
        "found_on": found.found_on,
        "tested_on": found.tested_on,
        "level": found.level,
        "below": [_change_row(change, ids) for change in found.below],
    }
    return [_change_row(change, ids) for change in found.changes], tested, []


def placed(
    changes: Sequence[dict[str, Any]], shared: SharedMap, ids: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Where on the map each change lies, and a column that names an image's change; no column without changes.

    `view`: left, bottom, right, top of the middle 80 % of its samples. An image of two changes is named by the first.
    """
    place = {name: i for i, name in enumerate(ids)}
    named = [""] * len(ids)
    rows = []
    for at, change in enumerate(changes, start=1):
        images = [place[name] for name in change["images"]]
        name = f"{at}: {change['kind']}"
        for image in images:
            named[image] = named[image] or name
        here = shared.layout.positions[np.isin(shared.image_of, images)]
        here = here[np.isfinite(here).all(axis=1)]
        view = np.quantile(here, [0.1, 0.9], axis=0).ravel().tolist() if len(here) else None
        rows.append({**change, "name": name, "view": view})
    return rows, {IN_CHANGE: named} if rows else {}


def _change_row(change: Change, ids: Sequence[str]) -> dict[str, Any]:
    return {
        "kind": change.kind,
        "score": number(change.score),
        "p": number(change.p),
        "images": [ids[int(i)] for i in change.images[:PER_CHANGE]],
        "count": len(change.images),
        "groups": [[ids[int(i)] for i in group[:PER_CHANGE]] for group in change.groups],
        "classes": list(change.classes),
        "before": number(change.before),
        "after": number(change.after),
        "retrained": None if change.retrained is None else [number(value) for value in change.retrained],
        "text": change.text,
    }


def cell_arrays(
    networks: Sequence[MappedNetwork],
    wholes: Sequence[Whole],
    changes: Sequence[SampleChange],
    shared: SharedMap,
) -> dict[str, NDArray[Any]]:
    """What changed in every cell, by level, from the first network to each other: see docs/formats.md."""
    arrays: dict[str, NDArray[Any]] = {}
    for z, level in enumerate(shared.levels):
        groups = Groups(np.repeat(np.arange(len(level)), level.samples), level.members, len(level))
        told: list[LocalChange] = []
        effects = []
        first = networks[0].statistics[z]
        for mapped, whole, change in zip(networks[1:], wholes, changes, strict=True):
            other = mapped.statistics[z]
            told.append(describe_change(groups, change, (first.mean, other.mean), whole.alignment))
            effects.append(
                effect_changes((first.effect_class, first.effect_value), (other.effect_class, other.effect_value))
            )
        arrays |= {
            f"cells_{z}_{name}": np.stack([getattr(one, name) for one in told])
            for name in LocalChange.__dataclass_fields__
        }
        arrays[f"cells_{z}_effect_class"] = np.stack([classes for classes, _ in effects])
        arrays[f"cells_{z}_effect_change"] = np.stack([values for _, values in effects])
        own = np.full(len(level), np.nan, np.float32)
        borrowed = [mapped.borrowed[z] for mapped in networks]
        arrays[f"cells_{z}_borrowed"] = np.stack([own if one is None else one.cosine for one in borrowed])
    return arrays


def image_columns(
    accounts: Sequence[Account], changes: Sequence[SampleChange], shared: SharedMap
) -> dict[str, Sequence[Any]]:
    """Columns by which the explorer colours images: how far each one's neighbours changed, and its predictions."""
    images = len(shared.labels)
    counts = np.maximum(np.bincount(shared.image_of, minlength=images), 1)
    first = accounts[0].pair
    found: dict[str, Sequence[Any]] = {}
    # The last first: the explorer opens in its colours, and the list is of it.
    for account, change in reversed(list(zip(accounts[1:], changes, strict=True))):
        words = "" if len(accounts) == 2 else f" to {account.title}"
        lost = np.bincount(shared.image_of, 1 - change.overlap, images) / counts
        if change.kept is not None:  # first: the explorer opens in it
            # Less than in every pair of the recipe: with two references one image in four is by chance.
            beyond = np.bincount(shared.image_of, change.kept.min(axis=0) - change.overlap, images) / counts
            found[f"change beyond retraining{words}"] = [f"{value:.4f}" for value in beyond]
        found[f"change{words}"] = [f"{value:.4f}" for value in lost]
        predicted = account.pair.predictions
        if first.predictions is not None and predicted is not None:
            found[f"prediction{words or ' change'}"] = _verdicts(
                first.predictions, predicted, shared.labels if first.network.store.aligned else None
            )
            names = account.pair.network.store.outputs
            found[f"{account.title} says"] = [names[p] if p >= 0 else "" for p in predicted]
    return found


def _verdicts(one: NDArray[np.int32], two: NDArray[np.int32], labels: NDArray[np.int32] | None) -> list[str]:
    """How each image's prediction changed, in words; empty where there is none."""
    words = np.where(one == two, "the same", "another").astype(object)
    if labels is not None:
        known = labels >= 0
        words[known & (one == labels) & (two == labels)] = "right in both"
        words[known & (one != labels) & (two == labels)] = "wrong, then right"
        words[known & (one == labels) & (two != labels)] = "right, then wrong"
        words[known & (one != labels) & (two != labels) & (one == two)] = "wrong in both, the same"
        words[known & (one != labels) & (two != labels) & (one != two)] = "wrong in both, another"
    words[(one < 0) | (two < 0)] = ""
    return [str(word) for word in words]
