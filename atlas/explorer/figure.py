"""The one Bokeh figure of all three homes: a bare frame, Bokeh's tools, and the script that fills it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from bokeh.document import Document
from bokeh.events import DocumentReady
from bokeh.models import ColumnDataSource, CustomJS, InlineStyleSheet, PanTool, Range1d, Rect, WheelZoomTool
from bokeh.plotting import figure as bokeh_figure

from atlas.explorer.encode import to_json

# In the order in which they build on one another.
SCRIPTS = (
    *("words", "kernel", "shards", "view", "columns", "filters", "colours", "points", "pointbook", "cells", "tiles"),
    *("outlines", "address", "network", "views", "captions", "panel", "finder", "columnfilter", "overview"),
    *("selection", "regions", "walk", "drift", "strips", "changes", "causal", "suspects", "suspectpanel", "suspectmap"),
    *("names", "minimap", "picture", "layers", "cards", "chrome", "beside", "links", "pane", "painter", "pointer"),
    *("penkeys", "input", "parts", "explorer", "showing", "asked"),
)

STYLES = ("explorer.css", "suspects.css")

# The page around the figure: nothing of its own, the whole window for the figure.
PAGE = """
{% block preamble %}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<style>html, body { margin: 0; height: 100%; overflow: hidden; display: block !important; }</style>
{% endblock %}
"""

# A server's page names all of Bokeh's scripts, of which the figure needs the first: 1.3 of 3.9 MB, and half a second.
SERVER_PAGE = (
    PAGE
    + """
{% block js_resources %}
{%- for line in (bokeh_js or "").splitlines() if "static/js/bokeh-" not in line %}{{ line }}
{% endfor -%}
{% endblock %}
"""
)


def figure(header: dict[str, Any], inline: dict[str, Any] | None = None, document: Document | None = None) -> Document:
    """Put the explorer's figure into a document, a new one unless given, and return it: the same for every home.

    header: what `page_header` returns. inline: shards by key, for a page that can ask for none. The figure needs no
    further script, style or font: all are part of it.
    """
    plot = bokeh_figure(
        sizing_mode="stretch_both",
        min_height=420,
        x_range=Range1d(start=0, end=1, syncable=False),  # every step of a pan would go to the server
        y_range=Range1d(start=0, end=1, syncable=False),
        toolbar_location=None,
        x_axis_type=None,
        y_axis_type=None,
        tools=[],
        outline_line_color=None,
        background_fill_color=None,
        border_fill_color=None,
        min_border=0,
        stylesheets=[InlineStyleSheet(css=_static(name)) for name in STYLES],
        syncable=False,
    )
    plot.grid.visible = False
    pan, wheel = PanTool(), WheelZoomTool()
    plot.add_tools(pan, wheel)
    plot.toolbar.active_drag, plot.toolbar.active_scroll = pan, wheel
    mark = ColumnDataSource({"x": [], "y": [], "side": [], "line": [], "ground": []}, syncable=False)
    for width, colour in (("ground", "#ffffff"), ("line", "#1b2230")):
        rect = Rect(
            x="x",
            y="y",
            width="side",
            height="side",
            fill_color=None,
            line_color=colour,
            line_width=width,
            line_join="round",
        )
        # Without looks for what is selected or muted: they took half of the processor's time for a page.
        plot.add_glyph(mark, rect, selection_glyph=None, nonselection_glyph=None, muted_glyph=None)
    document = document or Document()
    document.title = f"{header['name']} – Activation Atlas"
    document.template = SERVER_PAGE if header["home"] == "server" else PAGE  # type: ignore[assignment]  # Bokeh takes a string as well
    document.add_root(plot)
    document.js_on_event(
        DocumentReady,
        CustomJS(
            args={"figure": plot, "mark": mark, "header": to_json(header), "inline": to_json(inline or {})},
            code=explorer_script(),
        ),
    )
    return document


@cache
def explorer_script() -> str:
    """The explorer's JavaScript as one function body with the arguments figure, mark, header and inline."""
    parts = [f"// ---- {name}.js ----\n{_static(f'{name}.js')}" for name in SCRIPTS]
    mount = "mountExplorer({ figure, mark, header: JSON.parse(header), inline: JSON.parse(inline) });"
    return "\n".join([*parts, mount, "//# sourceURL=activation-atlas/explorer.js"])


def _static(name: str) -> str:
    return (files("atlas.explorer") / "static" / name).read_text(encoding="utf-8")
