"""Which of the candidates that were tried are listed, and which comes first: what the network was seen to do counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from atlas.findings.suspect_candidates import LISTED
from atlas.suspects.verdicts import Spurious, Used

UNPROVEN = 8
"""Candidates that are tried though they do not stand out enough by themselves: the best of those."""
SELDOM = 0.15
"""Of natural groups that were tried, so many were of the second standing (36 of 233, on 22 networks to develop on; none
was of the first): among such the rate of false discoveries is lower by this factor."""


@dataclass(frozen=True)
class Answer:
    """What there is to rank a candidate by: its p and its score among natural groups, both answers, see `Verdict`."""

    p: float
    score: float
    used: Used
    spurious: Spurious
    beyond: float = math.nan

    @property
    def standing(self) -> int:
        """0: used and likely spurious, 1: used more than natural parts are, and unclear, 2: unclear, 3: natural."""
        if self.spurious == "unlikely":
            return 3
        if self.spurious == "likely":
            return 0
        return 1 if self.used == "yes" and self.beyond > 0 else 2

    @property
    def listed(self) -> bool:
        """Whether it stands out by itself, or does far enough for what it was seen to do."""
        if self.standing == 0:
            return True
        return self.p <= (LISTED / SELDOM if self.standing == 1 else LISTED)


def ranked(answers: Sequence[Answer]) -> list[int]:
    """The numbers of those that are listed, the most probable shortcut first.

    By standing, and of one standing the highest score first: without the network, where nothing is known of any, the
    order is that of the scores.
    """
    return sorted(
        (number for number, answer in enumerate(answers) if answer.listed),
        key=lambda number: (answers[number].standing, -answers[number].score),
    )
