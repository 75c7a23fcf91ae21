"""What comparison finds: nothing between retrainings, planted changes first, and beside RDX; its speed.

Run: python benchmarks/compare.py --cache DIR [--quick] [--only null,power,alone,rdx,digits,scale] [--pool P] [--out F]

The networks are those of compare_pool.py, trained once into the cache; their training is timed apart. A change counts
as found if it is the first of the list and says what was planted: the pair of classes as merged or moved into one
another, or the class as split, its two groups agreeing with the attribute's halves for SPLIT_MATCH of the tested images
(chance: 0.5). Criterion and settings were chosen on the development pool, which shares no seed and no plant with the
final one. With RDX the nine images that each method itself shows are judged by one rule and scored by one function.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from compare_pool import CLASSES, Variant, attributes, pictures, pools, trained
from compare_rdx import SHOWN, binary_success, explain, neighbor_ranks, reproduce
from reporting import Figure, arguments, report

PARTS = ("null", "power", "alone", "rdx", "digits", "scale")
SPLIT_MATCH = 0.65
MOST = 7
"""Of nine shown images, how many must be what was planted."""
LISTED = 6
"""Changes of ours beside RDX's 2 x 3 explanations."""


@dataclass(frozen=True)
class Pool:
    """Networks and what they saw."""

    cache: Path
    null: list[Variant]
    planted: list[Variant]

    @classmethod
    def named(cls, name: str, cache: Path, quick: bool) -> Pool:
        variants = pools()[name]
        null = [v for v in variants if not v.merge and not v.split]
        planted = [v for v in variants if v.merge or v.split]
        return cls(cache, null[:5] if quick else null, planted[:: 4 if quick else 1])

    def view(self, variant: Variant) -> Any:
        from atlas.findings.changes import NetworkView

        told = _trained(variant, self.cache)
        return NetworkView(told["vectors"], told["predictions"].astype(np.int64))

    def changes(self, a: Variant, b: Variant, references: list[Variant]) -> Any:
        from atlas.findings.changes import find_changes

        _, labels, ids = _test_pictures(self.cache)
        views = [self.view(v) for v in references]
        return find_changes(self.view(a), self.view(b), labels, CLASSES, views, ids=ids)


@cache
def _trained(variant: Variant, folder: Path) -> Any:
    return trained(variant, folder)


@cache
def _test_pictures(folder: Path) -> Any:
    return pictures("test", folder)


@cache
def _attributes(folder: Path) -> Any:
    return attributes(_test_pictures(folder)[0])


def side(pool: Pool, variant: Variant, name: str = "") -> Any:
    """For every test picture: 1 above a class's median of the planted attribute, else 0; the class that was split."""
    assert variant.split
    value = _attributes(pool.cache)[variant.split[1]]
    of = _test_pictures(pool.cache)[1] == CLASSES.index(name or variant.split[0])
    return (value > np.median(value[of])).astype(int)


def null(pool: Pool) -> list[Figure]:
    """Every pair of the null pool, either way drawn by a coin, each with two others as references."""
    from scipy.stats import beta

    rng, listed, start = np.random.default_rng(0), [], time.process_time()
    for i in range(len(pool.null)):
        for j in range(i + 1, len(pool.null)):
            a, b = (pool.null[k] for k in rng.permutation([i, j]))
            rest = [k for k in range(len(pool.null)) if k not in (i, j)]
            found = pool.changes(a, b, [pool.null[k] for k in rng.choice(rest, 2, replace=False)])
            listed.append({"pair": [a.name, b.name], "changes": [change.text for change in found.changes]})
    hits = sum(bool(one["changes"]) for one in listed)
    upper = float(beta.ppf(0.95, hits + 1, len(listed) - hits)) if hits < len(listed) else 1.0
    each = (time.process_time() - start) / len(listed)
    told = {"pairs": listed}
    return [
        Figure(f"null: pairs of {len(listed)} with any listed change", hits, None, "", details=told),
        Figure("null: upper 95 % bound (Clopper-Pearson, one-sided) of their share", 100 * upper, None, "%", 10, "<"),
        Figure("one comparison of 4 networks x 4,000 images x 64, processor time", each, each, "s"),
    ]


