"""The user's own regions, kept beside an atlas in its marks file: read, added to and deleted from, never trusted."""

from __future__ import annotations

import json
import math
import secrets
import threading
from pathlib import Path
from typing import Any

from atlas.errors import StoreError
from atlas.storage.files import write_json

SCHEMA = 1
MOST_REGIONS = 1000
MOST_CORNERS = 400
MOST_CHARACTERS = {"name": 120, "note": 4000, "layer": 500, "address": 8000}

_lock = threading.Lock()


def read_regions(path: Path) -> list[dict[str, Any]]:
    """The regions kept in a marks file, the oldest first; none where there is no file. Raises StoreError."""
    if not path.exists():
        return []
    try:
        marks = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise StoreError(f"{path} cannot be read as JSON: mend it, or move it away") from None
    if not isinstance(marks, dict) or marks.get("schema") != SCHEMA or not isinstance(marks.get("regions"), list):
        raise StoreError(f"{path} is no marks file of schema {SCHEMA}: move it away")
    try:
        return [{**checked_region(region), "id": str(region["id"])[:32]} for region in marks["regions"]]
    except (ValueError, KeyError, TypeError):
        raise StoreError(f"{path} holds a region that is damaged: mend it, or move it away") from None


def add_region(path: Path, region: Any) -> list[dict[str, Any]]:
    """Keep one more region and return all. Raises ValueError for what is no region, StoreError for a damaged file."""
    checked = checked_region(region)
    with _lock:
        regions = read_regions(path)
        if len(regions) >= MOST_REGIONS:
            raise ValueError(f"there are {MOST_REGIONS} regions already: delete some")
        regions.append({**checked, "id": secrets.token_hex(8)})
        write_json(path, {"schema": SCHEMA, "regions": regions})
    return regions


def drop_region(path: Path, region_id: str) -> list[dict[str, Any]]:
    """Delete a region, where it is there, and return the others. Raises StoreError for a damaged file."""
    with _lock:
        regions = [region for region in read_regions(path) if region["id"] != region_id]
        if path.exists():
            write_json(path, {"schema": SCHEMA, "regions": regions})
    return regions


def checked_region(region: Any) -> dict[str, Any]:
    """The fields of a region alone: name, note, layer, address, outlines. Raises ValueError with what is wrong."""
    if not isinstance(region, dict):
        raise ValueError("a region is an object")
    checked: dict[str, Any] = {}
    for field, most in MOST_CHARACTERS.items():
        text = region.get(field, "")
        if not isinstance(text, str) or len(text) > most:
            raise ValueError(f"a region's {field} is text of at most {most} characters")
        checked[field] = text
    if not checked["name"]:
        raise ValueError("a region has a name")
    outlines = region.get("outlines", [])
    if not isinstance(outlines, list) or not all(_is_outline(outline) for outline in outlines):
        raise ValueError("a region's outlines are lists of [x, y]")
    if sum(map(len, outlines)) > MOST_CORNERS:
        raise ValueError(f"a region's outlines have at most {MOST_CORNERS} corners")
    checked["outlines"] = outlines
    return checked


def _is_outline(outline: Any) -> bool:
    return isinstance(outline, list) and all(
        isinstance(corner, list)
        and len(corner) == 2
        and all(isinstance(value, int | float) and math.isfinite(value) and abs(value) <= 2 for value in corner)
        for corner in outline
    )
