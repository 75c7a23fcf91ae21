"""Manifests and image sources: where pictures come from, what they are called and how they are read.

`load_manifest` opens a dataset; every source lists its images without reading them, and reads any
of them by index or id, from several threads at once.
"""

from __future__ import annotations

from atlas.datasets.classes import ClassTable, align_labels, read_class_table
from atlas.datasets.decoding import decode
from atlas.datasets.manifests import load_manifest, open_source
from atlas.datasets.sampling import take
from atlas.datasets.source import ImageSource

__all__ = [
    "ClassTable",
    "ImageSource",
    "align_labels",
    "decode",
    "load_manifest",
    "open_source",
    "read_class_table",
    "take",
]
