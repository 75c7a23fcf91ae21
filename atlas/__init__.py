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
    "activation_grids": "atlas.looking.grids",
    "activation_maps": "atlas.attribution",
    "attention_maps": "atlas.attribution",
    "attribute": "atlas.attribution",
    "build": "atlas.pipeline",
    "compare": "atlas.comparison",
    "compute_layout": "atlas.layouts",
    "explore": "atlas.explorer",
    "export": "atlas.explorer",
    "extract": "atlas.extraction",
    "find_suspects": "atlas.suspects",
    "health": "atlas.layer_health",
    "import_arrays": "atlas.importing",
    "load_manifest": "atlas.datasets",
    "load_model": "atlas.models",
    "look": "atlas.looking",
    "open_atlas": "atlas.storage",
    "open_diff": "atlas.storage.diff",
    "open_store": "atlas.storage",
    "render_icons": "atlas.rendering",
    "render_units": "atlas.units",
    "sanity_check": "atlas.attribution",
    "write_look": "atlas.looking",
    "write_report": "atlas.review",
}
__all__ = [
    "ActivationStore",
    "Atlas",
    "AtlasError",
    "__version__",
    "activation_grids",
    "activation_maps",
    "attention_maps",
    "attribute",
    "build",
    "compare",
    "compute_layout",
    "explore",
    "export",
    "extract",
    "find_suspects",
    "health",
    "import_arrays",
    "load_manifest",
    "load_model",
    "look",
    "open_atlas",
    "open_diff",
    "open_store",
    "render_icons",
    "render_units",
    "sanity_check",
    "write_look",
    "write_report",
]

if TYPE_CHECKING:
    from atlas.attribution import activation_maps, attention_maps, attribute, sanity_check
    from atlas.comparison import compare
    from atlas.datasets import load_manifest
    from atlas.errors import AtlasError
    from atlas.explorer import explore, export
    from atlas.extraction import extract
    from atlas.importing import import_arrays
    from atlas.layer_health import health
    from atlas.layouts import compute_layout
    from atlas.looking import look, write_look
    from atlas.looking.grids import activation_grids
    from atlas.models import load_model
    from atlas.pipeline import build
    from atlas.rendering import render_icons
    from atlas.review import write_report
    from atlas.storage import ActivationStore, Atlas, open_atlas, open_store
    from atlas.storage.diff import open_diff
    from atlas.suspects import find_suspects
    from atlas.units import render_units


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'atlas' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
