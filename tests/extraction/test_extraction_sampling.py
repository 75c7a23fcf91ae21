"""Sampled positions: uniform, distinct, decided by the id alone, and at the same relative place in every layer."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atlas.extraction import cells_of, draw_places, relative_places

sides = st.integers(1, 40)


@given(name=st.text(max_size=30), place=st.integers(0, 30), height=sides, width=sides)
def test_a_place_follows_from_the_documented_hash(name: str, place: int, height: int, width: int) -> None:
    digest = hashlib.blake2b(f"{place}:{name}".encode(), digest_size=8).digest()
    u, v = (int.from_bytes(part, "little") / 2**32 for part in (digest[:4], digest[4:]))
    places = draw_places(["other", name], place + 1)[1:, place:]
    assert cells_of(places, height, width).tolist() == [[int(v * height) * width + int(u * width)]]


def test_places_are_uniform_and_depend_on_the_id_alone() -> None:
    ids = [f"image {i}" for i in range(20_000)]
    places = draw_places(ids, 2)
    assert np.array_equal(places[[7, 3]], draw_places(["image 7", "image 3"], 2))
    assert np.array_equal(places[:, :1], draw_places(ids, 1))
    counts = np.bincount(cells_of(places[:, :1], 5, 5).ravel(), minlength=25)
    assert ((counts - 800) ** 2 / 800).sum() < 60  # chi-squared with 24 degrees of freedom: beyond it once in 15,000
    shares = (places.reshape(-1, 4) / 2**32 - 0.5) * np.sqrt(12)
    assert np.abs(shares.T @ shares / len(ids) - np.eye(4)).max() < 0.05


@given(count=st.integers(1, 30), height=st.integers(1, 7), width=st.integers(1, 7), seed=st.integers(0, 99))
def test_positions_of_an_image_are_distinct(count: int, height: int, width: int, seed: int) -> None:
    cells = cells_of(draw_places([f"{seed}:{i}" for i in range(4)], count), height, width)
    assert cells.shape == (4, min(count, height * width))
    assert cells.min() >= 0
    assert cells.max() < height * width
    assert all(len(set(row)) == len(row) for row in cells.tolist())


def test_a_taken_cell_gives_way_to_the_nearest_free_one() -> None:
    places = np.full((1, 6, 2), 2**31, np.uint64)  # six times the middle of a map of 3 x 3
    assert cells_of(places, 3, 3).tolist() == [[4, 1, 3, 5, 7, 0]]
    # On a map twice as wide as high a step down is a larger share of the picture than one to the right.
    assert cells_of(places, 3, 7)[0, :4].tolist() == [10, 9, 11, 8]


def test_two_layers_see_the_same_relative_place() -> None:
    places = draw_places([str(i) for i in range(300)], 4)
    fine = relative_places(cells_of(places, 56, 56), 56, 56)
    coarse = relative_places(cells_of(places, 13, 13), 13, 13)
    apart = np.abs(fine - coarse).max(axis=2)
    assert (apart < 0.5 / 13 + 0.5 / 56 + 1e-6).mean() > 0.97  # the rest gave way to an earlier position
    assert apart.max() < 3 / 13


def test_relative_places_are_the_middles_of_cells() -> None:
    assert relative_places(np.array([0, 5]), 2, 3).tolist() == [
        [np.float32(1 / 6), 0.25],
        [np.float32(5 / 6), 0.75],
    ]
