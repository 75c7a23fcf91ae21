"""A report's suspects: pictures with the cue boxed, the causal test, both verdicts, what a person said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from atlas.explorer.marks import Marks
from atlas.review.drawing import boxed, causal_chart
from atlas.review.glossary import Terms
from atlas.review.markup import counted, figure, picture, say, table
from atlas.storage import Atlas
from atlas.storage.suspects import Suspects

_SHOWN = 8
_EXPLAINED = ("size", "purity", "share_of_class", "accuracy_gap", "confidence_gap", "pull", "effect")
_SAID = {"cue": "a cue", "fine": "fine", "unsure": "unsure"}


def suspects_section(atlas: Atlas, found: Suspects | None, marks: Marks, terms: Terms) -> str:
    """All suspects, the most suspicious first, with what a person said of each."""
    if found is None:
        return (
            f"<p>None were looked for: <code>atlas suspects</code> looks for {terms('suspect', 'groups of pictures')} "
            "that may share a cue. Their absence here says nothing.</p>"
        )
    untested = "" if found.document["tested"] else " Nothing was tested causally: that takes the network."
    notes = "".join(f"<p class='note'>{say(str(note))}</p>" for note in found.document["notes"])
    if not found.listed:
        return f"<p>Looked for in layer {say(found.document['layer'])}, and none stood out.{untested}</p>{notes}"
    order = ", the most suspicious first" if len(found.listed) > 1 else ""
    intro = (
        f"<p>{counted(len(found.listed), terms('suspect', 'suspect'), terms('suspect', 'suspects'))} in layer "
        f"{say(found.document['layer'])}{order}.{untested} {terms('used', 'Used')} and "
        f"{terms('spurious', 'spurious')} are two answers: a network may well use what is no fault.</p>"
    )
    rows = [
        [
            f'<a href="#suspect-{number}">{number}</a>',
            say(str(one.get("feeds_name") or "")), f"{len(one['images']):,}",
            say(one["used"]), say(one["spurious"]), f"{one['score']:.2f}", f"{one['p']:.2g}",
            say(_SAID.get(marks.suspects.get(one["id"], {}).get("mark", ""), "not judged")),
        ]
        for number, one in enumerate(found.listed, 1)
    ]  # fmt: skip
    head = ["", "Feeds", "Pictures", terms("used", "Used"), terms("spurious", "Spurious"), "Score",
            terms("suspect_p", "p"), "A person says"]  # fmt: skip
    each = "".join(
        _suspect(atlas, found, number, one, marks.suspects.get(one["id"], {}), terms)
        for number, one in enumerate(found.listed, 1)
    )
    return f"{intro}{table(head, rows)}{notes}{each}"


def _suspect(
    atlas: Atlas, found: Suspects, number: int, one: Mapping[str, Any], mark: Mapping[str, str], terms: Terms
) -> str:
    feeds = str(one.get("feeds_name") or "no class")
    title = (
        f"<h3 id='suspect-{number}'>{number}. {counted(len(one['images']), 'picture')} that feed “{say(feeds)}”</h3>"
    )
    verdicts = (
        f"<p><b>{terms('used', 'Used')}: {say(one['used'])}.</b> {say(one['why_used'])} "
        f"<b>{terms('spurious', 'Spurious')}: {say(one['spurious'])}.</b> {say(one['why_spurious'])}</p>"
    )
    said = ""
    if mark:
        note = f" “{say(mark['note'])}”" if mark.get("note") else ""
        said = f"<p class='said'>A person says: {say(_SAID.get(mark.get('mark', ''), 'not judged'))}.{note}</p>"
    usual = _row(atlas, one["usual"], [], f"usual pictures of {one.get('label_name') or 'the class'}")
    chart = ""
    if one["tests"]:
        words = (
            f"{terms('causal')}: change of “{say(feeds)}”'s logit; red with the cue, grey its controls, the band the "
            "spread of the controls' means; 95 % intervals."
        )
        chart = figure(causal_chart(one["tests"]), words, "causal")
    inside = _row(atlas, one["images"], one["boxes"], "members, the most typical first; the box is where the cue lies")
    return (
        f"<article>{title}<p>{say(one['text'])}</p>{verdicts}{said}{inside}{usual}"
        f"<div class='tested'>{chart}{_icons(found, one)}</div>{_figures(one, terms)}</article>"
    )


def _row(atlas: Atlas, images: Sequence[int], boxes: Sequence[Any], words: str) -> str:
    shown = [
        picture(boxed(atlas, image, boxes[rank] if rank < len(boxes) else None), atlas.images.ids[image])
        for rank, image in enumerate(images[:_SHOWN])
        if image < len(atlas.images)
    ]
    return figure(f"<div class='strip'>{''.join(shown)}</div>", say(words)) if shown else ""


def _icons(found: Suspects, one: Mapping[str, Any]) -> str:
    """The icons of inside and outside, and the mean picture of the cue, where they are there."""
    icons = one.get("icons") or {}
    shown = []
    for name, words in (
        (icons.get("inside"), "icon inside"),
        (icons.get("outside"), "outside"),
        (one.get("cue"), "cue"),
    ):
        path = found.path / str(name)
        if not name or not path.resolve().is_relative_to(found.path.resolve()) or not path.is_file():
            continue
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        shown.append(figure(picture(pixels, words, lossless=True), words))
    return f"<div class='icons'>{''.join(shown)}</div>" if shown else ""


def _figures(one: Mapping[str, Any], terms: Terms) -> str:
    """Those figures that are explained; suspects.json holds what else was computed."""
    figures: dict[str, float] = dict(one["figures"])
    parts = []
    for name in _EXPLAINED:
        if name not in figures:
            continue
        value = figures[name]
        words = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
        low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
        if low is not None and high is not None:
            words += f" ({low:.3g} to {high:.3g})"
        parts.append(f"{say(name.replace('_', ' '))} {words}")
    link = terms("suspect_figures", "Figures")
    return f"<p class='small'>{link}: {'; '.join(parts)}.</p>" if parts else ""
