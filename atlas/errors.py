"""The package's errors: each message is one sentence that says what, where and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AtlasError(Exception):
    """Base of every error that a user can cause or mend; caught only in `atlas.cli`."""


class ConfigError(AtlasError):
    """A pipeline or manifest file has an unknown key, a wrong type or an impossible value."""


class DataError(AtlasError):
    """A dataset is absent, empty, labelled wrongly, or holds too many unreadable pictures."""


class PictureError(AtlasError):
    """One picture cannot be decoded; the message is the reason alone, the caller adds the id."""


class ModelError(AtlasError):
    """A network, its checkpoint, its preprocessing or its class names cannot be used."""


class LayerError(ModelError):
    """A layer name is unknown, or the layer's output cannot be mapped."""


class StoreError(AtlasError):
    """A store or an atlas is damaged, incomplete, or made from another configuration."""


class LayoutError(AtlasError):
    """Samples cannot be laid out: too few, all equal, or the method is not installed."""


class RenderError(AtlasError):
    """Icons cannot be rendered for this network, layer or setting."""


class AttributionError(AtlasError):
    """An attribution does not hold for this network, layer or picture."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"; did you mean '{close[0]}'?" if close else ""