def centroid_accuracy(pool: Pool, variant: Variant, among: Any, truth: Any) -> float:
    """How often the nearer of two centroids, found on one half of the images, is right on the other. 0 to 1"""
    from atlas.findings.groups import halves

    tested = halves(_test_pictures(pool.cache)[2])
    rows = _trained(variant, pool.cache)["vectors"]
    centres = np.stack([rows[among & ~tested & (truth == one)].mean(0) for one in (0, 1)])
    asked = among & tested
    return float(((((rows[asked][:, None] - centres) ** 2).sum(2).argmin(1)) == truth[asked]).mean())


def planted_effect(pool: Pool, variant: Variant, base: Variant) -> dict[str, float]:
    """What was planted, by a measure that comparison does not use: the change of centroid_accuracy.

    Of two merged classes its fall; of the attribute's sides its rise in the class that was split, and in the class of
    the others where it rises most.
    """
    labels = _test_pictures(pool.cache)[1]
    if variant.merge:
        numbers = [CLASSES.index(name) for name in variant.merge]
        asked = np.isin(labels, numbers), labels == numbers[1]
        return {"planted": centroid_accuracy(pool, base, *asked) - centroid_accuracy(pool, variant, *asked)}
    assert variant.split
    rise = {}
    for number, name in enumerate(CLASSES):
        asked = labels == number, side(pool, variant, name)
        rise[name] = centroid_accuracy(pool, variant, *asked) - centroid_accuracy(pool, base, *asked)
    return {"planted": rise.pop(variant.split[0]), "most elsewhere": max(rise.values())}


def split_match(pool: Pool, variant: Variant, groups: Any) -> float:
    """The share of a split's images whose group agrees with the attribute's side; 0.5 by chance."""
    truth = side(pool, variant)
    right = np.concatenate([truth[groups[0]] == 0, truth[groups[1]] == 1]).mean()
    return float(max(right, 1 - right))


def says_it(pool: Pool, variant: Variant, change: Any) -> bool:
    """Whether a listed change is the planted one."""
    if variant.merge:
        return (
            change.kind in ("merged", "moved") and change.about == "classes" and {*change.classes} == {*variant.merge}
        )
    assert variant.split
    fits = change.kind == "split" and change.about == "parts" and change.classes == (variant.split[0],)
    return fits and split_match(pool, variant, change.groups) >= SPLIT_MATCH


def compared(pool: Pool, held: int = 2) -> Iterator[tuple[Variant, Variant, Any]]:
    """Each planted network against one of the null pool, with so many others as references."""
    for i, variant in enumerate(pool.planted):
        a, *references = (pool.null[(i + step) % len(pool.null)] for step in range(1 + held))
        yield variant, a, pool.changes(a, variant, references)


def power(pool: Pool) -> list[Figure]:
    told: list[dict[str, Any]] = []
    for variant, a, found in compared(pool):
        ranks = [i + 1 for i, change in enumerate(found.changes) if says_it(pool, variant, change)]
        one = {"planted": variant.name, "centroids": planted_effect(pool, variant, a), "rank": ranks[:1]}
        one |= {"listed": len(found.changes), "first": found.changes[0].text if found.changes else ""}
        if variant.split and ranks:
            one["match"] = split_match(pool, variant, found.changes[ranks[0] - 1].groups)
        print(f"  {one}", file=sys.stderr)
        told.append(one)
    total, first = len(told), sum(one["rank"] == [1] for one in told)
    effects = [one["centroids"] for one in told]
    own = sum(effect["planted"] > effect["most elsewhere"] for effect in effects if "most elsewhere" in effect)
    seconds = [float(_trained(v, pool.cache)["seconds"]) for v in (*pool.null, *pool.planted)]
    name = f"power: planted changes of {total} that are first of the list"
    return [
        Figure(name, first, None, "", 0.9 * total, ">=", {"each": told}),
        Figure("  listed at all", sum(bool(one["rank"]) for one in told), None, ""),
        Figure(
            "  plants that are real (centroids tell by 0.05 or more)",
            sum(e["planted"] >= 0.05 for e in effects),
            None,
            "",
        ),
        Figure("  splits whose attribute no other class came to tell better", own, None, ""),
        Figure("training one network, processor time", float(np.median(seconds)), None, "s"),
    ]


