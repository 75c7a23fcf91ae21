"""The explorer: one Bokeh figure for the server, the static site and the notebook. Never imports torch."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from pathlib import Path

from atlas.explorer.figure import figure
from atlas.explorer.notebook import in_notebook, show_in_notebook
from atlas.explorer.server import LOCAL, Binding, ServerHandle, Source, make_server, start_server
from atlas.explorer.site import export
from atlas.storage.atlas import Atlas, open_atlas

__all__ = ["Binding", "ServerHandle", "explore", "export", "figure", "make_server", "start_server"]


def explore(
    atlas: Source | Sequence[Source],
    *,
    port: int = 5006,
    show: bool = True,
    binding: Binding = LOCAL,
    pipelines: Sequence[str | Path] = (),
    columns: str | Path | None = None,
) -> None:
    """Explore an atlas, or several: in a notebook as the cell's output, elsewhere in the browser until Ctrl-C.

    The server binds 127.0.0.1 at `port` (0: a free one) unless `binding` says otherwise; with show=False no browser is
    opened. pipelines: for each atlas, in order, the pipeline file that it was made with; its network then places
    pictures that are dropped on the map, and renders single icons of high quality. columns: a CSV with a column `id`,
    by whose other columns samples can be coloured. Raises AtlasError when an atlas or the CSV cannot be read, the port
    is taken, or strangers would be let in.
    """
    if in_notebook():
        for one in [atlas] if isinstance(atlas, Atlas | str | Path) else atlas:
            show_in_notebook(one if isinstance(one, Atlas) else open_atlas(one), columns=columns)
        return
    with start_server(atlas, port=port, binding=binding, pipelines=pipelines, columns=columns) as handle:
        print(f"{handle.url}  (Ctrl-C ends it)", flush=True)
        if show:
            webbrowser.open(handle.url)
        handle.wait()
