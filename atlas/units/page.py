"""A layer's channels as one page: an overview that links to a section for each."""

from __future__ import annotations

import html
import io
from base64 import b64encode
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.units.evidence import BINS, TWINS, Evidence

_NAMED = 4  # classes named of each kind
_WIDE, _HIGH = 220, 84


def units_html(
    network: str,
    dataset: str,
    layer: str,
    pictures: NDArray[np.uint8],
    levels: NDArray[np.float32],
    evidence: Evidence | None,
) -> str:
    """The page: no script, no other file, every name escaped.

    pictures: uint8 (channels, size, size, 3), what raises each channel; levels: float32 (channels,), how far.
    """
    title = html.escape(f"{network} · layer {layer} · {len(pictures)} channels")
    images = [_address(picture) for picture in pictures]
    links = "".join(
        f'<a href="#c{number}"{_kind(evidence, number)}><img src="{image}" alt="" loading="lazy"><b>{number}</b></a>'
        for number, image in enumerate(images)
    )
    sections = [_section(number, images[number], float(levels[number]), evidence) for number in range(len(images))]
    return _PAGE.format(
        title=title, intro=_intro(dataset, evidence), lists=_lists(evidence), links=links, sections="\n".join(sections)
    )


def _intro(dataset: str, evidence: Evidence | None) -> str:
    words = (
        "Each large picture was changed step by step until its channel answered as strongly as it could (activation "
        "maximisation); one that is not raised gave no slope to follow from any start. It shows what can excite a "
        "channel, not what usually does."
    )
    if evidence is None:
        return words
    return (
        f"{words} Beside it stand the patches of {evidence.images:,} pictures of {html.escape(dataset)} that did, each "
        "from another picture, with the value reached; the distribution of its answers (8 positions a picture, counts "
        "on a logarithmic scale, a line at 0); the labels whose pictures raise it the most, by the mean over their "
        "pictures; and the classes it feeds: what it alone adds, linearly, to their logits in its four top pictures."
    )


def _lists(evidence: Evidence | None) -> str:
    """Dead, constant and duplicated channels, each list with what it means."""
    if evidence is None:
        return ""
    count = len(evidence.highest)

    def links(numbers: Sequence[int]) -> str:
        return ", ".join(f'<a href="#c{n}">{n}</a>' for n in numbers)

    said = []
    for name, numbers, words in (
        ("Dead", evidence.dead, "0 at every position of every picture"),
        ("Constant", evidence.constant, "one value other than 0 everywhere"),
    ):
        there = f": {links(numbers.tolist())}" if len(numbers) else ""
        said.append(f"<li><b>{name}</b> ({words}): {len(numbers)} of {count}{there}.</li>")
    groups = evidence.duplicated
    there = "; ".join(links(group) for group in groups)
    said.append(
        f"<li><b>Duplicated</b> (going along at a correlation of {TWINS} or more): {len(groups)} "
        f"group{'s' * (len(groups) != 1)}{': ' + there if there else ''}.</li>"
    )
    return f"<ul>{''.join(said)}</ul>"


def _kind(evidence: Evidence | None, number: int) -> str:
    flat = evidence is not None and evidence.highest[number] == evidence.lowest[number]
    return ' class="dead"' if flat else ""


def _section(number: int, image: str, level: float, evidence: Evidence | None) -> str:
    reached = f"reaches {level:.3g}" if level > 0 else "not raised"
    own = f'<img src="{image}" alt="what raises channel {number}" loading="lazy"><figcaption>{reached}</figcaption>'
    parts = [f"<figure>{own}</figure>"]
    if evidence is not None:
        if evidence.highest[number] > evidence.lowest[number]:
            parts += [_patches(evidence, number), _answers(evidence, number), _classes(evidence, number)]
        else:
            value = evidence.highest[number]
            parts.append(f"<p>It was {value:.3g} at every position of every picture: nothing excites it here.</p>")
    return f'<section id="c{number}"{_kind(evidence, number)}><h2>{number}</h2>{"".join(parts)}</section>'


def _patches(evidence: Evidence, number: int) -> str:
    shown = []
    for rank, image in enumerate(evidence.top_image[number].tolist()):
        if image < 0:
            continue
        words = html.escape(f"{evidence.ids[image]}: {evidence.top_value[number, rank]:.3g}", quote=True)
        address = _address(evidence.patches[number, rank])
        shown.append(f'<img src="{address}" title="{words}" alt="{words}" loading="lazy">')
    values = evidence.top_value[number]
    values = values[np.isfinite(values)]
    return (
        f'<figure><div class="nine">{"".join(shown)}</div><figcaption>{values[0]:.3g} down to '
        f"{values[-1]:.3g}</figcaption></figure>"
    )