def alone(pool: Pool) -> list[Figure]:
    """Without references, against what other images would change: the planted networks, and the null pool's own pairs.

    What retraining changes is not in that floor, so of the null pool's pairs it may list something.
    """
    told: list[dict[str, Any]] = []
    for variant, _, found in compared(pool, held=0):
        ranks = [i + 1 for i, change in enumerate(found.changes) if says_it(pool, variant, change)]
        told.append({"planted": variant.name, "rank": ranks[:1], "listed": len(found.changes)})
    start = time.process_time()
    pairs = [(a, b) for i, a in enumerate(pool.null) for b in pool.null[i + 1 :]]
    lists = [len(pool.changes(a, b, []).changes) for a, b in pairs]
    each = (time.process_time() - start) / len(pairs)
    total, plants = len(told), {"merge": "merged pairs", "split": "split classes"}
    rows = [
        Figure(
            f"without references: planted changes of {total} that are first of the list",
            sum(one["rank"] == [1] for one in told),
            None,
            "",
            details={"each": told},
        ),
        Figure("  listed at all", sum(bool(one["rank"]) for one in told), None, ""),
        Figure("  changes listed, median", float(np.median([one["listed"] for one in told])), None, ""),
    ]
    for key, words in plants.items():
        own = [one["rank"] == [1] for one in told if one["planted"].startswith(key)]
        rows.append(Figure(f"  {words} of {len(own)} that are first", sum(own), None, ""))
    return [
        *rows,
        Figure(
            f"without references: pairs of {len(pairs)} retrained with any listed change",
            sum(map(bool, lists)),
            None,
            "",
        ),
        Figure("  changes listed, median", float(np.median(lists)), None, "", details={"listed": lists}),
        Figure("  one comparison, processor time", each, each, "s"),
    ]


def shows_it(pool: Pool, variant: Variant, images: Any) -> bool:
    """Whether nine shown images are the planted change: the rule for both methods.

    A merge: at least MOST of the two classes, and two or more of either. A split: at least MOST of the class, and these
    of one side of the attribute (a part that came together), or two or more of either (what was together).
    """
    labels = _test_pictures(pool.cache)[1][images]
    if variant.merge:
        counts = [int((labels == CLASSES.index(name)).sum()) for name in variant.merge]
        return sum(counts) >= MOST and min(counts) >= 2
    assert variant.split
    sides = side(pool, variant)[images][labels == CLASSES.index(variant.split[0])]
    counts = np.bincount(sides, minlength=2)
    return bool(counts.sum() >= MOST and (counts.max() >= MOST or counts.min() >= 2))


def closer_in(change: Any) -> str:
    """The network where a change's images are closer."""
    return "B" if change.kind in ("merged", "moved", "appeared") else "A"


