"""Find suspects: the stages in order, from an atlas to the suspects that are kept in it."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.config import fingerprint
from atlas.errors import ConfigError
from atlas.findings.groups import halves
from atlas.findings.suspect_candidates import Candidate, Samples, find_candidates
from atlas.records import Progress, silent
from atlas.storage import Atlas
from atlas.storage.files import make_folder, write_bytes, write_json
from atlas.storage.suspects import PICTURES, Suspects, read_suspects, suspect_id, write_suspects
from atlas.suspects.collecting import dense_samples, stored_samples
from atlas.suspects.icons import cell_icons, cue_picture, rendered_icons
from atlas.suspects.ranking import UNPROVEN, Answer, ranked
from atlas.suspects.subject import Subject, open_subject
from atlas.suspects.telling import row_of
from atlas.suspects.trials import try_candidate

ENGINE = 5  # raise it when the same atlas gives other suspects


@dataclass(frozen=True)
class Search:
    """What is looked for in what, and where unfinished work is kept."""

    subject: Subject
    seed: int
    limit: int
    memory: float

    @property
    def made_from(self) -> dict[str, Any]:
        """What the suspects follow from."""
        return {
            "store": self.subject.store.fingerprint,
            "network": self.subject.weights,
            "settings": {"engine": ENGINE, "limit": self.limit, "memory": self.memory},
        }

    @property
    def work(self) -> Path:
        """A folder beside the atlas for what a stopped run has finished."""
        told = fingerprint([self.made_from, self.subject.layer.name, self.seed])
        path = self.subject.atlas.path
        return path.parent / f"{path.resolve().stem}.work" / f"suspects-{told[:12]}"

    def is_of(self, found: Suspects) -> bool:
        """Whether suspects that are there are what this search would give."""
        document = found.document
        return (
            document["made_from"] == self.made_from
            and document["layer"] == self.subject.layer.name
            and document.get("seed") == self.seed
        )


def find_suspects(
    atlas: Atlas | str | Path,
    *,
    layer: str | None = None,
    pipeline: str | Path | None = None,
    seed: int = 0,
    limit: int = 10,
    memory: float = 2.0,
    force: bool = False,
    progress: Progress = silent,
) -> Suspects:
    """Find clusters that may be spurious cues, with their evidence, and keep them in the atlas.

    layer: of the atlas, by default its last. pipeline: the file that the atlas was made with; the network is then run,
    on an early and a middle layer too, and each suspect is tested on images that it was not found on. limit: the most
    that are listed. memory: GB that activations of the pictures may take. What was found before by the same search is
    returned as it is, unless `force`; a search that was stopped goes on. Raises StoreError, DataError, ModelError and
    ConfigError, in one sentence, where suspects cannot be looked for.
    """
    if limit < 1:
        raise ConfigError(f"limit is {limit}: ask for 1 suspect or more")
    if memory <= 0:
        raise ConfigError(f"memory is {memory} GB: give more than 0")
    search = Search(open_subject(atlas, layer, pipeline), seed, limit, memory)
    known = None if force else read_suspects(search.subject.atlas)
    if known is not None and search.is_of(known):
        return known
    return _search(search, progress)


def _search(search: Search, progress: Progress) -> Suspects:
    subject, work = search.subject, search.work
    make_folder(work)
    discovery = ~halves(subject.ids)
    samples = _samples(search, progress)
    progress("candidates", 0, 1)
    candidates = find_candidates(
        samples,
        seed=search.seed,
        limit=search.limit,
        discovery=discovery,
        unproven=UNPROVEN if subject.probes else 0,
    )
    progress("candidates", 1, 1)
    tried = []
    for number, candidate in enumerate(candidates):
        stage = "causal tests" if subject.probes else "suspects"
        progress(stage, number, len(candidates))
        tried.append(_tried(search, samples, candidate, discovery))
        progress(stage, number + 1, len(candidates))
    order = ranked([_answer(row) for row, _ in tried])[: search.limit]
    candidates, rows = [candidates[number] for number in order], [tried[number][0] for number in order]
    pictures: dict[str, bytes] = {}
    for rank, number in enumerate(order):
        _place_pictures(rows[rank], tried[number][1], f"{PICTURES}/{rank}", pictures)
    icons = _icons(search, samples, candidates, rows, progress)
    for number, one in enumerate(icons):
        _place_pictures(rows[number], one, f"{PICTURES}/{number}", pictures)
    document = {
        "layer": subject.layer.name,
        "made_from": search.made_from,
        "seed": search.seed,
        "tested": bool(subject.probes),
        "notes": _notes(subject, len(rows)),
        "suspects": rows,
    }
    found = write_suspects(subject.atlas.path, document, _arrays(subject, candidates), pictures)
    shutil.rmtree(work, ignore_errors=True)
    with contextlib.suppress(OSError):  # a build keeps its icons there
        work.parent.rmdir()
    return found


def _samples(search: Search, progress: Progress) -> list[Samples]:
    if not search.subject.probes:
        return [stored_samples(search.subject)]
    return dense_samples(search.subject, search.memory, search.work / "tiles.npz", progress)


def _tried(
    search: Search, samples: Sequence[Samples], candidate: Candidate, discovery: NDArray[np.bool_]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """One suspect's row and the picture of its cue; what a stopped run has finished is read again."""
    subject = search.subject
    name = suspect_id(subject.layer.name, candidate.feeds, [subject.ids[image] for image in candidate.images])
    kept, picture = search.work / f"{name}.json", search.work / f"{name}.png"
    if kept.exists():
        row: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return row, {"cue": picture.read_bytes()} if picture.exists() else {}
    outcome = verdict = None
    own: dict[str, bytes] = {}
    if subject.probes:
        outcome, verdict = try_candidate(subject.probes, samples, candidate, discovery, search.seed)
        own = {"cue": cue_picture(subject.probes[candidate.layer], candidate, outcome.place)}
        write_bytes(picture, own["cue"])
    row = {"id": name, **row_of(subject, samples[candidate.layer], candidate, outcome, verdict)}
    write_json(kept, row)
    return row, own


