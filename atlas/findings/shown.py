"""Which images of a change are shown first: those that are close in one network and far apart in the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atlas.findings.contrasts import Account, Kind, Sides

SHOWN = 9
"""Images that are shown of a change before one asks for more."""
OF_EITHER = 3
"""Of these, how many must be of either of two groups: one picture could be a stray."""
CANDIDATES = 256
"""Most changed images of a group that are looked at, so that the time does not grow with the images."""
YARDSTICKS = 2_048
"""Tested images that ranks are counted in: all of fewer, else drawn."""

Square = NDArray[np.float32]


def best_shown(
    sides: Sides, groups: Sequence[NDArray[np.int64]], images: NDArray[np.int64], kind: Kind
) -> NDArray[np.int64]:
    """Put the SHOWN images first that show a change best, and leave the others in their order.

    groups: the numbers of the tested images of the one or two groups; images: the same, the most changed first. What
    merged, moved or appeared is closer in B, what split or vanished in A. A pair counts log(s / r): r is the rank of
    one among the other's neighbours in the network where they are closer, s in the other network; of its two directions
    the one that says less. RDX (Kondapaneni et al. 2025, arXiv 2505.23917) compares ranks by the same quotient. From
    every image a set grows by the image that adds most, and the set with the largest sum is shown: of two groups with
    OF_EITHER images of either.
    """
    of = [np.flatnonzero(np.isin(images, group))[:CANDIDATES] for group in groups]
    sizes = [len(group) for group in of]
    if sum(sizes) <= SHOWN or min(sizes) < OF_EITHER:
        return images
    members = images[np.concatenate(of)]
    near, far = (sides.b, sides.a) if kind in ("merged", "moved", "appeared") else (sides.a, sides.b)
    gain = np.log(_ranks(far, members) / _ranks(near, members))
    gain = np.minimum(gain, gain.T)
    sets = _grown(gain, np.repeat(np.arange(len(of)), sizes))
    total = gain[sets[:, :, None], sets[:, None, :]].sum(axis=(1, 2))
    first = members[sets[int(np.argmax(total))]]
    return np.concatenate([first, images[~np.isin(images, first)]])


def _ranks(account: Account, members: NDArray[np.int64]) -> Square:
    """The rank of every member among each one's neighbours, 1 for the nearest, by the yardsticks that are nearer.

    (members, members), a row for the one that is looked from; 1 for oneself.
    """
    yardsticks = np.flatnonzero(account.tested)
    if len(yardsticks) > YARDSTICKS:
        yardsticks = np.random.default_rng(account.seed).choice(yardsticks, YARDSTICKS, replace=False)
    rows = account.rows[members]
    alike, measured = rows @ rows.T, np.sort(-rows @ account.rows[yardsticks].T, axis=1)
    # Searched from the left: of those as near as the one asked for none counts. Itself, the nearest, does.
    nearer = [np.searchsorted(line, asked) for line, asked in zip(measured, -alike, strict=True)]
    return np.maximum(np.stack(nearer), 1).astype(np.float32)


def _grown(gain: Square, group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Grow a set of SHOWN members from every member, each time by the one whose gains with those in it sum highest.

    gain (members, members), symmetric; group (members,): 0, or 1 of a second group. -> int64 (members, SHOWN)
    """
    each = np.arange(len(gain))
    sets = each[:, None]
    total = gain.copy()
    total[each, each] = -np.inf
    for left in range(SHOWN - 1, 0, -1):
        open_to = total
        if group.any():
            missing = [np.maximum(0, OF_EITHER - (group[sets] == one).sum(axis=1)) for one in (0, 1)]
            open_to = total.copy()
            for one in (0, 1):  # the places left are those that the other group still needs
                closed = (missing[1 - one] > 0) & (missing[1 - one] >= left)
                open_to[np.ix_(closed, group == one)] = -np.inf
        chosen = open_to.argmax(axis=1)
        sets = np.column_stack([sets, chosen])
        total += gain[chosen]
        total[each, chosen] = -np.inf
    return sets
