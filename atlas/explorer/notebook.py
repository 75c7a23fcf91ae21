"""The explorer inside a notebook's output: the static page in a frame of its own, with its shards inside."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from bokeh.embed import file_html
from bokeh.resources import INLINE

from atlas.explorer.columns import Column, ColumnTable, Joined
from atlas.explorer.encode import to_json
from atlas.explorer.figure import PAGE, figure
from atlas.explorer.header import page_header
from atlas.explorer.shards import Shards
from atlas.explorer.site import shard_name
from atlas.storage.atlas import Atlas

BUDGET = 12 * 2**20
HEIGHT = 720


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
    frame = f'<iframe title="{html.escape(atlas.name)}" style="{style}" srcdoc="{html.escape(page)}"></iframe>'
    return f"<div>{frame}</div>"


def show_in_notebook(atlas: Atlas, *, columns: str | Path | None = None) -> None:
    """Display the explorer as the present cell's output; columns: a CSV of further colours."""
    from IPython.display import HTML, display

    joined = Joined() if columns is None else ColumnTable(columns).join(atlas.images.ids)
    if joined.words:
        print(joined.words)
    display(HTML(notebook_html(atlas, columns=joined.columns)))


def _within_budget(shards: Shards, budget: int) -> tuple[dict[str, Any], list[tuple[str, tuple[int, ...]]]]:
    inline: dict[str, Any] = {}
    left_out: list[tuple[str, tuple[int, ...]]] = []
    spent = 0
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
