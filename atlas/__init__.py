"""Activation Atlas: see what a vision network has learned.

The public names are imported on first use, so that `import atlas` is quick and the explorer never
needs torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "ActivationStore": "atlas.storage.store",
    "Atlas": "atlas.storage.atlas",
    "AtlasError": "atlas.errors",
    "build": "atlas.pipeline",
    "compare": "atlas.comparison",
    "compute_layout": "atlas.layouts",
    "explore": "atlas.explorer",
    "export": "atlas.explorer",
    "extract": "atlas.extraction",
    "import_arrays": "atlas.importing",
    "load_manifest": "atlas.datasets",
    "load_model": "atlas.models",
    "open_atlas": "atlas.storage",
    "open_diff": "atlas.storage.diff",
    "open_store": "atlas.storage",
    "render_icons": "atlas.rendering",
}
__all__ = [
    "ActivationStore",
    "Atlas",
    "AtlasError",
    "__version__",
    "build",
    "compare",
    "compute_layout",
    "explore",
    "export",
    "extract",
    "import_arrays",
    "load_manifest",
    "load_model",
    "open_atlas",
    "open_diff",
    "open_store",
    "render_icons",
]

if TYPE_CHECKING:
    from atlas.comparison import compare
    from atlas.datasets import load_manifest
    from atlas.errors import AtlasError
    from atlas.explorer import explore, export
    from atlas.extraction import extract
    from atlas.importing import import_arrays
    from atlas.layouts import compute_layout
    from atlas.models import load_model
    from atlas.pipeline import build
    from atlas.rendering import render_icons
    from atlas.storage import ActivationStore, Atlas, open_atlas, open_store
    from atlas.storage.diff import open_diff


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'atlas' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
