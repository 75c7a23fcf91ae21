"""The explorer inside a notebook's output: a page in a frame, which asks the kernel or holds its shards inside."""

from __future__ import annotations

import html
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from bokeh.embed import file_html
from bokeh.resources import INLINE
from numpy.typing import NDArray

from atlas.errors import AtlasError
from atlas.explorer.columns import Column, ColumnTable, Joined
from atlas.explorer.editions import Editions
from atlas.explorer.encode import to_json
from atlas.explorer.figure import PAGE, figure
from atlas.explorer.header import page_header
from atlas.explorer.points import live_points
from atlas.explorer.relay import Relay
from atlas.explorer.shards import Shards
from atlas.explorer.site import shard_name
from atlas.explorer.tables import selection_table
from atlas.storage.atlas import Atlas, AtlasLayer

BUDGET = 12 * 2**20
HEIGHT = 720
SHELF_FILLED = 10_000  # pictures: a page of 12 MB holds some 4,000
ALONE = "this map asks the notebook's kernel. Run the cell to see it, or export it with <code>atlas export</code>."
NEEDED = "pip install 'activation-atlas[notebook]', and run the notebook anew"


def in_notebook() -> bool:
    """Whether this runs in a kernel that shows rich output (and not in a terminal's IPython)."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


def notebook_html(atlas: Atlas, *, budget: int = BUDGET, height: int = HEIGHT, columns: tuple[Column, ...] = ()) -> str:
    """The HTML of an output cell: a frame with the whole explorer, at most `budget` bytes of shards in it.

    What is looked at first goes in first: coarse levels before deep ones, then the real patches, then single images.
    When something stays out, the status line says so. The frame keeps its keys and styles from the notebook's.
    """
    shards = Shards(atlas, columns=columns)
    inline, left_out = _within_budget(shards, budget)
    document = figure(page_header(shards, "notebook", "notebook", notes=_notes(left_out)), inline)
    page = file_html(document, INLINE, title=document.title, template=PAGE)
    style = f"width:100%;height:{height}px;border:1px solid #e4e6eb;border-radius:10px"
    rights = 'sandbox="allow-scripts allow-downloads" allow="clipboard-write"'
    frame = f'<iframe title="{html.escape(atlas.name)}" {rights} style="{style}" srcdoc="{html.escape(page)}"></iframe>'
    return f"<div>{frame}</div>"


class NotebookExplorer:
    """The explorer of one atlas in a notebook: shown as a cell's value, asked for what is selected on its map.

    With anywidget (`pip install 'activation-atlas[notebook]'`) its page asks the kernel for what it shows, as a
    server's page would, and nothing is left out. Without, or where no kernel runs, it is a page of up to 12 MB.
    """

    def __init__(
        self,
        atlas: Atlas,
        *,
        pipeline: str | Path | None = None,
        columns: str | Path | None = None,
        height: int = HEIGHT,
    ) -> None:
        self.atlas, self._columns, self._height = atlas, columns, height
        self._joined = Joined() if columns is None else ColumnTable(columns).join(atlas.images.ids)
        if self._joined.words:
            print(self._joined.words)
        pipelines = () if pipeline is None else (pipeline,)
        if pipeline is not None and not Path(pipeline).is_file():
            raise AtlasError(f"{pipeline} is not there: name the pipeline file that the atlas was made with")
        self._network = bool(pipelines)
        self._relay = Relay(atlas.path, pipelines=pipelines, columns=columns)
        self._widget: Any = None
        if importlib.util.find_spec("anywidget") is not None:
            from atlas.explorer.widget import MapWidget

            self._widget = MapWidget(atlas.name, height, self._page, self._relay)
        elif pipelines:
            raise AtlasError(f"a notebook asks the network through a widget: {NEEDED}")

    def selection(self) -> pa.Table:
        """The selected samples: columns x, y, id, label, prediction, cell, layer and row, one row for each sample.

        What was last drawn with lasso or box, as the filter left it, or the samples of the open cell; no rows when
        nothing is selected. `row` counts the rows of the layer in the atlas, which are the store's rows in order;
        `.to_pandas()` makes a data frame. Raises AtlasError without anywidget.
        """
        if self._widget is None:
            raise AtlasError(f"a selection comes to the kernel through a widget: {NEEDED}")
        return selected_samples(self.atlas, self._widget.selected)

    def close(self) -> None:
        """End what answers the page; the map shows what it has."""
        self._relay.close()

    def __repr__(self) -> str:
        return f"NotebookExplorer({self.atlas.name})"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """The widget, and a sentence for whoever reads the file without a kernel; without anywidget the whole page."""
        words = {"text/plain": repr(self)}
        if self._widget is None:
            return words | {"text/html": notebook_html(self.atlas, height=self._height, columns=self._joined.columns)}
        data, _metadata = self._widget._repr_mimebundle_()
        widget = {kind: value for kind, value in data.items() if kind.startswith("application/")}
        return words | {"text/html": f"<p>{html.escape(self.atlas.name)}: {ALONE}</p>"} | widget

    def _page(self) -> str:
        """The page that asks the kernel."""
        table = None if self._columns is None else ColumnTable(self._columns)
        token, shards = Editions(self.atlas.path, columns=table).newest()  # the relay's server names it alike
        document = figure(page_header(shards, "notebook", token, network=self._network, asks=True))
        return file_html(document, INLINE, title=document.title, template=PAGE)


def selected_samples(atlas: Atlas, selected: dict[str, Any] | None) -> pa.Table:
    """What a page said is selected, as a table (see `NotebookExplorer.selection`).

    selected: layer, level and either a cell's column and row, or `rows`, uint32 in the machine's order; None: nothing.
    """
    number, level = (0, 0) if selected is None else (int(selected["layer"]), int(selected["level"]))
    layer = atlas.layers[number]
    if selected is None:
        level, rows = (layer.levels[0].number if layer.levels else 0), np.empty(0, np.int64)
    elif selected.get("rows") is not None:
        rows = np.frombuffer(selected["rows"], np.uint32).astype(np.int64)
    else:
        rows = _rows_of_cell(layer, level, int(selected["column"]), int(selected["row"]))
    table = selection_table(atlas, number, level, rows)
    table = table.append_column("layer", pa.array([layer.name] * len(rows), pa.string()))
    return table.append_column("row", pa.array(rows))


def _rows_of_cell(layer: AtlasLayer, level: int, column: int, row: int) -> NDArray[np.int64]:
    side = next(one.side for one in layer.levels if one.number == level)
    live = live_points(layer.samples.positions, layer.samples.state)
    square = np.clip(np.floor(layer.samples.positions[live] * side), 0, side - 1)
    return live[(square == (column, row)).all(axis=1)]


def _within_budget(shards: Shards, budget: int) -> tuple[dict[str, Any], list[tuple[str, tuple[int, ...]]]]:
    inline: dict[str, Any] = {}
    left_out: list[tuple[str, tuple[int, ...]]] = []
    spent = 0
    for shelf in shards.shelves:
        if shelf.count <= SHELF_FILLED:
            shelf.fill()  # in the order of the stored sheets, each decoded once: a tenth of the time
    for key in shards.all_keys():
        if left_out:
            left_out.append(key)
            continue
        value = shards.value(key[0], *key[1])
        spent += len(to_json(value))
        if spent > budget:
            left_out.append(key)
        else:
            inline[shard_name(key)] = value
    return inline, left_out


def _notes(left_out: list[tuple[str, tuple[int, ...]]]) -> tuple[str, ...]:
    if not left_out:
        return ()
    levels = [numbers[1] for kind, numbers in left_out if kind == "tile"]
    what = f"parts of level {min(levels)} and deeper" if levels else "some of the real pictures"
    return (f"this notebook leaves out {what}: 'atlas explore' shows all",)
