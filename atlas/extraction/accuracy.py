"""Whether the accuracy seen is plausible."""

from __future__ import annotations

from atlas.storage.store_index import Joined, StoreHeader

_FEWEST = 20
"""Labelled images below which an accuracy says too little to warn of."""


def chance_note(header: StoreHeader, joined: Joined) -> list[str]:
    """Return one sentence when the accuracy seen is no better than guessing, else nothing.

    Guessing hits 1 in as many as there are outputs; three standard errors above that is called better.
    """
    images, classes = joined.labelled, len(header.outputs)
    if not header.aligned or images < _FEWEST or classes < 2:
        return []
    chance = 1 / classes
    if joined.first / images > chance + 3 * (chance * (1 - chance) / images) ** 0.5:
        return []
    return [
        f"the accuracy on {images:,} labelled pictures is {joined.first / images:.1%}, no better than guessing among "
        f"{classes} classes: check the preprocessing, the order of the classes and the checkpoint"
    ]