def _answer(row: dict[str, Any]) -> Answer:
    return Answer(row["p"], row["score"], row["used"], row["spurious"], row["figures"].get("beyond", math.nan))


def _icons(
    search: Search,
    samples: Sequence[Samples],
    candidates: Sequence[Candidate],
    rows: Sequence[dict[str, Any]],
    progress: Progress,
) -> list[dict[str, bytes]]:
    if search.subject.probes:
        return rendered_icons(search.subject, samples, candidates, search.work / "icons", search.seed, progress)
    return [cell_icons(search.subject.layer, row) for row in rows]


def _place_pictures(row: dict[str, Any], own: dict[str, bytes], folder: str, pictures: dict[str, bytes]) -> None:
    """Give a suspect's pictures their paths."""
    for name, content in own.items():
        path = f"{folder}/{name}.png"
        pictures[path] = content
        if name == "cue":
            row["cue"] = path
        else:
            row["icons"][name] = path


def _arrays(subject: Subject, candidates: Sequence[Candidate]) -> dict[str, NDArray[Any]]:
    images, channels = len(subject.store), subject.layer.channels
    membership = np.zeros((len(candidates), images), np.float16)
    wide = max([channels, *(len(candidate.direction) for candidate in candidates)])
    direction = np.zeros((len(candidates), wide), np.float32)
    for number, candidate in enumerate(candidates):
        membership[number] = np.clip(candidate.membership, -1e4, 1e4)
        direction[number, : len(candidate.direction)] = candidate.direction
    return {"membership": membership, "direction": direction}


def _notes(subject: Subject, found: int) -> list[str]:
    notes = []
    if not found:
        notes.append("No cluster stands out from natural parts of the classes more than chance makes some do.")
    if not subject.probes:
        notes.append("Without the network nothing was tested, and a small cue can be missed: name the pipeline.")
    if not subject.store.aligned and subject.store.outputs:
        notes.append("Labels are not the network's classes, so errors were not looked at.")
    return notes
