"""What is listed, and in which order: what the network was seen to do comes before what stands out alone."""

from __future__ import annotations

import itertools

import pytest

from atlas.suspects.ranking import Answer, ranked
from atlas.suspects.verdicts import Spurious, Used

USED: tuple[Used, ...] = ("yes", "no", "undecided", "untested")
SPURIOUS: tuple[Spurious, ...] = ("likely", "unlikely", "unclear")


def test_a_shortcut_comes_before_what_is_unclear_and_that_before_what_is_natural() -> None:
    natural = Answer(1e-9, 12.0, "yes", "unlikely")
    not_used = Answer(1e-12, 15.0, "no", "unlikely")
    unknown = Answer(1e-4, 6.0, "undecided", "unclear")
    used = Answer(1e-3, 5.0, "yes", "unclear", 0.5)
    shortcut = Answer(0.5, 1.5, "yes", "likely")
    assert ranked([natural, not_used, unknown, used, shortcut]) == [4, 3, 2, 1, 0]


def test_without_the_network_the_order_is_that_of_the_scores() -> None:
    scores = (3.0, 9.0, 4.0, 2.5)
    answers = [Answer(10**-score, score, "untested", "unclear") for score in scores]
    assert ranked(answers) == [1, 2, 0, 3]


@pytest.mark.parametrize(
    ("used", "spurious", "beyond", "listed"),
    [
        ("yes", "likely", 0.5, True),
        ("yes", "unclear", 0.5, True),
        ("yes", "unclear", -0.5, False),
        ("yes", "unlikely", 0.5, False),
        ("no", "unlikely", -0.5, False),
        ("undecided", "unclear", 0.5, False),
        ("untested", "unclear", float("nan"), False),
    ],
)
def test_what_stands_out_little_is_listed_only_for_what_it_does(
    used: Used, spurious: Spurious, beyond: float, listed: bool
) -> None:
    assert (ranked([Answer(0.12, 2.0, used, spurious, beyond)]) == [0]) is listed


def test_what_stands_out_is_listed_whatever_it_does() -> None:
    every = [Answer(0.01, 4.0, used, spurious) for used, spurious in itertools.product(USED, SPURIOUS)]
    assert sorted(ranked(every)) == list(range(len(every)))
    assert ranked([Answer(0.9, 0.1, "yes", "unclear", 2.0)]) == []
