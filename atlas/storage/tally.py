"""How many images were skipped, and when that is too many."""

from __future__ import annotations

from collections.abc import Sequence

from atlas.errors import DataError
from atlas.storage.parts import Skipped

_HOPELESS = 50
_NAMED = 3


class Tally:
    """Skipped images of a whole run, those of the parts that were there already included.

    The run stops as soon as more are skipped than the share of *all* images allows: that does not
    depend on where in the manifest they stand. It also stops when of 50 images not one was usable.
    """

    def __init__(self, images: int, most: float) -> None:
        self._images, self._most = images, most
        self._seen = 0
        self._skipped: list[Skipped] = []

    def add(self, seen: int, skipped: Sequence[Skipped]) -> None:
        """Count a whole part."""
        self._seen += seen
        self._skipped += skipped

    def check(self, seen: int, skipped: Sequence[Skipped]) -> None:
        """Judge with an unfinished part. Raises DataError when too many images were skipped."""
        count, total = len(self._skipped) + len(skipped), self._seen + seen
        hopeless = total >= _HOPELESS and count == total and self._most < 1
        if count > self._most * self._images or hopeless:
            raise DataError(self._sentence([*self._skipped, *skipped], total))

    def check_finished(self) -> None:
        """Raise DataError when no image at all was usable."""
        if len(self._skipped) >= self._images:
            raise DataError(self._sentence(self._skipped, self._images))

    def _sentence(self, skipped: Sequence[Skipped], seen: int) -> str:
        named = "; ".join(f"{s.id}: {s.reason}" for s in skipped[:_NAMED])
        more = f"; and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
        return (
            f"{len(skipped):,} of the first {seen:,} images cannot be used ({len(skipped) / seen:.1%}), and "
            f"{self._most:.1%} of all {self._images:,} may be: mend them or raise max_unreadable ({named}{more})"
        )
