"""Scores of icons, taken on the stored 8-bit picture at its own size."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from atlas.rendering.image import to_float
from atlas.rendering.objective import window, with_length
from atlas.rendering.target import Target
from atlas.rendering.transforms import affine_matrices, sampling_grid

ROBUST_VARIANTS = 8
_CHUNK = 32  # pictures per pass: larger ones fall out of the processor's cache
_BLUR_RADIUS = 4  # pixels: four standard deviations


@dataclass(frozen=True)
class Scores:
    """Scores of n icons, each float32 (n,), see `atlas.records.Icons`; pooled: the window's mean activation, (n, c)."""

    centre: NDArray[np.float32]
    robust: NDArray[np.float32]
    windowed: NDArray[np.float32]
    strength: NDArray[np.float32]
    pooled: NDArray[np.float32]


@torch.no_grad()
def score_pictures(target: Target, directions: NDArray[np.float32], images: NDArray[np.uint8]) -> Scores:
    """Score stored pictures uint8 (n, size, size, 3) against their directions (n, channels).

    centre: cosine at the position (height // 2, width // 2). windowed: cosines averaged under `window`. robust:
    centre averaged over eight transforms that rendering does not use. strength: h.v / v.v at the centre. Always in
    float32. A position of zeros has cosine 0.
    """
    wanted, lengths = with_length(torch.from_numpy(directions).to(target.device))
    pictures = to_float(torch.from_numpy(images), target.channels).to(target.device)
    weights = window(target.shape.height, target.shape.width, target.device)
    columns: list[list[Tensor]] = [[], [], [], []]
    parts = zip(pictures.split(_CHUNK), wanted.split(_CHUNK), lengths[:, 0].split(_CHUNK), strict=True)
    for part, direction, length in parts:
        found = target.show(part)
        middle = found[:, target.centre]
        columns[0].append(_cosines(middle, direction))
        columns[1].append(_cosines(found, direction[:, None]) @ weights)
        columns[2].append((middle * direction).sum(1) / length)
        columns[3].append(torch.einsum("npc,p->nc", found, weights))
    variants = [*_moved(pictures), _blurred(pictures), _recompressed(images, target)]
    robust = torch.zeros(len(images), device=target.device)
    for variant in variants:
        middles = torch.cat([target.show(part)[:, target.centre] for part in variant.split(_CHUNK)])
        robust += _cosines(middles, wanted) / ROBUST_VARIANTS
    centre, windowed, strength, pooled = (torch.cat(column).cpu().numpy() for column in columns)
    return Scores(centre, robust.cpu().numpy(), windowed, strength, pooled)


def rank_directions(
    pooled: NDArray[np.float32], directions: NDArray[np.float32], mean: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Compare icons' pooled activations (n, channels) with all n directions, by cosine after subtracting their mean.

    Returns int32 (n,) each: the nearest direction, and how many are nearer than the icon's own (0: matched; under 5:
    matched among five). mean: (channels,), by default the directions'. A tie is the icon's own; so is everything
    where a direction, or an icon, is the mean itself. An activation that is not finite is near to none: -1, and n.
    """
    if not len(pooled):
        return np.zeros(0, np.int32), np.zeros(0, np.int32)
    middle = directions.mean(0) if mean is None else mean
    told = np.asarray(np.isfinite(pooled).all(1))
    wanted, found = _unit(directions - middle), _unit(np.where(told[:, None], pooled, middle) - middle)
    nearest = np.empty(len(found), np.int32)
    nearer = np.empty(len(found), np.int32)
    for start in range(0, len(found), 1024):  # a block at a time: a level may have 16,384 cells
        likeness = found[start : start + 1024] @ wanted.T
        own = likeness[np.arange(len(likeness)), start + np.arange(len(likeness))]
        nearer[start : start + 1024] = (likeness > own[:, None] + 1e-6).sum(1)
        nearest[start : start + 1024] = likeness.argmax(1)
    nearest = np.where(nearer == 0, np.arange(len(found), dtype=np.int32), nearest)
    return np.where(told, nearest, -1).astype(np.int32), np.where(told, nearer, len(found)).astype(np.int32)


def most_alike(
    directions: NDArray[np.float32], others: NDArray[np.float32], mean: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Which of m others (m, channels) each direction (n, channels) is most like, by cosine less a mean (channels,).

    int64 (n,), the first of equals; m is at least 1.
    """
    wanted, among = _unit(directions - mean), _unit(others - mean)
    parts = range(0, len(wanted), 1024)
    found = [(wanted[start : start + 1024] @ among.T).argmax(1) for start in parts]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _cosines(found: Tensor, unit: Tensor) -> Tensor:
    """Cosines along the last axis to unit vectors; 0 for zeros. torch's default takes lengths to be at least 1e-8."""
    return functional.cosine_similarity(found, unit, dim=-1, eps=1e-18)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 1e-6 * max(norms.max(initial=0), 1e-30))


def _moved(pictures: Tensor) -> list[Tensor]:
    """Six poses: 5 % to the right, 5 % up, 8 and -8 degrees, scales 0.92 and 1.08; mid-grey outside."""
    turn = math.radians(8)
    poses = torch.tensor(
        [[0, 1, 0.05, 0], [0, 1, 0, -0.05], [turn, 1, 0, 0], [-turn, 1, 0, 0], [0, 0.92, 0, 0], [0, 1.08, 0, 0]]
    )
    moved = []
    for matrix in affine_matrices(*poses.T):
        height, width = pictures.shape[-2:]
        grid = sampling_grid(matrix[None], (height, width)).to(pictures.device).expand(len(pictures), -1, -1, -1)
        # Outside, grid_sample gives 0: mid-grey, once 0.5 is taken off and put back.
        moved.append(functional.grid_sample(pictures - 0.5, grid, mode="bilinear", align_corners=False) + 0.5)
    return moved


def _blurred(pictures: Tensor) -> Tensor:
    """Gaussian blur with a standard deviation of 1 pixel, mirrored at the borders."""
    offsets = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, device=pictures.device)
    kernel = torch.exp(-(offsets.float() ** 2) / 2)
    kernel = (kernel / kernel.sum()).expand(pictures.shape[1], 1, -1)
    padded = functional.pad(pictures, [_BLUR_RADIUS] * 4, mode="reflect")
    across = functional.conv2d(padded, kernel[:, :, None], groups=pictures.shape[1])
    return functional.conv2d(across, kernel[..., None], groups=pictures.shape[1])


def _recompressed(images: NDArray[np.uint8], target: Target) -> Tensor:
    """Each picture written as JPEG of quality 50 and read again."""
    decoded = np.empty_like(images)
    for index, image in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=50)
        decoded[index] = np.asarray(Image.open(buffer))
    return to_float(torch.from_numpy(decoded), target.channels).to(target.device)
