"""One batch through the network: pooled vectors, sampled positions, logits and effects, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.extraction.sampling import cells_of
from atlas.models import EffectTracer, Model, as_grid, capture, prefix_tokens
from atlas.records import LayerShape, RowKind
from atlas.storage.parts import TOP, LayerSpec

ALL_CLASSES = 100
LARGEST = 20


@dataclass(frozen=True)
class LayerBatch:
    """One layer of a batch: pooled float16 (n, c), positions float16 (n, p, c) of cells int64 (n, p).

    effect_class int32 and effect_value float32 (n, e, k), None where there are none.
    """

    pooled: Mapping[RowKind, NDArray[np.float16]]
    positions: NDArray[np.float16] | None
    cells: NDArray[np.int64]
    effect_class: NDArray[np.int32] | None = None
    effect_value: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Batch:
    """What one batch gave; `reasons` says for each image why it must be left out, "" where it need not."""

    layers: Sequence[LayerBatch]
    prediction: NDArray[np.int32]
    confidence: NDArray[np.float32]
    top_class: NDArray[np.int32]
    top_logit: NDArray[np.float32]
    reasons: Sequence[str]


def layer_specs(
    model: Model, shapes: Mapping[str, LayerShape], *, positions: int, effects: int, tap: str
) -> tuple[LayerSpec, ...]:
    """What the store will keep of each layer: positions are at most the map's cells, effects at most the positions."""
    found = []
    for name, shape in shapes.items():
        pools: tuple[RowKind, ...] = ("mean",)
        if shape.kind in ("map", "map_last"):
            pools = ("mean", "max", "center")
        elif shape.kind == "tokens":
            pools = ("mean", "max", "cls") if shape.prefix else ("mean", "max")
        sampled = min(positions, shape.height * shape.width)
        wanted = min(effects, max(sampled, 1)) if model.is_classifier else 0
        classes = len(model.outputs) if len(model.outputs) <= ALL_CLASSES else LARGEST + 1
        found.append(LayerSpec(name, shape, tap, pools, sampled, wanted, classes if wanted else 0))
    return tuple(found)