def rdx(pool: Pool) -> list[Figure]:
    """Ours and RDX on the same planted networks and the same tested images: by BSR, and by rank.

    Of either method the nine images of an explanation are what it shows itself. BSR is over as many explanations of
    RDX, its first, as ours lists, at most LISTED; the rank is over all that either has up to that many.
    """
    from atlas.findings.groups import halves

    _, _, ids = _test_pictures(pool.cache)
    tested = np.flatnonzero(halves(ids))
    number = np.full(len(ids), -1)
    number[tested] = np.arange(len(tested))
    scores: dict[str, list[Any]] = {"ours": [], "RDX": []}
    for variant, a, found in compared(pool):
        vectors = {name: _trained(v, pool.cache)["vectors"][tested] for name, v in (("A", a), ("B", variant))}
        ranks = {name: neighbor_ranks(rows) for name, rows in vectors.items()}
        shown = {
            "ours": [(closer_in(change), number[change.images[:SHOWN]]) for change in found.changes[:LISTED]],
            "RDX": [(one.closer_in, one.images) for one in explain(vectors["A"], vectors["B"])][:LISTED],
        }
        for name, explanations in shown.items():
            success = [
                binary_success([images], ranks[in_], ranks["BA"["AB".index(in_)]]) for in_, images in explanations
            ]
            found_at = [i + 1 for i, (_, images) in enumerate(explanations) if shows_it(pool, variant, tested[images])]
            scores[name].append({"planted": variant.name, "bsr": success, "rank": found_at[:1]})
        print(
            f"  {variant.name}: " + "; ".join(f"{k} {v[-1]['bsr']} {v[-1]['rank']}" for k, v in scores.items()),
            file=sys.stderr,
        )
    alike = [max(1, len(one["bsr"])) for one in scores["ours"]]
    mean = {
        name: float(np.mean([np.mean(one["bsr"][:count] or [0]) for one, count in zip(each, alike, strict=True)]))
        for name, each in scores.items()
    }
    worst = {name: min(min(one["bsr"], default=0.0) for one in each) for name, each in scores.items()}
    first = {name: sum(one["rank"] == [1] for one in each) for name, each in scores.items()}
    reciprocal = {k: float(np.mean([1 / one["rank"][0] if one["rank"] else 0 for one in v])) for k, v in scores.items()}
    total = len(pool.planted)
    return [
        Figure(f"BSR of what is shown, ours (RDX {mean['RDX']:.3f})", mean["ours"], None, "", mean["RDX"], ">", scores),
        Figure(f"  of the worst explanation (RDX {worst['RDX']:.3f})", worst["ours"], None, ""),
        Figure(f"  explanations a network, of {LISTED} (RDX {LISTED})", float(np.mean(alike)), None, ""),
        Figure(f"  networks with fewer than {LISTED}", sum(count < LISTED for count in alike), None, ""),
        Figure(
            f"planted change shown first of {total}, ours (RDX {first['RDX']})",
            first["ours"],
            None,
            "",
            first["RDX"],
            ">",
        ),
        Figure(
            f"mean reciprocal rank, ours (RDX {reciprocal['RDX']:.2f})",
            reciprocal["ours"],
            None,
            "",
            reciprocal["RDX"],
            ">",
        ),
    ]


def digits(_: Pool) -> list[Figure]:
    """RDX on its paper's first known difference, as far as what is at hand goes."""
    told = reproduce()
    share = told["explanations of 4s beside 9s"]
    return [
        Figure("RDX reproduced: explanations that set 4s beside 9s", share, None, "", details=told),
        Figure("RDX reproduced: BSR of what the merged network holds closer", told["BSR"], None, ""),
    ]


def scale(quick: bool) -> list[Figure]:
    """Discovery in 50,000 images of 64 and of 2,048 channels without references; similarity.py measures the rest."""
    from atlas.findings.changes import NetworkView, find_changes

    figures = []
    for channels in (64, 2048):
        rng, total = np.random.default_rng(0), 5_000 if quick else 50_000
        labels = rng.integers(0, 10, total)
        shared = rng.normal(size=(10, channels)).astype(np.float32)[labels]
        shared += rng.standard_normal(shared.shape, np.float32)
        views = [NetworkView(shared + 0.5 * rng.standard_normal(shared.shape, np.float32)) for _ in range(2)]
        clock, processor = time.perf_counter(), time.process_time()
        found = find_changes(*views, labels, CLASSES, ids=[str(i) for i in range(total)])
        took, used = time.perf_counter() - clock, time.process_time() - processor
        told = {"tests": found.tests, "listed": len(found.changes)}
        figures.append(Figure(f"discovery in {total:,} x {channels}, no references", took, used, "s", details=told))
    return figures


def main() -> None:
    """Measure the parts that are asked for, and report."""
    told = {
        "only": "parts, with commas",
        "cache": "folder of the trained networks",
        "pool": "final (default) or development",
    }
    options = arguments(__doc__ or "", **told)
    wanted = options.only.split(",") if options.only else list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        sys.exit(f"--only knows {', '.join(PARTS)}, not {', '.join(unknown)}")
    folder = Path(options.cache or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    pool = Pool.named(options.pool or "final", folder, options.quick)
    figures = []
    for part in PARTS:
        if part in wanted:
            figures += scale(options.quick) if part == "scale" else globals()[part](pool)
    report(figures, "compare", options)


if __name__ == "__main__":
    main()
