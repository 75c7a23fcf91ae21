"""The explorer: one Bokeh figure for the server, the static site and the notebook. Never imports torch."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from atlas.explorer.figure import figure
from atlas.explorer.notebook import in_notebook, show_in_notebook
from atlas.explorer.server import ServerHandle, make_server, start_server
from atlas.explorer.site import export
from atlas.storage.atlas import Atlas, open_atlas

__all__ = ["ServerHandle", "explore", "export", "figure", "make_server", "start_server"]


def explore(atlas: Atlas | str | Path, *, port: int = 5006, show: bool = True) -> None:
    """Explore an atlas: in a notebook as the cell's output, elsewhere in the browser until Ctrl-C.

    The server binds 127.0.0.1 at `port`; with show=False no browser is opened. Raises AtlasError when the atlas
    cannot be opened or the port is taken.
    """
    if in_notebook():
        show_in_notebook(atlas if isinstance(atlas, Atlas) else open_atlas(atlas))
        return
    with start_server(atlas, port=port) as handle:
        print(f"{handle.url}  (Ctrl-C ends it)", flush=True)
        if show:
            webbrowser.open(handle.url)
        handle.wait()
