"""Planted suspects: two hand-made ones whose members, boxes and tests are known."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from planted import write_planted_atlas

from atlas.storage.atlas import Atlas, open_atlas
from atlas.storage.suspects import suspect_id, write_suspects

MEMBERS = [2 + 5 * i for i in range(40)]
"""Images of class 2, the first suspect's; the second's are class 3's first 30."""
CUE = [0.75, 0.5, 1.0, 0.75]
INSIDE, OUTSIDE = (200, 30, 30), (30, 30, 200)
HOSTILE_TEXT = "A <b>sticker</b> & \"more\" in the corner: </script><script>alert('x')</script>"


def write_suspected_atlas(folder: Path) -> Atlas:
    """200 images of 5 classes with hostile names, two samples each, two layers, two levels; suspects of the second."""
    write_planted_atlas(folder, images=200, samples_per_image=2, levels=2, layers=2, classes=5, hostile_names=True)
    atlas = open_atlas(folder)
    others = [3 + 5 * i for i in range(30)]
    rng = np.random.default_rng(0)
    membership = rng.uniform(0, 0.4, (2, 200))
    membership[0, MEMBERS], membership[1, others] = np.linspace(0.99, 0.6, 40), np.linspace(0.9, 0.5, 30)
    suspects = [_first(atlas), _second(atlas, others)]
    document = {
        "layer": "layer2",
        "made_from": {"store": "", "network": "x", "settings": {}},
        "seed": 0,
        "tested": True,
        "notes": ["A <i>note</i>."],
        "suspects": suspects,
    }
    pictures = {
        f"suspects/0/{name}.png": _png(colour)
        for name, colour in (("inside", INSIDE), ("outside", OUTSIDE), ("cue", (9, 200, 9)))
    }
    write_suspects(folder, document, {"membership": membership, "direction": np.zeros((2, 16))}, pictures)
    return open_atlas(folder)


def _first(atlas: Atlas) -> dict[str, Any]:
    rows = np.flatnonzero(np.isin(atlas.layers[1].samples.image, MEMBERS))[::2]
    return _suspect(atlas, 2, MEMBERS) | {
        "usual": [2 + 5 * i for i in range(40)][::-1],
        "rows": rows.tolist(),
        "box": CUE,
        "boxes": [CUE if i != 1 else None for i in range(32)],
        "figures": {"size": 40, "gap": -0.2, "gap_low": -0.3, "gap_high": -0.1},
        "tests": [
            {
                "name": name, "logit": [mean, mean - 0.4, mean + 0.4], "control": [-0.1, -0.3, 0.1],
                "accuracy": [-0.4, -0.5, -0.3], "accuracy_control": [0, -0.1, 0.1], "images": 80, "controls": 12,
            }
            for name, mean in (("remove_direction", -2.5), ("blur", -2), ("paste", 3))
        ],
        "used": "yes",
        "why_used": "Without it the logit falls by 2.5.",
        "spurious": "likely",
        "why_spurious": "The same pixels in picture after picture.",
        "icons": {"inside": "suspects/0/inside.png", "outside": "suspects/0/outside.png"},
        "cue": "suspects/0/cue.png",
    }  # fmt: skip


def _second(atlas: Atlas, images: list[int]) -> dict[str, Any]:
    return _suspect(atlas, 3, images) | {
        "usual": [], "rows": [],
        "box": [0, 0, 1, 1], "boxes": [[0, 0, 1, 1]] * 30, "figures": {"size": 30}, "tests": [],
        "used": "untested", "why_used": "There was no network.", "spurious": "unclear", "why_spurious": "Unknown.",
        "icons": {"inside": None, "outside": None}, "cue": None,
    }  # fmt: skip


def _suspect(atlas: Atlas, label: int, images: list[int]) -> dict[str, Any]:
    ids = [atlas.images.ids[image] for image in images]
    return {
        "id": suspect_id("layer2", label, ids),
        "kind": "within",
        "score": 0.9,
        "p": 0.001,
        "label": label,
        "feeds": label,
        "label_name": atlas.classes[label],
        "feeds_name": atlas.classes[label],
        "images": images,
        "image_ids": ids,
        "text": HOSTILE_TEXT,
    }


def _png(colour: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(stream, "PNG")
    return stream.getvalue()
