"""A report as one page: what it says at a glance, its parts, how each figure is computed; for screen and print."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from atlas.review.data import accuracy_words, data_section, model_section
from atlas.review.findings import blocks_table, diff_section, health_section, map_section
from atlas.review.glossary import Terms
from atlas.review.markup import counted, say
from atlas.review.suspected import suspects_section

if TYPE_CHECKING:
    from atlas.review.run import Review

_BRIEF, _SHORT = ' class="brief"', 600  # a part of a sentence or two needs no page of its own
_NO_HEALTH = (
    "<p>Not at hand: <code>atlas health PIPELINE.toml --json &gt; health.json</code>, then "
    "<code>atlas report … --health health.json</code>.</p>"
)


def report_html(found: Review) -> str:
    """The report: no script, no other file, no request, every name escaped."""
    terms = Terms()
    atlas = found.atlas
    blocks = "" if found.blocks is None else blocks_table(*found.blocks)
    made = atlas.provenance.get("model", {}).get("weights_hash")
    other = found.health is not None and made is not None and found.health.weights != made
    sections = [
        ("data", "Data", data_section(atlas, terms)),
        ("model", "Model", model_section(atlas, terms, blocks)),
        ("health", "Layer health", _NO_HEALTH if found.health is None else health_section(found.health, other, terms)),
        ("map", "The map", map_section(atlas, found.quality, terms)),
        ("suspects", "Suspects", suspects_section(atlas, found.suspects, found.marks, terms)),
    ]
    if found.marks.regions:
        sections.append(("regions", "Regions that a person marked", _regions(found)))
    if found.diff is not None:
        sections.append(("diff", "What differs", diff_section(found.diff, terms)))
    sections.append(("how", "How every figure is computed", terms.section()))
    links = "".join(f'<li><a href="#{name}">{say(title)}</a></li>' for name, title, _ in sections)
    body = "".join(
        f'<section id="{name}"{_BRIEF if len(inside) < _SHORT else ""}>'
        f"<h2>{number}. {say(title)}</h2>{inside}</section>"
        for number, (name, title, inside) in enumerate(sections, 1)
    )
    style = resources.files("atlas.review").joinpath("report.css").read_text(encoding="utf-8")
    return _PAGE.format(
        style=style,
        title=say(f"Model review: {atlas.name}"),
        made=say(found.made),
        glance=_glance(found),
        links=links,
        body=body,
    )


def _regions(found: Review) -> str:
    lines = "".join(
        f"<li><b>{say(region['name'])}</b> ({say(region['layer'])})"
        f"{': ' if region['note'] else ''}{say(region['note'])}</li>"
        for region in found.marks.regions
    )
    return f"<ul>{lines}</ul>"


def _glance(found: Review) -> str:
    """What a reader should know first, each a sentence; what is absent is said, too."""
    atlas, said = found.atlas, []
    accuracy = accuracy_words(atlas)
    on = f"{len(atlas.images):,} pictures in {counted(len(atlas.classes), 'class', 'classes')}"
    said.append(f"Accuracy {accuracy} on {on}." if accuracy else f"{on}; no accuracy, as there is nothing to compare.")
    if atlas.skipped:
        said.append(f"{counted(len(atlas.skipped), 'picture')} could not be read and are left out of everything.")
    said.append(_suspicion(found))
    if found.health is not None:
        first = found.health.findings[0]
        more = len(found.health.findings) - 1
        said.append(f"Layer health: {first}" + (f" And {counted(more, 'more finding')}." if more else ""))
    else:
        said.append("Layer health was not looked at.")
    recalls = [layer.quality.get("recall_15") for layer in atlas.layers if layer.quality]
    known = [value for value in recalls if value is not None]
    if known:
        said.append(
            f"The map keeps {np.min(known):.0%}{f' to {np.max(known):.0%}' if len(known) > 1 else ''} of a sample's 15 "
            "nearest: read groups on it as hints, and the figures as evidence."
        )
    if found.diff is not None and not found.diff.same:
        changes = counted(len(found.diff.changes), "change")
        titles = [network["title"] for network in found.diff.document["networks"]]
        said.append(f"Between {titles[0]} and {titles[-1]}: {changes} beyond chance.")
    return "".join(f"<li>{say(sentence)}</li>" for sentence in said)


def _suspicion(found: Review) -> str:
    if found.suspects is None:
        return "Spurious cues were not looked for."
    listed = found.suspects.listed
    if not listed:
        return "Spurious cues were looked for, and none stood out."
    likely = [one for one in listed if one["spurious"] == "likely" and one["used"] == "yes"]
    judged = sum(one["id"] in found.marks.suspects for one in listed)
    of_them = f"{len(likely) or 'none'} of them " if len(listed) > 1 else "" if likely else "not both "
    words = f"{counted(len(listed), 'suspect')}, {of_them}used by the network and likely spurious"
    if likely:
        words += f" ({'it' if len(listed) == 1 else 'the first'} feeds “{likely[0].get('feeds_name') or 'no class'}”)"
    tested = "" if found.suspects.document["tested"] else "; none was tested causally"
    return f"{words}; {judged} judged by a person{tested}."


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light">
<style>
{style}</style></head><body>
<h1>{title}</h1>
<p class="made">{made}</p>
<div class="glance"><h2>At a glance</h2><ul>{glance}</ul></div>
<nav aria-label="parts"><ol>{links}</ol></nav>
{body}
</body></html>
"""
