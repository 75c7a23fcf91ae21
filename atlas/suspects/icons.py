"""Pictures of a suspect: icons of inside and outside, and the mean picture of its cue."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.findings.suspect_candidates import Candidate, Samples
from atlas.records import Progress
from atlas.rendering import render_icons
from atlas.storage.atlas import AtlasLayer
from atlas.suspects.places import Place, in_pixels
from atlas.suspects.probe import Probe
from atlas.suspects.subject import Subject

CUE_SIDE = 96


def rendered_icons(
    subject: Subject,
    samples: Sequence[Samples],
    candidates: Sequence[Candidate],
    cache: Path,
    seed: int,
    progress: Progress,
) -> list[dict[str, bytes]]:
    """Render what excites the layer as the members do, and as the class's usual pictures do."""
    assert subject.job is not None
    settings = subject.job.config
    found: list[dict[str, bytes]] = [{} for _ in candidates]
    for number, (probe, layer) in enumerate(zip(subject.probes, samples, strict=True)):
        own = [i for i, candidate in enumerate(candidates) if candidate.layer == number]
        if not own:
            continue
        directions = np.concatenate([_means(layer, candidates[i]) for i in own])
        icons = render_icons(
            probe.model,
            probe.layer,
            directions,
            size=settings.icons.size,
            device=settings.run.device,
            seed=seed,
            cache=cache,
            tap=probe.tap,
            mean=layer.pooled.mean(axis=0),
            progress=progress,
        )
        for place, i in enumerate(own):
            found[i] = {
                "inside": _png(icons.images[2 * place]),
                "outside": _png(icons.images[2 * place + 1]),
            }
    return found


def _means(samples: Samples, candidate: Candidate) -> NDArray[np.float32]:
    """Mean activations inside and outside, (2, channels): of the cluster's rows, and of usual images at such places."""
    if len(candidate.rows) and candidate.on == "rows":
        inside = samples.rows[candidate.rows].mean(axis=0)
        places = np.unique(samples.where[candidate.rows].round(3), axis=0)
        usual = np.isin(samples.image, candidate.usual)
        there = usual & (samples.where[:, None].round(3) == places[None, :64]).all(axis=2).any(axis=1)
        outside = samples.rows[there if there.any() else usual].mean(axis=0)
    else:
        inside = samples.pooled[candidate.images].mean(axis=0)
        outside = samples.pooled[candidate.usual].mean(axis=0)
    return np.stack([inside, outside]).astype(np.float32)


def cell_icons(layer: AtlasLayer, row: Mapping[str, Any]) -> dict[str, bytes]:
    """Without the network: icons of the cells where most of the members' samples lie, and most of the usual ones'."""
    levels = [level for level in layer.levels if level.header.icons]
    if not levels:
        return {}
    level = levels[-1]
    cells = np.full(len(layer.samples), -1, np.int64)
    cells[level.level.members] = np.repeat(np.arange(len(level)), level.level.samples)
    usual = np.flatnonzero(np.isin(layer.samples.image, row["usual"]))
    found = {}
    for name, rows in (("inside", np.array(row["rows"], np.int64)), ("outside", usual)):
        own = cells[rows]
        counts = np.bincount(own[own >= 0], minlength=len(level)) * level.has_icon
        if counts.any():
            found[name] = _png(level.icon(int(counts.argmax())))
    return found


def cue_picture(probe: Probe, candidate: Candidate, place: Place, images: int = 64) -> bytes:
    """The mean of members' pictures inside the cue's box, as PNG, enlarged to be seen."""
    pictures = probe.pictures(candidate.images[:images])
    boxes = place.boxes_in(probe, candidate.direction, pictures)
    height, width = pictures.shape[2:]
    high, wide = (max(1, b - a) for a, b in zip(*np.array_split(_first(boxes, height, width), 2), strict=True))
    cut = []
    for picture, box in zip(pictures, boxes, strict=True):
        left, top, _, _ = in_pixels(box, height, width)
        left, top = min(left, width - wide), min(top, height - high)
        cut.append(picture[:, top : top + high, left : left + wide])
    mean = np.stack(cut).astype(np.float32).mean(axis=0).transpose(1, 2, 0).round().astype(np.uint8)
    picture = Image.fromarray(mean[..., 0] if mean.shape[2] == 1 else mean)
    scale = max(1, CUE_SIDE // max(high, wide))
    return _png(np.asarray(picture.resize((wide * scale, high * scale), Image.Resampling.NEAREST)))


def _first(boxes: Sequence[Any], height: int, width: int) -> NDArray[np.int64]:
    """top, left, bottom, right of the first box, in pixels."""
    left, top, right, bottom = in_pixels(boxes[0], height, width)
    return np.array([top, left, bottom, right])


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
