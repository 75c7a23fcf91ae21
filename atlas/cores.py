"""How many cores there are to use, and computing on one alone where a result must not hang on their number."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def core_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_core(wanted: bool = True) -> Iterator[None]:
    """Hold BLAS and OpenMP to one thread, if that is wanted: sums come in one order then, down to the last bits."""
    if not wanted:
        yield
        return
    # A limit reaches only libraries that are loaded: these bring an OpenMP of their own.
    import faiss  # noqa: F401
    from sklearn import cluster  # noqa: F401
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):
        yield
