"""The images of a change that are shown first: by a slow count of ranks, and those that were planted."""

import numpy as np
import pytest

from atlas.findings import shown
from atlas.findings.changes import NetworkView, find_changes
from atlas.findings.contrasts import Account, Sides
from atlas.findings.groups import halves
from atlas.findings.shown import OF_EITHER, SHOWN, best_shown

IDS = [f"{i}.png" for i in range(300)]
TESTED = np.flatnonzero(halves(IDS))


def sides(a, b):
    accounts = [Account(np.asarray(rows, np.float32), halves(IDS), 0) for rows in (a, b)]
    return Sides((accounts[0],), accounts[1])


def slow(a, b, images, groups):
    """What is shown where B is closer, by the definition: one image, one pair, one set at a time."""
    rank = []
    for rows in (a, b):
        rows = rows - rows.mean(0)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        apart = {i: {j: ((rows[i] - rows[j]) ** 2).sum() for j in TESTED if j != i} for i in images}
        rank.append(
            {(i, j): 1 + sum(d < apart[i][j] for d in apart[i].values()) for i in images for j in images if i != j}
        )
    gain = {pair: np.log(rank[0][pair] / rank[1][pair]) for pair in rank[0]}
    gain = {(i, j): min(gain[i, j], gain[j, i]) for i, j in gain}
    best = []
    for start in images:
        chosen = [start]
        while len(chosen) < SHOWN:
            left = SHOWN - len(chosen)
            missing = [max(0, OF_EITHER - len(set(chosen) & set(group))) for group in groups]
            allowed = [
                i
                for i in images
                if i not in chosen
                and sum(missing) - any(i in group and lack for group, lack in zip(groups, missing, strict=True))
                <= left - 1
            ]
            chosen.append(max(allowed, key=lambda i: sum(gain[i, other] for other in chosen)))
        best.append((sum(gain[i, j] for i in chosen for j in chosen if i != j), chosen))
    return max(best)[1]


@pytest.mark.parametrize("split", [None, 8, 30])
def test_what_is_shown_first_is_what_a_slow_count_of_ranks_says(split):
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 300, 8))
    images = rng.permutation(TESTED)[:40]
    groups = (np.sort(images),) if split is None else (np.sort(images[:split]), np.sort(images[split:]))
    found = best_shown(sides(a, b), groups, images, "appeared" if split is None else "merged")
    assert set(found[:SHOWN]) == set(slow(a, b, images, groups if split else ()))
    rest = [i for i in images if i not in found[:SHOWN]]
    assert found[SHOWN:].tolist() == rest  # the others keep their order
    # What split or vanished is closer in A.
    kind = "vanished" if split is None else "split"
    assert best_shown(sides(b, a), groups, images, kind).tolist() == found.tolist()


def test_a_merge_is_shown_by_images_of_both_classes_even_if_one_shows_more_by_itself(monkeypatch):
    rng = np.random.default_rng(0)
    one, other = TESTED[:60], TESTED[60:75]
    a, b = rng.normal(size=(2, 300, 8))
    b[one[:12]] = 4 + 0.01 * rng.normal(size=(12, 8))
    images = np.concatenate([one, other])

    def both():
        return np.isin(best_shown(sides(a, b), (one, other), images, "merged")[:SHOWN], other).sum()

    assert both() >= OF_EITHER
    monkeypatch.setattr(shown, "OF_EITHER", 0)
    assert both() == 0


def test_the_planted_neighborhood_is_shown_first_of_thousands(monkeypatch):
    monkeypatch.setattr(shown, "YARDSTICKS", 60)
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 300, 16))
    planted = TESTED[20:29]
    b[planted] = 3 * rng.normal(size=16) + 0.1 * rng.normal(size=(9, 16))
    first = best_shown(sides(a, b), (TESTED,), TESTED, "appeared")[:SHOWN]
    assert np.isin(first, planted).sum() >= SHOWN - 1  # ranks in 60 images are coarse


def test_few_images_and_copies_are_left_in_their_order():
    rows = np.ones((300, 4)) * np.arange(4)
    assert best_shown(sides(rows, rows), (TESTED[:7],), TESTED[:7], "moved").tolist() == TESTED[:7].tolist()
    assert sorted(best_shown(sides(rows, rows), (TESTED,), TESTED, "moved")) == TESTED.tolist()


def test_a_listed_merge_begins_with_both_of_its_classes():
    rng = np.random.default_rng(5)
    labels = np.arange(300) % 3
    centres = 2 * rng.normal(size=(3, 12))
    views = [
        NetworkView((at[labels] + rng.normal(size=(300, 12))).astype(np.float32))
        for at in (centres, centres[[0, 0, 2]])
    ]
    change = find_changes(*views, labels, ["ant", "bee", "cat"], ids=IDS).changes[0]
    assert change.kind == "merged"
    assert min(np.bincount(labels[change.images[:SHOWN]], minlength=2)[:2]) >= OF_EITHER
    assert sorted(change.images) == sorted(np.concatenate(change.groups))
