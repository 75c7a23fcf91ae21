"""Stores and atlases on the disk: versioned, written beside and renamed, without pickles.

Names are imported on first use: the explorer reads an atlas without h5py.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "ActivationStore": "atlas.storage.store",
    "Atlas": "atlas.storage.atlas",
    "AtlasWriter": "atlas.storage.atlas_writer",
    "StoreHeader": "atlas.storage.store_index",
    "StoreWriter": "atlas.storage.store_writer",
    "open_atlas": "atlas.storage.atlas",
    "open_store": "atlas.storage.store",
}
__all__ = ["ActivationStore", "Atlas", "AtlasWriter", "StoreHeader", "StoreWriter", "open_atlas", "open_store"]

if TYPE_CHECKING:
    from atlas.storage.atlas import Atlas, open_atlas
    from atlas.storage.atlas_writer import AtlasWriter
    from atlas.storage.store import ActivationStore, open_store
    from atlas.storage.store_index import StoreHeader
    from atlas.storage.store_writer import StoreWriter


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'atlas.storage' has no attribute '{name}'")
