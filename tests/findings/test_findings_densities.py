"""Densities of two datasets on one map: Fisher's exact test by scipy, planted regions, and no region by chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control, fisher_exact

from atlas.findings.densities import compare_densities, find_regions, region_images
from atlas.layouts import bin_into_cells
from atlas.records import Layout, Level


def places(images: int, per_image: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    at = np.repeat(rng.uniform(0, 1, (images, 2)), per_image, axis=0)
    return np.clip(at + rng.normal(scale=0.01, size=at.shape), 0, 1).astype(np.float32), np.repeat(
        np.arange(images), per_image
    )


def levels_of(positions: np.ndarray, image_of: np.ndarray, count: int = 2) -> list[Level]:
    layout = Layout(positions, np.zeros(len(positions), np.uint8))
    return [bin_into_cells(layout, image_of, level=z, min_images=5) for z in range(count)]


@pytest.mark.parametrize("per_image", [1, 4])
def test_a_cell_s_p_is_fisher_s_over_images(per_image: int) -> None:
    positions, image_of = places(300, per_image)
    other = np.random.default_rng(1).random(300) < 0.3
    levels = levels_of(positions, image_of)
    found = compare_densities(levels, image_of, other)
    expected = []
    for level in levels:
        for cell in range(len(level)):
            images = np.unique(image_of[level.members[level.start[cell] : level.start[cell + 1]]])
            theirs, ours = int(other[images].sum()), int((~other[images]).sum())
            table = [[theirs, ours], [other.sum() - theirs, (~other).sum() - ours]]
            ends = [fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
            expected.append(min(1.0, 2 * min(ends)) if len(images) >= 5 else np.nan)
    expected = np.array(expected)
    known = np.isfinite(expected)
    adjusted = np.full(len(expected), np.nan)
    adjusted[known] = false_discovery_control(expected[known])
    np.testing.assert_allclose(np.concatenate([cells.p for cells in found]), adjusted, rtol=1e-4)


def test_what_is_new_and_what_is_missing_are_found_where_they_are() -> None:
    positions, image_of = places(2000, 2)
    at = positions[::2]
    new = np.linalg.norm(at - [0.3, 0.7], axis=1) < 0.12
    gone = np.linalg.norm(at - [0.8, 0.2], axis=1) < 0.12
    other = np.random.default_rng(1).random(2000) < 0.5
    other[new], other[gone] = True, False
    levels = levels_of(positions, image_of)
    regions = find_regions(compare_densities(levels, image_of, other), image_of, other)
    assert sorted(region.appeared for region in regions[:2]) == [False, True]
    for region in regions[:2]:
        images = region_images(levels[region.depth], region.cells, image_of)
        planted = new if region.appeared else gone
        assert planted[images].mean() > 0.5
        assert planted[images].sum() > 0.5 * planted.sum()
        assert region.other + region.one == len(images)
        assert region.p < 1e-3


def test_chance_alone_seldom_makes_a_region() -> None:
    """By Benjamini and Hochberg at most 5 % of draws have any; 40 draws, then, seldom more than 5."""
    positions, image_of = places(600, 3)
    levels = levels_of(positions, image_of)
    rng = np.random.default_rng(0)
    draws = [rng.random(600) < 0.4 for _ in range(40)]
    assert sum(bool(find_regions(compare_densities(levels, image_of, d), image_of, d)) for d in draws) <= 5
