"""The network beside an open atlas: in a process of its own, run only when someone asks.

Nothing here imports torch until that process runs; `bench` is what it runs.
"""

from __future__ import annotations

from atlas.workshop.client import Workshop
from atlas.workshop.requests import Fine, Located, Place

__all__ = ["Fine", "Located", "Place", "Workshop"]
