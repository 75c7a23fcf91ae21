"""The store that an atlas remembers, found again and checked to be the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.errors import StoreError

if TYPE_CHECKING:
    from atlas.storage.atlas import Atlas
    from atlas.storage.store import ActivationStore


def store_of(atlas: Atlas, without: str, remedy: str = "") -> ActivationStore:
    """Open the store an atlas was made from. Raises StoreError when it is missing, or another one by now.

    without: what cannot be done without it; remedy: what one can do beside restoring it. Both complete the message.
    """
    from atlas.storage.store import open_store

    known = atlas.provenance.get("store")
    if not isinstance(known, dict):
        raise StoreError(f"{atlas.path} does not say from which store it was made: {without}")
    place = (atlas.path / str(known["path"])).resolve().parent
    if not place.exists():
        raise StoreError(f"the store of {atlas.path} is missing ({place}): {remedy or f'restore it, or {without}'}")
    store = open_store(place)
    if store.fingerprint != known["fingerprint"]:
        raise StoreError(f"{place} is no longer the store that {atlas.path} was made from: build the atlas again")
    return store
