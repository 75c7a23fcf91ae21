"""A report's first two parts: the pictures, and the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from atlas.config import load_manifest_config
from atlas.errors import AtlasError
from atlas.review.glossary import Terms
from atlas.review.markup import counted, facts, figure, picture, say, share, table
from atlas.storage import Atlas
from atlas.storage.files import hash_file

_CLASSES = 30  # listed in the table; of more, those told worst
_SKIPPED = 10
_STRIP = 24


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; (0, 1) for nothing. Wilson 1927."""
    if not count:
        return 0.0, 1.0
    z, p = 1.959964, hits / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(p * (1 - p) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return float(middle - half), float(middle + half)


def hits_of(atlas: Atlas) -> tuple[np.ndarray, np.ndarray]:
    """Which images have a label and a prediction, and which of them are right; bool (images,) each."""
    label, said = np.asarray(atlas.images.label), np.asarray(atlas.images.prediction)
    known = (label >= 0) & (said >= 0) & bool(atlas.aligned)
    return known, known & (label == said)


def accuracy_words(atlas: Atlas) -> str:
    """The accuracy with its interval, plain text; "" where there is none."""
    known, right = hits_of(atlas)
    if not known.any():
        return ""
    low, high = wilson(int(right.sum()), int(known.sum()))
    return f"{right.sum() / known.sum():.1%} ({low:.1%} to {high:.1%})"


def data_section(atlas: Atlas, terms: Terms) -> str:
    """Which pictures, how many, whose, and how the network does on each class."""
    provenance, label = atlas.provenance, np.asarray(atlas.images.label)
    manifest = _manifest(atlas)
    confidence = np.asarray(atlas.images.confidence)
    known, _ = hits_of(atlas)
    mean = float(np.nanmean(confidence[known])) if known.any() else None
    unlabelled = int((label < 0).sum())
    pairs = [
        ("Dataset", say(str(provenance.get("source", {}).get("name", "not recorded")))),
        ("Manifest", _file(provenance.get("manifest"), terms)),
        ("Licence", say(manifest["license"] or "none is named in the manifest") if manifest else _ABSENT),
        ("Home", say(manifest["homepage"] or "") if manifest else ""),
        ("Pictures", counted(len(atlas.images), "picture") + f", {counted(len(atlas.classes), 'class', 'classes')}"),
        ("Without a label", f"{unlabelled:,}" if unlabelled else ""),
        (terms("accuracy"), say(accuracy_words(atlas)) or "not known: labels and outputs cannot be compared"),
        (terms("confidence", "Mean confidence"), "" if mean is None else share(mean)),
        ("Not readable", _skipped(atlas)),
    ]
    notes = "".join(f"<p class='note'>{say(note)}</p>" for note in atlas.notes)
    return f"{facts(pairs)}{notes}{_strip(atlas)}{_class_table(atlas, terms)}"


_ABSENT = "not known: the manifest is not where it was at build, or has changed"


def _manifest(atlas: Atlas) -> dict[str, str | None] | None:
    """Licence and homepage, where the manifest that the atlas was made from is still there."""
    made = atlas.provenance.get("manifest") or {}
    path = atlas.path / str(made.get("path", ""))
    try:
        if not path.is_file() or hash_file(path) != made.get("sha256"):
            return None
        config = load_manifest_config(path)
    except (AtlasError, OSError):
        return None
    return {"license": config.license, "homepage": config.homepage}


def _file(made: Mapping[str, Any] | None, terms: Terms) -> str:
    if not made:
        return ""
    path, digest = say(str(made.get("path"))), say(str(made.get("sha256")))
    return f"<code>{path}</code>, {terms('hash', 'sha256')} <code>{digest}</code>"


def _skipped(atlas: Atlas) -> str:
    if not atlas.skipped:
        return "none"
    some = "".join(f"<li><code>{say(name)}</code>: {say(why)}</li>" for name, why in atlas.skipped[:_SKIPPED])
    more = len(atlas.skipped) - _SKIPPED
    return f"{len(atlas.skipped):,}<ul>{some}</ul>" + (f"and {more:,} more" if more > 0 else "")


def _strip(atlas: Atlas) -> str:
    """Pictures drawn by chance, with a fixed seed, so that a reader sees what the data is."""
    count = min(_STRIP, len(atlas.images))
    chosen = np.sort(np.random.default_rng(0).choice(len(atlas.images), count, replace=False))
    shown = "".join(picture(atlas.thumbnail(int(i)), atlas.images.ids[int(i)]) for i in chosen)
    return figure(f"<div class='strip'>{shown}</div>", f"{count} of the pictures, drawn at random.")


def _class_table(atlas: Atlas, terms: Terms) -> str:
    label, said = np.asarray(atlas.images.label), np.asarray(atlas.images.prediction)
    known, right = hits_of(atlas)
    counts = np.bincount(label[label >= 0], minlength=len(atlas.classes))
    if not counts.sum():
        return ""
    rows = []
    for number, name in enumerate(atlas.classes):
        own = known & (label == number)
        hits, count = int((right & own).sum()), int(own.sum())
        low, high = wilson(hits, count)
        wrong = said[own & ~right]
        taken = ""
        if len(wrong):
            others, times = np.unique(wrong, return_counts=True)
            order = np.argsort(-times, kind="stable")[:2]
            taken = ", ".join(f"{say(atlas.outputs[others[i]])} {times[i]}" for i in order)
        cells = [say(name), f"{counts[number]:,}"]
        if known.any():
            cells += [share(hits / count) if count else "", f"{low:.0%} to {high:.0%}" if count else "", taken]
        rows.append((high if count else 2.0, cells))
    chosen = rows if len(rows) <= _CLASSES else sorted(rows, key=lambda row: row[0])[:_CLASSES]
    head = ["Label", "Pictures"]
    if known.any():
        head += [terms("accuracy", "Accuracy"), "95 %", "Mostly taken for"]
    words = ""
    if len(rows) > _CLASSES:
        words = f"<p>The {_CLASSES} of {len(rows):,} classes that fare worst, by the interval's upper end.</p>"
    return f"<h3>Each class</h3>{words}{table(head, [cells for _, cells in chosen], 'classes')}"


def model_section(atlas: Atlas, terms: Terms, blocks: str) -> str:
    """Which network, with which preprocessing, and with what it was run. blocks: HTML, its architecture or ""."""
    provenance = atlas.provenance
    config = provenance.get("pipeline", {}).get("config", {})
    model = config.get("model", {})
    layers = ", ".join(
        f"<code>{say(layer.name)}</code> "
        f"({counted(layer.channels, 'channel')}, {counted(layer.header.samples, 'sample')})"
        for layer in atlas.layers
    )
    versions = ", ".join(f"{say(str(k))} {say(str(v))}" for k, v in provenance.get("versions", {}).items())
    made = provenance.get("model", {})
    outputs = counted(len(atlas.outputs), "class", "classes") if atlas.outputs else "none: an encoder"
    pairs = [
        ("Network", f"<code>{say(str(made.get('name', model.get('factory', 'not recorded'))))}</code>"),
        ("Named weights", say(str(model.get("weights") or ""))),
        ("Checkpoint", _file(provenance.get("checkpoint"), terms)),
        (terms("hash", "Weights' hash"), f"<code>{say(str(made.get('weights_hash', 'not recorded')))}</code>"),
        ("Outputs", outputs),
        ("Preprocessing", _preprocess(model.get("preprocess"))),
        ("Layers on the map", layers),
        ("Pipeline", _file(provenance.get("pipeline"), terms)),
        ("Seed", f"{provenance.get('seed', 'not recorded')}, deterministic: {_yes(provenance.get('deterministic'))}"),
        ("Made with", versions),
        ("Atlas", f"<code>{say(atlas.fingerprint)}</code>" + ("" if atlas.complete else ", still being built")),
    ]
    return facts([(name, value) for name, value in pairs]) + blocks


def _yes(value: Any) -> str:
    return "not recorded" if value is None else "yes" if value else "no"


def _preprocess(values: Any) -> str:
    if not values:
        return "what the factory's weights bring along"
    return ", ".join(f"{say(str(k))} <code>{say(json.dumps(v))}</code>" for k, v in values.items())
