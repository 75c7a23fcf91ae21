"""The networks of a comparison: each an atlas with its remembered store, at one layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from atlas.errors import ConfigError, StoreError, nearest
from atlas.records import RowKind
from atlas.storage import ActivationStore, Atlas, open_atlas, open_store
from atlas.storage.atlas import AtlasLayer
from atlas.storage.remembered import store_of
from atlas.storage.store import StoredLayer, is_store

Given = Atlas | ActivationStore | str | Path


@dataclass(frozen=True)
class Network:
    """One network at one layer: where its activations are, and the atlas whose icons and pictures it has, if any.

    kind: which rows of the layer are compared. metric: what is near among them.
    """

    title: str
    path: Path
    store: ActivationStore
    layer: StoredLayer
    kind: RowKind
    metric: str
    atlas: Atlas | None = None
    mapped: AtlasLayer | None = None

    @property
    def identity(self) -> tuple[str, ...] | None:
        """Hashes of weights and preprocessing, and the layer; None where the store does not know its network."""
        model = self.store.provenance.get("model")
        if not isinstance(model, dict) or "weights" not in model or "preprocess" not in model:
            return None
        return str(model["weights"]), str(model["preprocess"]["fingerprint"]), self.layer.name, self.layer.tap

    @property
    def pool_words(self) -> str:
        """How its samples were taken, for a message."""
        return "sampled positions" if self.kind == "positions" else f"pooled vectors ('{self.kind}')"


def open_networks(given: Sequence[Given], layers: Sequence[str] = ()) -> tuple[Network, ...]:
    """Open two atlases or more with their stores, each at the layer to compare.

    layers: one for all, or one for each; without any, the last mapped layer of the first whose name all have, else
    the last mapped layer of each. Raises StoreError where an atlas or its store is missing, ConfigError for layers
    that do not fit.
    """
    if len(given) < 2:
        raise ConfigError("a comparison needs two atlases or more: name them one after the other")
    atlases = [_atlas(one) for one in given]
    chosen = _choose_layers(atlases, layers)
    titles = _titles(atlases, chosen)
    return tuple(_network(atlas, name, title) for atlas, name, title in zip(atlases, chosen, titles, strict=True))


def open_reference(given: Given, first: Network) -> Network:
    """Open a checkpoint of the same recipe, an atlas or a store, at the first network's layer and kind of rows."""
    path = Path(given.path if isinstance(given, Atlas | ActivationStore) else given)
    if isinstance(given, ActivationStore):
        store = given
    elif not isinstance(given, Atlas) and is_store(path):
        store = open_store(path)
    else:
        store = store_of(_atlas(given), "it cannot be a reference")
    layer = store.layer(first.layer.name)
    if first.kind not in layer.kinds:
        raise StoreError(f"{store.path} has no {first.pool_words} of layer '{layer.name}': extract it as {first.title}")
    return Network(path.stem, path, store, layer, first.kind, first.metric)


def _atlas(given: Given) -> Atlas:
    if isinstance(given, Atlas):
        return given
    if isinstance(given, ActivationStore) or is_store(given):
        path = given.path if isinstance(given, ActivationStore) else given
        raise StoreError(f"{path} is a store: name the atlas that was built from it, or build one")
    return open_atlas(given)


def _network(atlas: Atlas, name: str, title: str) -> Network:
    if not atlas.complete:
        raise StoreError(f"{atlas.path} is not finished: 'atlas build' goes on with it, then compare")
    mapped = atlas.layer(name)
    store = store_of(atlas, "it cannot be compared", "restore it: a comparison needs the raw activations")
    kind = cast(RowKind, "positions" if mapped.pool == "sample" else mapped.pool)
    metric = str(mapped.layout_settings.get("metric", "cosine"))
    return Network(title, atlas.path, store, store.layer(name), kind, metric, atlas, mapped)


def _choose_layers(atlases: Sequence[Atlas], layers: Sequence[str]) -> list[str]:
    if layers:
        if len(layers) not in (1, len(atlases)):
            raise ConfigError(f"{len(layers)} layers are named for {len(atlases)} atlases: name one, or one for each")
        chosen = list(layers) * (len(atlases) if len(layers) == 1 else 1)
        for atlas, name in zip(atlases, chosen, strict=True):
            known = [layer.name for layer in atlas.layers]
            if name not in known:
                raise ConfigError(
                    f"{atlas.path} has no layer '{name}'{nearest(name, known)} (it has {', '.join(known)}): "
                    "name a layer for each with --layers A,B"
                )
        return chosen
    for atlas in atlases:
        if not atlas.layers:
            raise StoreError(f"{atlas.path} has no layer yet: 'atlas build' goes on with it")
    common = set.intersection(*({layer.name for layer in atlas.layers} for atlas in atlases))
    shared = [layer.name for layer in atlases[0].layers if layer.name in common]
    return [shared[-1]] * len(atlases) if shared else [atlas.layers[-1].name for atlas in atlases]


def _titles(atlases: Sequence[Atlas], layers: Sequence[str]) -> list[str]:
    """The atlases' names, with the layer where that tells equal ones apart, with a number where nothing does."""
    names = [atlas.path.resolve().stem for atlas in atlases]
    alike = len(set(layers)) == 1
    full = [
        name if alike or names.count(name) == 1 else f"{name} {layer}"
        for name, layer in zip(names, layers, strict=True)
    ]
    return [name if full.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(full)]