def _answers(evidence: Evidence, number: int) -> str:
    """The distribution of a channel's values as bars, on a logarithmic scale."""
    counts, edges = evidence.counts[number], evidence.edges[number]
    heights = np.log1p(counts) / np.log1p(counts.max())
    wide = _WIDE / BINS
    bars = "".join(
        f'<rect x="{i * wide:.1f}" y="{_HIGH * (1 - h):.1f}" width="{wide - 0.8:.1f}" height="{_HIGH * h:.1f}"/>'
        for i, h in enumerate(heights)
        if h
    )
    low, high = float(edges[0]), float(edges[-1])
    zero = ""
    if low < 0 < high:
        x = _WIDE * -low / (high - low)
        zero = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{_HIGH}"/>'
    words = f"above 0 in {evidence.active[number]:.0%}"
    twin = int(evidence.twin[number])
    if twin >= 0:
        words += f'; most like <a href="#c{twin}">{twin}</a> (r {evidence.likeness[number]:.2f})'
    return (
        f'<figure><svg viewBox="0 0 {_WIDE} {_HIGH + 14}" role="img" aria-label="values of channel {number}">{bars}'
        f'{zero}<text x="0" y="{_HIGH + 12}">{low:.3g}</text><text x="{_WIDE}" y="{_HIGH + 12}" text-anchor="end">'
        f"{high:.3g}</text></svg><figcaption>{words}</figcaption></figure>"
    )


def _classes(evidence: Evidence, number: int) -> str:
    lines = []
    means = evidence.by_class[number]
    known = np.flatnonzero(np.isfinite(means))
    if len(known):
        order = known[np.argsort(-means[known], kind="stable")][:_NAMED]
        lines.append(("Raised by", [(evidence.classes[i], f"{means[i]:.2g}") for i in order]))
    if evidence.effects is not None:
        effects = evidence.effects[number]
        order = np.argsort(-effects, kind="stable")
        lines.append(("Feeds", [(evidence.outputs[i], f"{effects[i]:+.2g}") for i in order[:_NAMED] if effects[i] > 0]))
        against = [(evidence.outputs[i], f"{effects[i]:+.2g}") for i in order[::-1][:2] if effects[i] < 0]
        lines.append(("Against", against))
    words = "".join(
        f"<dt>{name}</dt><dd>" + ", ".join(f"{html.escape(c)} <i>{v}</i>" for c, v in found) + "</dd>"
        for name, found in lines
        if found
    )
    return f"<dl>{words}</dl>"


def _address(picture: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=84)
    return "data:image/webp;base64," + b64encode(buffer.getvalue()).decode()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1.25rem; }}
h1 {{ font-size: 1.3rem; margin: 0; overflow-wrap: anywhere; }} p {{ max-width: 60rem; }}
p, figcaption, ul {{ color: color-mix(in srgb, CanvasText 70%, Canvas); }}
nav {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(3.2rem, 1fr)); gap: .35rem;
  margin: 1.2rem 0 2rem; }}
nav a {{ color: inherit; text-decoration: none; font-size: .72rem; text-align: center; }}
nav img {{ width: 100%; display: block; border-radius: 4px; }} .dead img {{ opacity: .15; }}
section {{ display: grid; grid-template-columns: 2.4rem 10.5rem 10.5rem 15rem minmax(12rem, 1fr); gap: 1.1rem;
  align-items: start; padding: .9rem 0; border-top: 1px solid color-mix(in srgb, CanvasText 15%, Canvas);
  content-visibility: auto; contain-intrinsic-size: auto 14rem; scroll-margin-top: .5rem; }}
section:target {{ background: color-mix(in srgb, Highlight 12%, Canvas); }}
h2 {{ font-size: 1rem; margin: 0; text-align: right; font-variant-numeric: tabular-nums; }}
figure {{ margin: 0; }} figure > img {{ width: 100%; border-radius: 6px; display: block; }}
.nine {{ display: grid; grid-template-columns: repeat(3, 1fr); gap: 3px; }} .nine img {{ width: 100%; display: block; }}
figcaption {{ font-size: .78rem; margin-top: .3rem; font-variant-numeric: tabular-nums; }}
svg {{ width: 100%; }} rect {{ fill: color-mix(in srgb, CanvasText 45%, Canvas); }} line {{ stroke: #b2182b; }}
svg text {{ font-size: 11px; fill: color-mix(in srgb, CanvasText 70%, Canvas); }}
dl {{ margin: 0; font-size: .84rem; }} dt {{ font-weight: 600; }} dd {{ margin: 0 0 .45rem; overflow-wrap: anywhere; }}
i {{ font-style: normal; font-variant-numeric: tabular-nums; color: color-mix(in srgb, CanvasText 65%, Canvas); }}
@media screen and (max-width: 60rem) {{ section {{ grid-template-columns: 2.4rem minmax(0, 1fr) minmax(0, 1fr); }}
  svg {{ max-width: 20rem; }}
  section > :nth-child(n+4) {{ grid-column: 2 / -1; }} }}
@media print {{ body {{ margin: 0; max-width: none; font-size: 10px; }} nav {{ display: none; }}
  section {{ grid-template-columns: 1.5rem 3.4cm 3.4cm 4.4cm 1fr; gap: .3cm; break-inside: avoid;
  content-visibility: visible; }}
  * {{ print-color-adjust: exact; -webkit-print-color-adjust: exact; }} }}
</style></head><body>
<h1>{title}</h1>
<p>{intro}</p>
{lists}
<nav aria-label="channels">{links}</nav>
{sections}
</body></html>
"""
