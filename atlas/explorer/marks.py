"""What a user keeps in an atlas's marks file, regions and what is said of suspects: read, changed, never trusted."""

from __future__ import annotations

import json
import math
import re
import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atlas.errors import StoreError
from atlas.storage.files import write_json

SCHEMA = 1
MOST_REGIONS = 1000
MOST_JUDGED = 1000
MOST_CORNERS = 400
MOST_CHARACTERS = {"name": 120, "note": 4000, "layer": 500, "address": 8000}
JUDGEMENTS = ("cue", "fine", "unsure")
SUSPECT_ID = re.compile(r"[0-9a-f]{1,64}", re.ASCII)

_lock = threading.Lock()


@dataclass(frozen=True)
class Marks:
    """regions: the oldest first. suspects: {"mark": one of JUDGEMENTS, "note": text} by a suspect's id."""

    regions: list[dict[str, Any]] = field(default_factory=list)
    suspects: dict[str, dict[str, str]] = field(default_factory=dict)


def read_marks(path: Path) -> Marks:
    """All that a marks file keeps; nothing where there is no file. Raises StoreError."""
    if not path.exists():
        return Marks()
    try:
        marks = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise StoreError(f"{path} cannot be read as JSON: mend it, or move it away") from None
    if not isinstance(marks, dict) or marks.get("schema") != SCHEMA or not isinstance(marks.get("regions"), list):
        raise StoreError(f"{path} is no marks file of schema {SCHEMA}: move it away")
    try:
        regions = [{**checked_region(region), "id": str(region["id"])[:32]} for region in marks["regions"]]
    except (ValueError, KeyError, TypeError):
        raise StoreError(f"{path} holds a region that is damaged: mend it, or move it away") from None
    try:
        suspects = {name: checked_judgement(name, said) for name, said in marks.get("suspects", {}).items()}
    except (ValueError, AttributeError):
        raise StoreError(f"{path} holds a mark of a suspect that is damaged: mend it, or move it away") from None
    return Marks(regions, suspects)


def _write(path: Path, marks: Marks) -> None:
    suspects = {"suspects": marks.suspects} if marks.suspects else {}
    write_json(path, {"schema": SCHEMA, "regions": marks.regions, **suspects})


def read_regions(path: Path) -> list[dict[str, Any]]:
    """The regions kept in a marks file, the oldest first; none where there is no file. Raises StoreError."""
    return read_marks(path).regions


def add_region(path: Path, region: Any) -> list[dict[str, Any]]:
    """Keep one more region and return all. Raises ValueError for what is no region, StoreError for a damaged file."""
    checked = checked_region(region)
    with _lock:
        marks = read_marks(path)
        if len(marks.regions) >= MOST_REGIONS:
            raise ValueError(f"there are {MOST_REGIONS} regions already: delete some")
        marks.regions.append({**checked, "id": secrets.token_hex(8)})
        _write(path, marks)
    return marks.regions


def drop_region(path: Path, region_id: str) -> list[dict[str, Any]]:
    """Delete a region, where it is there, and return the others. Raises StoreError for a damaged file."""
    with _lock:
        marks = read_marks(path)
        left = [region for region in marks.regions if region["id"] != region_id]
        if path.exists():
            _write(path, Marks(left, marks.suspects))
    return left


def judge_suspect(path: Path, suspect_id: Any, said: Any) -> dict[str, dict[str, str]]:
    """Keep what is said of a suspect, in place of what was; None takes it back. Returns all that is said of suspects.

    What was said of suspects that are no longer listed stays. Raises ValueError for what is no mark, StoreError for a
    damaged file.
    """
    checked = None if said is None else checked_judgement(suspect_id, said)
    with _lock:
        marks = read_marks(path)
        marks.suspects.pop(suspect_id, None)
        if checked is not None:
            if len(marks.suspects) >= MOST_JUDGED:
                raise ValueError(f"there are {MOST_JUDGED} marks of suspects already: take some back")
            marks.suspects[suspect_id] = checked
        if checked is not None or path.exists():
            _write(path, marks)
    return marks.suspects


def checked_judgement(suspect_id: Any, said: Any) -> dict[str, str]:
    """The fields of a suspect's mark alone: mark and note. Raises ValueError with what is wrong."""
    if not (isinstance(suspect_id, str) and SUSPECT_ID.fullmatch(suspect_id)):
        raise ValueError("a suspect's id is at most 64 hexadecimal digits")
    if not isinstance(said, dict) or said.get("mark") not in JUDGEMENTS:
        raise ValueError(f"a suspect's mark is one of {', '.join(JUDGEMENTS)}")
    note = said.get("note", "")
    if not isinstance(note, str) or len(note) > MOST_CHARACTERS["note"]:
        raise ValueError(f"a suspect's note is text of at most {MOST_CHARACTERS['note']} characters")
    return {"mark": said["mark"], "note": note}


def checked_region(region: Any) -> dict[str, Any]:
    """The fields of a region alone: name, note, layer, address, outlines. Raises ValueError with what is wrong."""
    if not isinstance(region, dict):
        raise ValueError("a region is an object")
    checked: dict[str, Any] = {}
    for name, most in MOST_CHARACTERS.items():
        text = region.get(name, "")
        if not isinstance(text, str) or len(text) > most:
            raise ValueError(f"a region's {name} is text of at most {most} characters")
        checked[name] = text
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
