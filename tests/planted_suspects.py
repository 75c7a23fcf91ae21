"""Suspects made by hand for a planted atlas: one of each answer, for whoever reads or shows them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atlas.storage import open_atlas
from atlas.storage.suspects import Suspects, suspect_id, write_suspects


def write_planted_suspects(folder: Path) -> Suspects:
    """Write three suspects into an atlas of `write_planted_atlas`: a used cue, a natural part, an untested one."""
    atlas = open_atlas(folder)
    layer = atlas.layers[0]
    suspects = [
        _suspect(
            folder, 0, 1, [6, 11, 16, 21], "within", [0.7, 0.65, 0.98, 0.99], ("yes", "likely"), with_pictures=True
        ),
        _suspect(folder, 1, 2, [7, 12, 17], "shared", [0.1, 0.2, 0.6, 0.8], ("no", "unlikely")),
        _suspect(folder, 2, 3, [3, 8, 13, 18, 23], "outlying", None, ("untested", "unclear")),
    ]
    membership = np.zeros((len(suspects), len(atlas.images)), np.float32)
    for number, suspect in enumerate(suspects):
        membership[number, suspect["images"]] = np.linspace(1, 0.6, len(suspect["images"]))
    document = {
        "layer": layer.name,
        "made_from": {"store": "planted", "network": "", "settings": {"limit": 10}},
        "seed": 0,
        "tested": True,
        "notes": ["planted by hand"],
        "suspects": suspects,
    }
    direction = np.eye(len(suspects), layer.channels, dtype=np.float32)
    pictures = {
        f"suspects/0/{name}.png": _png(shade) for name, shade in (("inside", 60), ("outside", 120), ("cue", 200))
    }
    return write_suspects(folder, document, {"membership": membership, "direction": direction}, pictures)


def _suspect(
    folder: Path,
    number: int,
    label: int,
    images: list[int],
    kind: str,
    box: list[float] | None,
    verdict: tuple[str, str],
    *,
    with_pictures: bool = False,
) -> dict[str, Any]:
    atlas = open_atlas(folder)
    ids = [atlas.images.ids[image] for image in images]
    samples = atlas.layers[0].samples.image
    effect = 2.5 if verdict[0] == "yes" else 0.1
    tested = verdict[0] != "untested"
    return {
        "id": suspect_id(atlas.layers[0].name, label, ids),
        "kind": kind,
        "score": 0.9 - 0.2 * number,
        "p": 0.001 * (number + 1),
        "label": label,
        "feeds": label,
        "label_name": atlas.classes[label],
        "feeds_name": atlas.outputs[label],
        "images": images,
        "image_ids": ids,
        "usual": [label + 5 * step for step in range(8, 14)],
        "rows": np.flatnonzero(np.isin(samples, images)).tolist(),
        "box": box,
        "boxes": [box] * len(images),
        "figures": {"purity": 0.97, "size": len(images), "share_of_class": 0.2, "accuracy_gap": -0.3,
                    "accuracy_gap_low": -0.4, "accuracy_gap_high": -0.2, "effect": effect, "effect_low": effect - 0.4,
                    "effect_high": effect + 0.4},
        "tests": [_test(name, effect) for name in ("remove_direction", "blur", "inpaint", "paste")] if tested else [],
        "used": verdict[0],
        "why_used": "Pasting it raises the logit more than natural parts do." if tested else "No pipeline.",
        "spurious": verdict[1],
        "why_spurious": "The class is recognised worse without it, and it lies off the object.",
        "text": "A mark in the lower right corner, in 20 % of its class. The network uses it.",
        "icons": {
            "inside": "suspects/0/inside.png" if with_pictures else None,
            "outside": "suspects/0/outside.png" if with_pictures else None,
        },
        "cue": "suspects/0/cue.png" if with_pictures else None,
    }  # fmt: skip


def _test(name: str, effect: float) -> dict[str, Any]:
    sign = 1 if name == "paste" else -1
    change = sign * effect
    return {
        "name": name,
        "logit": [change, change - 0.4, change + 0.4],
        "control": [sign * 0.1, sign * 0.1 - 0.1, sign * 0.1 + 0.1],
        "control_spread": [-0.3, 0.3],
        "accuracy": [-0.2, -0.3, -0.1],
        "accuracy_control": [0.0, -0.05, 0.05],
        "images": 80,
        "controls": 12,
    }


def _png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), shade, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
