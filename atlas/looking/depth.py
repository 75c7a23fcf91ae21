"""Layer health as curves over depth: one page, drawn as SVG, without script."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from atlas.findings.health_record import Health

_WIDE, _HIGH, _LEFT, _BELOW = 460, 170, 36, 18
_COLOURS = ("#b2182b", "#2166ac", "#767676")
_WIDTHS = (4.5, 2.8, 1.4)
"""Of lines, the first drawn first: where several are alike, each is seen beneath the next."""
Curve = tuple[str, list[float | None]]


def health_html(found: Health) -> str:
    """The page of `atlas health --out`: what stands out, curves from the first layer to the last, the table."""
    say = html.escape
    said = "".join(f"<li>{say(sentence)}</li>" for sentence in found.findings)
    return _PAGE.format(title=say(found.title), said=said, charts=depth_charts(found), table=health_table(found))


def depth_charts(found: Health) -> str:
    """Curves over depth, a figure for each question that was asked."""
    names = [layer.name for layer in found.layers]
    return "".join(_chart(title, curves, names) for title, curves in _curves(found)) + _gradient_chart(found)


def health_table(found: Health) -> str:
    """A line for each layer, as HTML."""
    say = html.escape
    rows = found.table()
    head = "".join(f"<th>{say(name)}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{say(value)}</td>" for value in row.values()) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _curves(found: Health) -> list[tuple[str, list[Curve]]]:
    layers = found.layers
    gaps = [layer.gap for layer in layers]
    apart = [layer.separability for layer in layers]
    charts: list[tuple[str, list[Curve]]] = [
        (
            "Classes told apart",
            [
                ("probe, held out", [one.probe if one else None for one in apart]),
                ("nearest mean, held out", [one.centroid if one else None for one in apart]),
                ("probe, fitted", [one.probe_fitted if one else None for one in apart]),
            ],
        ),
        (
            "Share of the units",
            [
                ("effective rank", [layer.effective_rank / layer.channels for layer in layers]),
                ("dead", [layer.dead / layer.channels for layer in layers]),
                ("stuck", [layer.stuck / layer.channels for layer in layers]),
            ],
        ),
        (
            "Neighbours kept when rounded",
            [
                ("8 bits", [layer.eight_bit for layer in layers]),
                ("half precision", [layer.half for layer in layers]),
            ],
        ),
        (
            "Share of all listed layers",
            [
                ("memory", [layer.memory_share for layer in layers]),
                ("time", [layer.time_share for layer in layers]),
            ],
        ),
        ("Values that are 0", [("zeros", [layer.sparsity for layer in layers])]),
        ("Variance within classes", [("class spread", [layer.spread for layer in layers])]),
        (
            "Trained on against held out",
            [
                ("other pictures trained on", [gap.trained if gap else None for gap in gaps]),
                ("held out", [gap.held_out if gap else None for gap in gaps]),
            ],
        ),
        (
            "Predictions kept when one layer is rounded",
            [
                ("8 bits", [1 - layer.rounding.eight_bit.changed if layer.rounding else None for layer in layers]),
                ("half precision", [1 - layer.rounding.half.changed if layer.rounding else None for layer in layers]),
            ],
        ),
    ]
    known = [(title, [curve for curve in curves if any(v is not None for v in curve[1])]) for title, curves in charts]
    return [(title, curves) for title, curves in known if curves]


def _gradient_chart(found: Health) -> str:
    """Gradients over depth on a logarithmic scale of whole decades; "" where they were not taken."""
    values = [layer.gradient for layer in found.layers]
    alive = [math.log10(value) for value in values if value]
    if not alive:
        return ""
    low, high = math.floor(min(alive)), max(math.floor(min(alive)) + 1, math.ceil(max(alive)))
    curve = [None if not value else (math.log10(value) - low) / (high - low) for value in values]
    marks = [(0.0, f"1e{low}"), (1.0, f"1e{high}")]
    told = ["none" if not value else f"{value:.3g}" for value in values]
    names = [layer.name for layer in found.layers]
    return _chart("Gradient of the loss", [("mean length, logarithmic", curve)], names, marks, told)


def _chart(
    title: str,
    curves: Sequence[Curve],
    names: Sequence[str],
    marks: Sequence[tuple[float, str]] = ((0, "0%"), (0.5, "50%"), (1, "100%")),
    told: Sequence[str] = (),
) -> str:
    """One chart from 0 to 1; a layer's name and value show when pointed at. marks: places along y and their words."""
    step = (_WIDE - _LEFT - 10) / max(1, len(names) - 1)
    parts = []
    for share, words in marks:
        y = _place(share)
        parts.append(f"<line x1='{_LEFT}' x2='{_WIDE - 10}' y1='{y}' y2='{y}' class='rule'/>")
        parts.append(f"<text x='{_LEFT - 6}' y='{y + 4}' text-anchor='end'>{words}</text>")
    widths = _WIDTHS[-len(curves) :]
    for (curve, values), colour, width in zip(curves, _COLOURS, widths, strict=False):
        points = [
            (_LEFT + i * step, _place(v), names[i], told[i] if told else f"{v:.1%}")
            for i, v in enumerate(values)
            if v is not None
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
        parts.append(f"<polyline points='{line}' fill='none' stroke='{colour}' stroke-width='{width}'/>")
        parts += [
            f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{2.4 + 0.4 * width:.1f}' fill='{colour}'>"
            f"<title>{html.escape(name)}, {curve}: {said}</title></circle>"
            for x, y, name, said in points
        ]
    first, last = html.escape(names[0]), html.escape(names[-1])
    parts.append(f"<text x='{_LEFT}' y='{_HIGH - 2}'>{first}</text>")
    parts.append(f"<text x='{_WIDE - 10}' y='{_HIGH - 2}' text-anchor='end'>{last}</text>")
    key = " ".join(
        f"<span style='color:{colour}'>●</span> {curve}" for (curve, _), colour in zip(curves, _COLOURS, strict=False)
    )
    return (
        f"<figure><figcaption><b>{title}</b> {key}</figcaption>"
        f"<svg viewBox='0 0 {_WIDE} {_HIGH}' role='img' aria-label='{title}'>{''.join(parts)}</svg></figure>"
    )


def _place(share: float) -> float:
    return 8 + (1 - min(max(share, 0.0), 1.0)) * (_HIGH - _BELOW - 16)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1.25rem; }}
h1 {{ font-size: 1.4rem; overflow-wrap: anywhere; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr)); gap: 1.5rem; margin: 1.5rem 0; }}
figure {{ margin: 0; }}
figcaption {{ font-size: .85rem; margin-bottom: .3rem; }} figcaption b {{ margin-right: .6rem; }}
svg {{ width: 100%; }} svg text {{ font-size: 10px; fill: color-mix(in srgb, CanvasText 70%, Canvas); }}
.rule {{ stroke: color-mix(in srgb, CanvasText 15%, Canvas); }}
table {{ border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: right; padding: .2rem .4rem; }}
tr {{ border-bottom: 1px solid color-mix(in srgb, CanvasText 12%, Canvas); }}
th:nth-child(-n+2), td:nth-child(-n+2) {{ text-align: left; }}
div {{ overflow-x: auto; }}
@page {{ size: A4 landscape; }}
@media print {{
  body {{ margin: 0; max-width: none; }} figure {{ break-inside: avoid; }}
  table {{ font-size: 7.5pt; }} th, td {{ padding: .1rem .25rem; }} div {{ overflow: visible; }}
}}
</style></head><body>
<h1>{title}</h1>
<ul>{said}</ul>
<main>{charts}</main>
<div>{table}</div>
</body></html>
"""
