"""The explorer: one Bokeh figure for the server, the static site and the notebook. Never imports torch."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from atlas.errors import AtlasError
from atlas.explorer.figure import figure
from atlas.explorer.notebook import NotebookExplorer, in_notebook
from atlas.explorer.server import LOCAL, Binding, ServerHandle, Source, make_server, start_server
from atlas.explorer.site import export
from atlas.storage.atlas import Atlas, open_atlas

__all__ = ["Binding", "NotebookExplorer", "ServerHandle", "explore", "export", "figure", "make_server", "start_server"]


def explore(
    atlas: Source | Sequence[Source],
    *,
    port: int = 5006,
    show: bool = True,
    binding: Binding = LOCAL,
    pipelines: Sequence[str | Path] = (),
    columns: str | Path | None = None,
) -> NotebookExplorer | list[NotebookExplorer] | None:
    """Explore an atlas, or several: in the browser until Ctrl-C, in a notebook as the cell's value.

    The server binds 127.0.0.1 at `port` (0: a free one) unless `binding` says otherwise; with show=False no browser is
    opened. pipelines: for each atlas, in order, the pipeline file that it was made with; its network then places
    pictures that are dropped on the map, and renders single icons of high quality. columns: a CSV with a column `id`,
    by whose other columns samples can be coloured.

    In a notebook there is no port: one atlas gives its explorer, which shows itself as the last value of a cell and
    whose `selection()` is what is selected on the map; several are shown at once, and given as a list.

    Raises AtlasError when an atlas or the CSV cannot be read, the port is taken, or strangers would be let in.
    """
    if in_notebook():
        if (port, show, binding) != (5006, True, LOCAL):
            raise AtlasError("in a notebook the map is the cell's output: leave port, show and binding out")
        return _in_notebook(atlas, pipelines, columns)
    with start_server(atlas, port=port, binding=binding, pipelines=pipelines, columns=columns) as handle:
        print(f"{handle.url}  (Ctrl-C ends it)", flush=True)
        if show:
            webbrowser.open(handle.url)
        handle.wait()
    return None


def _in_notebook(
    atlas: Source | Sequence[Source], pipelines: Sequence[str | Path], columns: str | Path | None
) -> NotebookExplorer | list[NotebookExplorer]:
    sources = [atlas] if isinstance(atlas, Atlas | str | Path) else list(atlas)
    if pipelines and len(pipelines) != len(sources):
        raise AtlasError(f"{len(pipelines)} pipelines for {len(sources)} atlases: name one for each, in the same order")
    explorers = [
        NotebookExplorer(one if isinstance(one, Atlas) else open_atlas(one), pipeline=pipeline, columns=columns)
        for one, pipeline in zip_longest(sources, pipelines)
    ]
    if isinstance(atlas, Atlas | str | Path):
        return explorers[0]
    from IPython.display import display

    for explorer in explorers:
        display(explorer)
    return explorers
