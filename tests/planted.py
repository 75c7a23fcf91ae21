"""Planted atlases: small, quick to write, with a structure that tests know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from atlas.layouts.cells import describe_cells
from atlas.layouts.grid import bin_into_cells
from atlas.records import CellStatistics, Icons, Layout, Level
from atlas.storage.atlas_writer import AtlasWriter
from atlas.storage.parts import Effects
from atlas.storage.sheets import reading_order

CHANNELS = 16
ICON = 96
BELIEVE = 0.55  # robust scores run from 0.45 to 0.85: a quarter of the icons is not to be believed
HOSTILE = (
    "<script>alert('x')</script>",
    "\"quoted\" & 'more' <b>",
    "../../etc/passwd",
    "naïve Ünïcode 猫 🐈",
    "\u202eright to left\u202c",
    "long " * 60,
    "line\nbreak\ttab",
    "{{ template }} ${value} %s \\n",
)
"""Names that break careless HTML, paths, templates and terminals."""


def write_planted_atlas(
    folder: Path,
    *,
    images: int = 120,
    samples_per_image: int = 1,
    levels: int = 2,
    classes: int = 5,
    layers: int = 1,
    icon_levels: int | None = None,
    hostile_names: bool = False,
    seed: int = 0,
) -> Path:
    """Write an atlas and return its folder: class c is a cloud of samples around angle 2 pi c / classes.

    Icons and thumbnails wear their class's hue, and an icon shows a disc at the cell's own place, so a swapped axis
    or a wrong cell can be seen. Image 0's label is wrong on purpose; the last image has no label. The first sample is
    an outlier and the second has no position. The first icon_levels levels (all by default) have icons.
    """
    rng = np.random.default_rng(seed)
    names = [HOSTILE[i % len(HOSTILE)] + f" {i}" if hostile_names else f"class {i}" for i in range(classes)]
    label = np.arange(images) % classes
    prediction = label.copy()
    prediction[0] = (label[0] + 1) % classes
    label[-1] = -1
    of_class = np.where(label < 0, prediction, label)
    ids = [f"test/{names[c] if hostile_names else c}/{i:05d}.jpg" for i, c in enumerate(of_class)]
    writer = AtlasWriter(
        folder,
        name="planted",
        fingerprint=f"planted {(images, samples_per_image, levels, classes, layers, icon_levels, hostile_names, seed)}",
        classes=names,
        outputs=names,
        aligned=True,
        skipped=[("test/broken.jpg", "the file is truncated")],
        provenance={"seed": seed, "made by": "tests/planted.py"},
    )
    size = np.full(images, 64)
    confidence = rng.uniform(0.4, 1, images)
    writer.write_images(ids, label=label, prediction=prediction, confidence=confidence, width=size, height=size)
    writer.write_thumbnails(lambda i: _picture(int(of_class[i]), classes, i))
    truth = Truth(of_class, label, prediction, confidence, classes, samples_per_image)
    for layer in range(layers):
        _write_layer(writer, layer, truth, levels, levels if icon_levels is None else icon_levels, rng)
    return writer.finish().path


@dataclass(frozen=True)
class Truth:
    """What each image is and what was said of it, (images,) each."""

    of_class: NDArray[np.int64]
    label: NDArray[np.int64]
    prediction: NDArray[np.int64]
    confidence: NDArray[np.float64]
    classes: int
    samples_per_image: int


def _write_layer(
    writer: AtlasWriter, layer: int, truth: Truth, levels: int, icon_levels: int, rng: np.random.Generator
) -> None:
    classes, of_class = truth.classes, truth.of_class
    image_of = np.repeat(np.arange(len(of_class)), truth.samples_per_image)
    layout = _planted_layout(of_class[image_of], classes, rng)
    rows = rng.normal(size=(len(image_of), CHANNELS)).astype(np.float32)
    rows[:, :2] += 4 * np.nan_to_num(layout.positions)
    corner = rng.uniform(0, 0.5, (len(image_of), 2)).astype(np.float32)
    writer.write_layer_samples(
        layer,
        name=f"layer{layer + 1}",
        kind="positions",
        channels=CHANNELS,
        layout=layout,
        image_of=image_of,
        uv=corner + np.float32(0.25),
        box=np.concatenate([corner, corner + np.float32(0.5)], axis=1),
        settings={"method": "planted", "neighbors": 15, "metric": "cosine", "seed": 0},
        icon_size=ICON,
    )
    effects = _effects(of_class[image_of], classes)
    described: list[tuple[Level, CellStatistics]] = []
    for number in range(levels):
        level = bin_into_cells(layout, image_of, level=number, min_images=2)
        told = (truth.label, truth.prediction, truth.confidence, effects)
        described.append((level, describe_cells(level, rows, image_of, *told, classes, outputs=classes)))
    shown = reading_order((level.column, level.row, statistics.patches) for level, statistics in described)
    writer.write_patches(layer, shown, lambda k: _picture(int(of_class[image_of[shown[k]]]), classes, int(shown[k])))
    for level, statistics in described:
        icons = _icons(level, statistics, classes) if level.level < icon_levels else None
        writer.write_level(layer, level, statistics, icons, believe=BELIEVE)


def hue(of_class: int, classes: int) -> tuple[int, int, int]:
    """The colour of a class in icons and thumbnails."""
    tone = Image.new("HSV", (1, 1), (255 * of_class // max(1, classes), 190, 220)).convert("RGB")
    red, green, blue = np.asarray(tone)[0, 0]
    return int(red), int(green), int(blue)


def _planted_layout(of_class: NDArray[np.int64], classes: int, rng: np.random.Generator) -> Layout:
    angle = 2 * np.pi * of_class / max(1, classes)
    centre = 0.5 + 0.32 * np.stack([np.cos(angle), 0.6 * np.sin(angle)], axis=1)
    positions = np.clip(centre + rng.normal(scale=0.06, size=centre.shape), 0, 1).astype(np.float32)
    state = np.zeros(len(positions), np.uint8)
    if len(positions) > 2:
        positions[0], positions[1] = (1.7, 0.5), np.nan
        state[:2] = 2
    return Layout(positions, state)


def _effects(of_class: NDArray[np.int64], classes: int) -> Effects:
    listed = np.tile(np.arange(classes, dtype=np.int32), (len(of_class), 1))
    values = np.where(listed == of_class[:, None], 3.0, -0.5).astype(np.float32)
    return Effects(np.arange(len(of_class)), listed, values)


def _picture(of_class: int, classes: int, number: int) -> Image.Image:
    """A bright background with a shape whose place follows the number: no two alike."""
    image = Image.new("RGB", (64, 48), hue(of_class, classes))
    left, top = number * 7 % 40, number * 5 % 28
    draw = ImageDraw.Draw(image)
    (draw.ellipse if of_class % 2 else draw.rectangle)((left, top, left + 18, top + 18), fill=(250, 250, 245))
    return image


def _icons(level: Level, statistics: CellStatistics, classes: int) -> Icons:
    cells = np.flatnonzero(level.kept)
    images = np.empty((len(cells), ICON, ICON, 3), np.uint8)
    ramp = np.linspace(0.45, 1, ICON)[:, None, None]
    for i, cell in enumerate(cells):
        counts = statistics.label_counts[cell]
        tint = np.array(hue(int(counts.argmax()) if len(counts) else 0, classes))
        picture = Image.fromarray((tint * ramp[::-1] * np.ones((1, ICON, 1))).astype(np.uint8))
        x = 12 + 72 * (level.column[cell] + 0.5) / level.side
        y = 84 - 72 * (level.row[cell] + 0.5) / level.side
        ImageDraw.Draw(picture).ellipse((x - 8, y - 8, x + 8, y + 8), fill=(255, 255, 255))
        images[i] = np.asarray(picture)
    score = np.linspace(0.5, 0.9, len(cells), dtype=np.float32)
    return Icons(images, score, score - np.float32(0.05), score - np.float32(0.1), 3 * score)
