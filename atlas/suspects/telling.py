"""A suspect as it is kept: plain values for JSON, its places in pictures, and two sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.findings.suspect_candidates import LISTED, Candidate, Samples
from atlas.suspects.causal import Estimate, Outcome, Tested
from atlas.suspects.places import WHOLE, Box, Place, in_picture
from atlas.suspects.probe import Probe
from atlas.suspects.sources import Source, common_source
from atlas.suspects.subject import Subject
from atlas.suspects.verdicts import Verdict, judge

ROWS, SHOWN = 2000, 32
CONCENTRATED = 0.15
"""Standard deviation of relative places under which stored positions have a place of their own."""
NAMES = {
    "within": "a cluster in its class that stands apart",
    "shared": "a cluster shared by several labels that the network predicts as one",
    "errors": "a cluster with more errors than its class",
    "disagreeing": "a cluster that speaks for another class than its label",
    "outlying": "a small cluster far from its class",
}


def row_of(
    subject: Subject, samples: Samples, candidate: Candidate, outcome: Outcome | None, verdict: Verdict | None
) -> dict[str, Any]:
    """What is kept of a suspect, but for its id and pictures; see docs/formats.md."""
    verdict = verdict or judge(candidate, outcome)
    images = [int(image) for image in candidate.images]
    box, boxes = _boxes(subject, samples, candidate, outcome)
    figures = _figures(candidate, outcome, verdict)
    of_label = [image for image in images if subject.label[image] == candidate.label]
    source = common_source([subject.ids[image] for image in of_label], [subject.ids[int(i)] for i in candidate.usual])
    if source is not None:
        figures |= {"source": round(source.inside, 4), "source_usual": round(source.outside, 4)}
    outputs = subject.store.outputs if subject.store.aligned else subject.classes
    return {
        "kind": candidate.kind,
        "found_in": subject.probes[candidate.layer].layer if subject.probes else subject.layer.name,
        "score": float(candidate.score),
        "p": float(candidate.p),
        "label": int(candidate.label),
        "feeds": int(candidate.feeds),
        "label_name": _name(subject.classes, candidate.label),
        "feeds_name": _name(outputs, candidate.feeds),
        "images": images,
        "image_ids": [subject.ids[image] for image in images],
        "usual": [int(image) for image in candidate.usual[:SHOWN]],
        "rows": _rows(subject, candidate, box),
        "box": box,
        "boxes": boxes,
        "figures": figures,
        "tests": [_test(test) for test in outcome.tests] if outcome is not None else [],
        "used": verdict.used,
        "why_used": verdict.why_used,
        "spurious": verdict.spurious,
        "why_spurious": verdict.why_spurious + _from(source),
        "text": _text(subject, candidate, box, figures, verdict),
        "icons": {"inside": None, "outside": None},
        "cue": None,
    }


def _name(names: Sequence[str], index: int) -> str | None:
    return names[index] if 0 <= index < len(names) else None


def _from(source: Source | None) -> str:
    if source is None:
        return ""
    return (
        f" {source.inside:.0%} of its pictures have '{source.text}' in their ids, {source.outside:.0%} of the class's "
        "others: they may come from one source."
    )


def _figures(candidate: Candidate, outcome: Outcome | None, verdict: Verdict) -> dict[str, float]:
    found = {name: float(value) for name, value in candidate.figures.items()}
    if outcome is not None:
        found |= {
            "density": outcome.place.density,
            "crispness": outcome.crisp,
            "crispness_natural": max(outcome.crisp_natural, default=math.nan),
            "plainness": outcome.plain,
            "plainness_natural": max(outcome.plain_natural, default=math.nan),
            "sameness": outcome.same,
            "sameness_natural": max(outcome.same_natural, default=math.nan),
            "recognised": outcome.before,
            "recognised_without": outcome.without,
            "recognised_usual": outcome.usual,
            "beyond": verdict.beyond,
        }
    return {name: round(value, 6) for name, value in found.items() if math.isfinite(value)}


def _test(test: Tested) -> dict[str, Any]:
    def three(one: Estimate) -> list[float]:
        return [round(one.mean, 4), round(one.low, 4), round(one.high, 4)]

    return {
        "name": test.name,
        "logit": three(test.logit),
        "control": three(test.control),
        "control_spread": [round(value, 4) for value in test.spread],
        "accuracy": three(test.accuracy),
        "accuracy_control": three(test.accuracy_control),
        "images": test.images,
        "controls": len(test.controls),
    }


def _boxes(
    subject: Subject, samples: Samples, candidate: Candidate, outcome: Outcome | None
) -> tuple[list[float] | None, list[list[float] | None]]:
    shown = candidate.images[:SHOWN]
    if outcome is not None:
        probe = subject.probes[candidate.layer]
        found = _boxes_of(subject, probe, candidate, outcome.place, shown)
        if outcome.place.box == WHOLE:
            if outcome.place.patch is not None:  # in every picture elsewhere
                return None, [list(box) for box in found]
            return list(WHOLE), [list(WHOLE)] * len(shown)
        middle = [float(value) for value in np.median(np.array(found), axis=0).round(4)]
        return middle, [list(box) for box in found]
    return _stored_boxes(subject, samples, candidate, shown)


def _boxes_of(
    subject: Subject, probe: Probe, candidate: Candidate, place: Place, shown: NDArray[np.int64]
) -> list[Box]:
    boxes = place.boxes_in(probe, candidate.direction, probe.pictures(shown))
    table = subject.store.images
    sizes = np.stack([table.width[shown], table.height[shown]], axis=1).astype(np.int64)
    return in_picture(boxes, probe.model.preprocess, sizes)


def _stored_boxes(
    subject: Subject, samples: Samples, candidate: Candidate, shown: NDArray[np.int64]
) -> tuple[list[float] | None, list[list[float] | None]]:
    """Places by the stored positions of the cluster, where these lie together."""
    none: list[list[float] | None] = [None] * len(shown)
    layer = subject.store.layer(subject.layer.name)
    if candidate.on != "rows" or "positions" not in layer.kinds or not len(candidate.rows):
        return None, none
    if samples.where[candidate.rows].std(axis=0).max() > CONCENTRATED:
        return None, none
    known = layer.box("positions")
    first: dict[int, int] = {}
    for row in candidate.rows.tolist():
        first.setdefault(int(samples.image[row]), row)
    middle = [float(value) for value in np.median(known[candidate.rows], axis=0).round(4)]
    boxes = [
        [float(value) for value in known[first[image]].round(4)] if image in first else None for image in shown.tolist()
    ]
    return middle, boxes


def _rows(subject: Subject, candidate: Candidate, box: list[float] | None) -> list[int]:
    """The atlas's samples of the members, those nearest to the cue's place; most typical images first."""
    table = subject.layer.samples
    order = {int(image): rank for rank, image in enumerate(candidate.images)}
    rows = np.flatnonzero(np.isin(table.image, candidate.images))
    if box is not None and box != list(WHOLE):
        inside = (
            (table.uv[rows, 0] >= box[0] - 0.1)
            & (table.uv[rows, 0] <= box[2] + 0.1)
            & (table.uv[rows, 1] >= box[1] - 0.1)
            & (table.uv[rows, 1] <= box[3] + 0.1)
        )
        rows = rows[inside] if inside.any() else rows
    ranked = sorted(rows.tolist(), key=lambda row: (order[int(table.image[row])], row))
    return [int(row) for row in ranked[:ROWS]]


def _text(
    subject: Subject, candidate: Candidate, box: list[float] | None, figures: dict[str, float], verdict: Verdict
) -> str:
    label = _name(subject.classes, candidate.label) or "no class"
    where = "anywhere in the picture" if box is None else _where(box)
    share = figures.get("share_of_class")
    part = f", {share:.0%} of {label}" if share is not None else f", most of them {label}"
    shown = " by its colours" if candidate.on == "plain" else ""
    first = f"{len(candidate.images)} images{part}: {NAMES[candidate.kind]}{shown}, {where}."
    second = {
        "yes": "The network uses it",
        "no": "The network does not use it",
        "undecided": "Whether the network uses it is undecided",
        "untested": "Whether the network uses it was not tested",
    }[verdict.used]
    third = {
        "likely": ", and it is likely spurious.",
        "unlikely": "." if verdict.used == "no" else ", and it is unlikely to be spurious.",
        "unclear": "; whether it is spurious is unclear.",
    }[verdict.spurious]
    unproven = (
        ""
        if candidate.p <= LISTED
        else f" It is listed for that: by itself it stands out little (p {candidate.p:.2g})."
    )
    return f"{first} {second}{third}{unproven}"


def _where(box: list[float]) -> str:
    left, top, right, bottom = box
    if (right - left) * (bottom - top) > 0.8:
        return "over the whole picture"
    across, down = (left + right) / 2, (top + bottom) / 2
    vertical = "upper" if down < 1 / 3 else "lower" if down > 2 / 3 else ""
    horizontal = "left" if across < 1 / 3 else "right" if across > 2 / 3 else ""
    if vertical and horizontal:
        return f"in the {vertical} {horizontal} corner"
    return f"in the {vertical or horizontal} part of the picture" if vertical or horizontal else "in the middle"
