"""What a comparison adds to the explorer: the columns that colour its images, and the list of what changed."""

from __future__ import annotations

from typing import Any

from atlas.explorer.columns import Column, ColumnTable
from atlas.storage.atlas import Atlas
from atlas.storage.diff import COLUMNS, DOCUMENT, FIGURES, is_diff, open_diff


def diff_columns(atlas: Atlas) -> tuple[Column, ...]:
    """The columns of a comparison's own table; none of any other atlas. Raises AtlasError for a damaged one."""
    if not (is_diff(atlas.path) and (atlas.path / COLUMNS).is_file()):  # an unfinished one has none yet
        return ()
    return ColumnTable(atlas.path / COLUMNS).join(atlas.images.ids).columns


def told(atlas: Atlas) -> dict[str, Any] | None:
    """A comparison as its page tells it, ready for JSON; None for any other atlas.

    layer: the word for what the layers are. figures: [name, value]. changes: kind, classes, text and the indices of the
    images, those whose id the atlas has; tested: whether any were looked for. curve: of three networks or more, the
    figures of each but the first against the first and the one before. Raises StoreError for a damaged one.
    """
    if not (is_diff(atlas.path) and (atlas.path / DOCUMENT).is_file()):
        return None
    diff = open_diff(atlas.path)
    place = {name: image for image, name in enumerate(atlas.images.ids)}
    changes = [
        {
            "kind": change["kind"],
            "classes": list(change["classes"]),
            "text": change["text"],
            "images": sorted({place[name] for name in change["images"] if name in place}),
        }
        for change in diff.changes
    ]
    return {
        "layer": "Network" if diff.document["of"] == "networks" else "Dataset",
        "figures": [[name, diff.document[name]] for name in FIGURES if diff.document.get(name) is not None],
        "floor": str(diff.document["noise_floor"].get("words", "")),
        "changes": changes,
        "tested": bool(diff.document.get("tested", True)),
        "curve": [
            {name: point[name] for name in ("title", "first", "previous")} for point in diff.document.get("curve", ())
        ],
        "notes": list(diff.document["notes"]),
    }
