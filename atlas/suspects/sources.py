"""Whether a suspect's pictures come from one source, as far as their ids tell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

MOST_OUTSIDE, LEAST_INSIDE = 0.2, 0.8
FEWEST = 10


@dataclass(frozen=True)
class Source:
    """A part of ids that members share and usual pictures do not: its text, and its share in either."""

    text: str
    inside: float
    outside: float


def common_source(members: Sequence[str], usual: Sequence[str]) -> Source | None:
    """The folder or part of a file's name that most members' ids have and few of the usual pictures'; None without any.

    Ids are split at everything that is no letter or digit, and numbers of three digits or more left out, which count.
    """
    if min(len(members), len(usual)) < FEWEST:
        return None
    inside, outside = (Counter(part for name in names for part in _parts(name)) for names in (members, usual))
    found = [
        Source(part, count / len(members), outside[part] / len(usual))
        for part, count in inside.items()
        if count >= LEAST_INSIDE * len(members) and outside[part] <= MOST_OUTSIDE * len(usual)
    ]
    return max(found, key=lambda source: (source.inside - source.outside, source.text), default=None)


def _parts(name: str) -> set[str]:
    stem = re.sub(r"\.[A-Za-z]{3,4}$", "", name)
    return {part for part in re.split(r"[^A-Za-z0-9]+", stem) if part and not re.fullmatch(r"\d{3,}", part)}
