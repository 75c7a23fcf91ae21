"""The network's process: `python -m atlas.workshop.launch PIPELINE ATLAS`, requests in, answers out, a line each."""

from __future__ import annotations

import os
import sys


def main(home: str = "") -> None:
    """Serve requests behind everyone else on the machine; what libraries print goes to standard error.

    home: a module whose `answer` is asked first, see `bench.serve`.
    """
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.nice(5)
    except (ImportError, OSError, ValueError):  # not everywhere, and no reason to stop
        pass
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    from importlib import import_module

    from atlas.workshop.bench import serve

    pipeline, atlas = sys.argv[1:]
    serve(pipeline, atlas, sys.stdin, answers, import_module(home).answer if home else None)


if __name__ == "__main__":
    main()