class Passes:
    """Runs batches of one part of the manifest.

    A part gets a Passes of its own: what the tracer learns about a network while it runs must not depend
    on which parts were there already.
    """

    def __init__(
        self, model: Model, specs: Sequence[LayerSpec], *, tap: Literal["output", "input"], predictions: bool
    ) -> None:
        self._model, self._specs, self._tap = model, specs, tap
        self._whole = model.is_classifier and (predictions or any(spec.effects for spec in specs))
        self._cells: dict[str, torch.Tensor] = {}
        shapes = {spec.name: spec.shape for spec in specs}
        self._tracer = EffectTracer(model, shapes, tap=tap, keep=self._keep)
        self._spec_of = {spec.name: spec for spec in specs}

    def __call__(self, pixels: torch.Tensor, places: NDArray[np.uint64], labels: NDArray[np.int32] | None) -> Batch:
        """Run uint8 pictures (n, channels, h, w) with the places drawn for them, (n, positions, 2).

        labels: int32 (n,), outputs whose effects are kept in any case, -1 for none; None where they are not outputs.
        """
        device = self._model.device
        cells = {spec.name: cells_of(places, spec.shape.height, spec.shape.width) for spec in self._specs}
        self._cells = {name: torch.from_numpy(found).to(device) for name, found in cells.items()}
        batch = self._model.preprocess.normalise(pixels.to(device))
        logits, effects = None, {}
        if self._whole:
            passed = self._tracer(batch, {spec.name: self._traced(spec) for spec in self._specs if spec.effects})
            seen, logits, effects = passed.seen, passed.logits, passed.effects
        else:
            names = [spec.name for spec in self._specs]
            with torch.inference_mode(), capture(self._model.network, names, tap=self._tap, keep=self._keep) as run:
                seen = run(batch)
        reasons = [""] * len(pixels)
        layers = []
        for spec in self._specs:
            rows = {kind: _to_half(spec.name, found, reasons) for kind, found in seen[spec.name].items()}
            chosen, values = _effect_rows(spec, effects.get(spec.name), labels, reasons)
            positions = rows.pop("positions", None)
            layers.append(LayerBatch(rows, positions, cells[spec.name], chosen, values))
        return Batch(layers, *_top(logits, len(pixels), reasons), reasons)

    def _traced(self, spec: LayerSpec) -> torch.Tensor | None:
        return self._cells[spec.name][:, : spec.effects] if spec.positions else None

    def _keep(self, layer: str, tensor: torch.Tensor) -> dict[RowKind, torch.Tensor]:
        """Reduce a layer's tensor while the network runs: maps of a whole batch are never copied."""
        spec = self._spec_of[layer]
        shape, grid = spec.shape, as_grid(tensor, spec.shape)
        found: dict[RowKind, torch.Tensor] = {"mean": grid.mean(1)}
        if "max" in spec.pools:
            found["max"] = grid.amax(1)
        if "center" in spec.pools:
            found["center"] = grid[:, (shape.height // 2) * shape.width + shape.width // 2].clone()
        if "cls" in spec.pools:
            found["cls"] = prefix_tokens(tensor, shape)[:, 0].clone()
        if spec.positions:
            image = torch.arange(len(grid), device=grid.device)[:, None]
            found["positions"] = grid[image, self._cells[layer]]
        return found


def _to_half(layer: str, rows: torch.Tensor, reasons: list[str]) -> NDArray[np.float16]:
    """Cast to float16; an image with a value that is not finite, before or after the cast, gets a reason."""
    half = rows.to(torch.float16)
    if not bool(torch.isfinite(half).all()):
        whole = torch.isfinite(rows).flatten(1).all(1).tolist()
        for image, fits in enumerate(torch.isfinite(half).flatten(1).all(1).tolist()):
            if not fits and not reasons[image]:
                reasons[image] = (
                    f"activations at {layer} are above 65504, the largest of float16"
                    if whole[image]
                    else f"non-finite activations at {layer}"
                )
    found: NDArray[np.float16] = half.cpu().numpy()
    return found


def _top(
    logits: torch.Tensor | None, images: int, reasons: list[str]
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Prediction, its softmax share, and the five largest logits with their classes, in order."""
    top_class = np.full((images, TOP), -1, np.int32)
    top_logit = np.full((images, TOP), np.nan, np.float32)
    if logits is None:
        return top_class[:, 0].copy(), top_logit[:, 0].copy(), top_class, top_logit
    values = logits.cpu().numpy()
    for image in np.flatnonzero(~np.isfinite(values).all(axis=1)):
        reasons[image] = reasons[image] or "non-finite logits"
    # Stable: of equal logits the first class wins, on every machine.
    order = np.argsort(-values, axis=1, kind="stable")[:, :TOP]
    top_class[:, : order.shape[1]] = order
    top_logit[:, : order.shape[1]] = np.take_along_axis(values, order, axis=1)
    with np.errstate(invalid="ignore", over="ignore"):  # the images with a reason
        shares = np.exp(values - values.max(axis=1, keepdims=True))
        confidence = np.divide(1, shares.sum(axis=1), dtype=np.float32)
    return top_class[:, 0].copy(), confidence, top_class, top_logit


def _effect_rows(
    spec: LayerSpec, effects: torch.Tensor | None, labels: NDArray[np.int32] | None, reasons: list[str]
) -> tuple[NDArray[np.int32] | None, NDArray[np.float32] | None]:
    """Choose the effects to keep: (n, e, classes) -> classes and values (n, e, k)."""
    if effects is None:
        return None, None
    values = effects.cpu().numpy()
    for image in np.flatnonzero(~np.isfinite(values).all(axis=(1, 2))):
        reasons[image] = reasons[image] or f"non-finite effects at {spec.name}"
    if values.shape[2] <= ALL_CLASSES:
        return np.broadcast_to(np.arange(values.shape[2], dtype=np.int32), values.shape), values
    chosen = np.argsort(-values, axis=2, kind="stable")[:, :, : LARGEST + 1]
    if labels is not None:
        absent = (labels >= 0)[:, None] & ~(chosen == labels[:, None, None]).any(axis=2)
        chosen[:, :, -1] = np.where(absent, labels[:, None], chosen[:, :, -1])
    return chosen.astype(np.int32), np.take_along_axis(values, chosen, axis=2)
