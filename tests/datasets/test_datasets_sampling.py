from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from atlas.datasets import take
from atlas.datasets.source import ListedSource, Listing
from atlas.errors import DataError


class Numbered(ListedSource):
    """A picture's width is its index, plus one."""

    def read(self, index: int) -> Image.Image:
        return Image.new("RGB", (index + 1, 1))


def source_of(labels: list[int]) -> Numbered:
    classes = tuple(f"c{i}" for i in range(max(labels, default=-1) + 1))
    listing = Listing([f"img/{(i * 7919) % 100_003:06d}.png" for i in range(len(labels))], labels)
    return Numbered("n", classes, listing, listing.digest(classes))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-1, 5), min_size=1, max_size=80), st.integers(1, 90), st.integers(0, 3))
def test_a_part_is_even_ordered_and_of_the_right_size(labels: list[int], limit: int, seed: int) -> None:
    source = source_of(labels)
    part = take(source, limit, seed)
    entries = list(part.entries())
    assert len(part) == len(entries) == min(limit, len(labels))
    whole = list(source.entries())
    places = [whole.index(e) for e in entries]
    assert places == sorted(set(places))
    drawn, sizes = Counter(e.label for e in entries), Counter(labels)
    unexhausted = [drawn[label] for label in sizes if drawn[label] < sizes[label]]
    if unexhausted:
        assert max(drawn[label] for label in sizes) - min(unexhausted) <= 1
    for i, entry in enumerate(entries):
        assert part.index_of(entry.id) == i
        assert part.read(i).width == places[i] + 1
        assert part.entries()[i] == entry
    assert part.classes == source.classes
    assert part.entries()[1:3] == entries[1:3]


def test_the_same_seed_draws_the_same() -> None:
    labels = [i % 7 for i in range(500)]
    ids = [e.id for e in take(source_of(labels), 50, 1).entries()]
    assert [e.id for e in take(source_of(labels), 50, 1).entries()] == ids
    assert [e.id for e in take(source_of(labels), 50, 2).entries()] != ids


def test_the_draw_is_the_same_on_every_machine_and_in_every_version() -> None:
    part = take(source_of([0, 1] * 10), 3, 0)
    assert [e.id for e in part.entries()] == ["img/007919.png", "img/087109.png", "img/026701.png"]


def test_the_whole_is_the_source_itself() -> None:
    source = source_of([0, 1, 2])
    assert take(source, None) is source
    assert take(source, 3) is source
    assert take(source, 2) is not source


def test_the_fingerprint_follows_the_draw() -> None:
    source = source_of([0, 1] * 10)
    prints = {take(source, limit, seed).fingerprint for limit in (3, 4) for seed in (0, 1)}
    assert len(prints | {source.fingerprint}) == 5
    assert take(source, 3).fingerprint == take(source_of([0, 1] * 10), 3).fingerprint


def test_an_image_that_was_not_drawn() -> None:
    source = source_of([0] * 10)
    part = take(source, 4)
    left_out = next(e.id for e in source.entries() if e not in list(part.entries()))
    with pytest.raises(DataError, match=rf"'{left_out}' is in the dataset but not among the 4 images drawn"):
        part.index_of(left_out)
    with pytest.raises(DataError, match="no image has the id 'x'"):
        part.index_of("x")


def test_a_limit_below_one() -> None:
    with pytest.raises(DataError, match="a limit of 0 images leaves none"):
        take(source_of([0]), 0)
