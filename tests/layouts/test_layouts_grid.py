"""Cells: every inlier in exactly one, as a slow double loop has it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from atlas.layouts import bin_into_cells, choose_levels, gridded, measure_levels
from atlas.records import Layout, Level

EDGES = st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1 / 16, 15 / 16, float(np.nextafter(np.float32(1), 0))])
COORDINATE = st.one_of(st.floats(0, 1, width=32), EDGES, st.sampled_from([np.nan, -0.5, 1.5]))


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Layout, NDArray[np.int64]]:
    rows = draw(st.integers(0, 40))
    positions = draw(arrays(np.float32, (rows, 2), elements=COORDINATE))
    state = draw(arrays(np.uint8, rows, elements=st.integers(0, 3)))
    image = draw(arrays(np.int64, rows, elements=st.integers(0, 6)))
    return Layout(positions, state), image


def cell_by_loop(x: float, y: float, side: int) -> tuple[int, int] | None:
    """Half-open cells; the last row and column closed."""
    found = None
    for row in range(side):
        for column in range(side):
            right = x < (column + 1) / side or (column == side - 1 and x == 1)
            top = y < (row + 1) / side or (row == side - 1 and y == 1)
            if column / side <= x and right and row / side <= y and top:
                assert found is None
                found = (column, row)
    return found


def as_dict(level: Level) -> dict[tuple[int, int], list[int]]:
    return {
        (int(level.column[i]), int(level.row[i])): level.members[level.start[i] : level.start[i + 1]].tolist()
        for i in range(len(level))
    }


@settings(max_examples=60, deadline=None)
@given(layouts(), st.integers(1, 3))
def test_cells_agree_with_a_double_loop(case: tuple[Layout, NDArray[np.int64]], minimum: int) -> None:
    layout, image = case
    expected: dict[tuple[int, int], list[int]] = {}
    for i, (x, y) in enumerate(layout.positions.tolist()):
        cell = cell_by_loop(x, y, 8) if layout.state[i] != 2 else None
        if cell:
            expected.setdefault(cell, []).append(i)
    level = bin_into_cells(layout, image, level=0, min_images=minimum)
    assert as_dict(level) == expected
    assert list(zip(level.row.tolist(), level.column.tolist(), strict=True)) == sorted((r, c) for c, r in expected)
    for i, cell in enumerate(zip(level.column.tolist(), level.row.tolist(), strict=True)):
        distinct = len({int(image[m]) for m in expected[cell]})
        assert level.images[i] == distinct
        assert level.kept[i] == (distinct >= minimum)
    assert sorted(level.members.tolist()) == np.flatnonzero(gridded(layout)).tolist()


@settings(max_examples=60, deadline=None)
@given(layouts(), st.integers(0, 5))
def test_a_parents_samples_are_its_childrens(case: tuple[Layout, NDArray[np.int64]], number: int) -> None:
    layout, image = case
    parents = as_dict(bin_into_cells(layout, image, level=number, min_images=1))
    children = as_dict(bin_into_cells(layout, image, level=number + 1, min_images=1))
    gathered: dict[tuple[int, int], list[int]] = {}
    for (column, row), members in children.items():
        gathered.setdefault((column // 2, row // 2), []).extend(members)
    assert {cell: sorted(members) for cell, members in gathered.items()} == parents


def test_x_runs_right_and_y_up() -> None:
    layout = Layout(np.array([[0.95, 0.05], [0.3, 1.0]], np.float32), np.zeros(2, np.uint8))
    assert as_dict(bin_into_cells(layout, np.arange(2), level=0, min_images=1)) == {(7, 0): [0], (2, 7): [1]}


def test_a_grid_of_nothing_is_empty() -> None:
    layout = Layout(np.full((3, 2), np.nan, np.float32), np.full(3, 2, np.uint8))
    level = bin_into_cells(layout, np.arange(3), level=2, min_images=1)
    assert (len(level), level.start.tolist(), level.side) == (0, [0], 32)


@pytest.mark.parametrize(("images", "levels"), [(1, 1), (150, 1), (2_000, 2), (10_000, 3), (100_000, 5), (10**6, 6)])
def test_levels_foretold(images: int, levels: int) -> None:
    assert choose_levels(images) == levels


def disc(rows: int) -> Layout:
    rng = np.random.default_rng(0)
    radius, angle = np.sqrt(rng.uniform(size=rows)) / 2, rng.uniform(0, 2 * np.pi, rows)
    positions = 0.5 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Layout(positions.astype(np.float32), np.zeros(rows, np.uint8))


def test_levels_measured_follow_the_density_and_count_images_once() -> None:
    assert measure_levels(disc(2_000), np.arange(2_000)) == 2
    assert measure_levels(disc(3_000), np.arange(3_000)) == 2  # half the samples would fall into holes of the third
    assert measure_levels(disc(20_000), np.arange(20_000)) == 4
    # Ten samples of each image, all at one place: no more than the images alone carry.
    once = disc(2_000)
    often = Layout(np.repeat(once.positions, 10, axis=0), np.repeat(once.state, 10))
    assert measure_levels(often, np.repeat(np.arange(2_000), 10)) == 2
    # The same images in one tight heap fill smaller cells: one level more than foretold, not all seven.
    heap = Layout(once.positions / 50, once.state)
    assert measure_levels(heap, np.arange(2_000)) == 3
