"""From a manifest to an open source."""

from __future__ import annotations

from pathlib import Path

from atlas.config import ManifestConfig, load_manifest_config
from atlas.datasets.labels import choose_labels, no_labels
from atlas.datasets.source import ImageSource, RelabelledSource
from atlas.errors import ConfigError, nearest

_ABOUT = frozenset({"name", "source", "license", "homepage"})
_KEYS: dict[str, tuple[str, ...]] = {
    "folder": ("path", "labels"),
    "zip": ("path", "labels", "sha256"),
    "webdataset": ("path", "labels", "sha256"),
    "torchvision": ("dataset", "path", "split", "download", "labels"),
    "digits": ("labels",),
    "shapes": ("images", "seed", "split", "cues", "labels"),
}


def load_manifest(path: str | Path) -> ImageSource:
    """Open the dataset that a manifest file describes.

    Relative paths in it are relative to its folder. Raises ConfigError for a bad manifest, DataError
    for data that are absent, empty, labelled wrongly or not as the checksum says.
    """
    return open_source(load_manifest_config(path), Path(path).parent)


def open_source(config: ManifestConfig, folder: Path) -> ImageSource:
    """Open the dataset that a manifest's content describes, its relative paths relative to `folder`.

    Raises as `load_manifest` does.
    """
    allowed = _KEYS[config.source]
    # A key that a source would ignore is a misunderstanding: say so.
    for key in sorted(config.model_fields_set - _ABOUT - set(allowed)):
        raise ConfigError(
            f"the manifest '{config.name}' sets '{key}', which means nothing to source = \"{config.source}\""
            f"{nearest(key, allowed)}: remove it (known there: {', '.join(allowed)})"
        )
    # Each reader is imported where it is used: torchvision and fsspec take a second to import.
    if config.source == "folder":
        from atlas.datasets.folders import FolderSource

        return FolderSource(config, folder)
    if config.source == "zip":
        from atlas.datasets.zips import ZipSource

        return ZipSource(config, folder)
    if config.source == "webdataset":
        from atlas.datasets.shards import ShardSource

        return ShardSource(config, folder)
    if config.source == "torchvision":
        from atlas.datasets.torchvision_sets import TorchvisionSource

        return TorchvisionSource(config, folder)
    if config.source == "digits":
        from atlas.datasets.digits import DigitsSource

        return DigitsSource(config, folder)
    return _open_shapes(config, folder)


def _open_shapes(config: ManifestConfig, folder: Path) -> ImageSource:
    from atlas.datasets.shapes import ShapesSource

    source: ImageSource = ShapesSource(config)
    if config.labels is None:
        return source
    ids = [entry.id for entry in source.entries()]
    labels = choose_labels(
        config.labels, folder, ids, own=lambda: no_labels(len(ids)), folders=None, where="the embedded dataset"
    )
    return RelabelledSource(source, labels.classes, labels.values)
