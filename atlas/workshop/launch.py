"""The first thing that the network's process runs: it lowers its own rank and powers, then loads the network."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection


def run(pipeline: str, atlas: str, connection: Connection) -> None:
    """Serve requests behind everyone else on the machine, without writing files."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.nice(5)
    except (ImportError, OSError, ValueError):  # not everywhere, and no reason to stop
        pass
    from atlas.workshop.bench import serve

    serve(pipeline, atlas, connection)
