"""How well suspects are found: planted cues first, nothing in clean networks, beside five other methods.

Run: python benchmarks/suspects.py --cache DIR [--kinds development|final] [--quick] [--jobs 2] [--out F]

The networks and their plants are those of suspects_pool.py, trained once into the cache; training is timed apart. Of
the kinds of cue a corner mark, a border, a tint, a weave (`texture`), a word (`text`), a `watermark`, `dust` and a mark
that is elsewhere in each picture (`loose`) are for development: what is here, the settings of the other methods too,
was chosen on them, by four of them only since they were the kinds of a final run. `line` and `strip` are for the
last run alone: before it no picture with them and no detection was looked at; the code that paints them stands beside
that of the others.

A used cue counts as found if among the first three of a list there is one of whose 25 most typical images at least half
carry it (of all images 1 to 8 % do). Average precision is that of this one's membership, over all images, against
who carries the cue; the mean is over the cues that were found, and 0 for the others beside it. The AUROC holds
the top score of networks with a used cue against that of nulls: no cue, a cue that is independent of the class, a
natural sub-cluster. All methods see the same arrays and the same half of the images, and are judged by one function;
the pictures themselves, whose colours are looked at too, and the network for the causal test only this one does.
The list here is the one that `atlas suspects` gives with the network: what was tried, by standing and then by score;
the same before anything was tried stands beside it. The causal test is asked of every planted cue, the used and the
unused: of the candidate that shows it where one that was tried does, listed or not, else of its carriers themselves.
Clean networks (of the pool "clean" in the last run) are searched on either half, as the others are. What is measured of
a network is kept in the cache until a line of the method or of this benchmark changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # one core for each network; --jobs says how many networks at once

import numpy as np  # noqa: E402

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(Path(__file__).resolve().parent), str(REPOSITORY)]
from reporting import Figure, arguments, report  # noqa: E402
from suspect_baselines import BASELINES, LISTED, Ranked, Seen  # noqa: E402
from suspect_plants import Variant, pools  # noqa: E402
from suspects_pool import arrays_of, made, planted, probes_of  # noqa: E402

FIRST = 3
"""Suspects of a list that are looked at."""
TYPICAL = 25
"""Of a suspect's images, how many say whether it is the cue."""
OURS = "here"
UNTESTED = "here, before the causal test"
STANDING = 1e3
"""More than any score, -log10 of a p that is at least 1e-300."""
KINDS = {"development": ("development", "earlier", "second"), "final": ("final",)}
"""The pools of networks that each choice of --kinds means."""
GOALS = {"recall": 0.9, "precision": 0.8, "auroc": 0.95}


def seen_of(variant: Variant, cache: Path, turned: bool = False) -> tuple[Seen, Any]:
    """What methods see of a network, and who carries its cues: bool (cues, images); turned: on the other half."""
    from atlas.findings.groups import halves
    from atlas.findings.suspect_candidates import Samples
    from atlas.suspects.sameness import colours

    arrays = arrays_of(variant, cache)
    names = [field.name for field in fields(Samples) if field.name != "plain"]
    layers = [Samples(**{name: one[name] for name in names}) for one in arrays]
    pictures = planted(variant, "detection", cache).pictures.transpose(0, 3, 1, 2)
    layers[0] = replace(layers[0], plain=colours(pictures))
    first = ~halves([f"{variant.name}/{index}" for index in range(len(layers[0].label))])
    return Seen(layers, ~first if turned else first, variant.seed), arrays[0]["marked"]


@dataclass(frozen=True)
class Tried:
    """What this project finds in a network: candidates, the causal test's verdicts on them, and their order."""

    candidates: list[Any]
    verdicts: list[Any]
    order: list[int]
    seconds: tuple[float, float]

    def ranked(self) -> Ranked:
        """The list that `atlas suspects` gives with the network, its scores by standing first, as it is ranked."""
        scores = [STANDING * (3 - self.answers()[one].standing) + self.candidates[one].score for one in self.order]
        return self._as_ranked(self.order, scores)

    def untested(self) -> Ranked:
        """The list before anything is tried."""
        from atlas.findings.suspect_candidates import LISTED as PROVEN

        order = [number for number, one in enumerate(self.candidates) if one.p <= PROVEN]
        return self._as_ranked(order, [self.candidates[one].score for one in order])

    def all_tried(self) -> Ranked:
        """All that were tried, listed or not."""
        return self._as_ranked(list(range(len(self.candidates))), [one.score for one in self.candidates])

    def answers(self) -> list[Any]:
        from atlas.suspects.ranking import Answer

        return [
            Answer(one.p, one.score, verdict.used, verdict.spurious, verdict.beyond)
            for one, verdict in zip(self.candidates, self.verdicts, strict=True)
        ]

    def _as_ranked(self, order: list[int], scores: list[float]) -> Ranked:
        images = len(self.candidates[0].membership) if self.candidates else 0
        membership = np.array([self.candidates[one].membership for one in order]).reshape(len(order), images)
        return Ranked(membership, np.array(scores))


def ours(seen: Seen, probes: list[Any]) -> Tried:
    """What this project finds, as `atlas suspects` does with the network at hand."""
    from atlas.findings.suspect_candidates import find_candidates
    from atlas.suspects.ranking import UNPROVEN, ranked
    from atlas.suspects.trials import try_candidate

    start = time.process_time()
    found = find_candidates(seen.layers, seed=seen.seed, discovery=seen.discovery, limit=LISTED, unproven=UNPROVEN)
    middle = time.process_time()
    verdicts = [try_candidate(probes, seen.layers, one, seen.discovery, seen.seed)[1] for one in found]
    seconds = (middle - start, time.process_time() - middle)
    tried = Tried(found, verdicts, [], seconds)
    return replace(tried, order=ranked(tried.answers())[:LISTED])


def judge(ranked: Ranked, marked: Any) -> dict[str, Any]:
    """For each cue the rank of the suspect that shows it (-1: none) and its average precision; the top score."""
    from sklearn.metrics import average_precision_score

    first = [np.argsort(-one, kind="stable")[:TYPICAL] for one in ranked.membership]
    ranks, precisions = [], []
    for carriers in marked:
        hits = [number for number, images in enumerate(first) if carriers[images].mean() >= 0.5]
        ranks.append(hits[0] if hits else -1)
        shown = [ranked.membership[number] for number in hits[:1]]
        precisions.append(float(average_precision_score(carriers, shown[0])) if shown else 0.0)
    top = float(ranked.score[0]) if len(ranked.score) else 0.0
    return {"ranks": ranks, "precision": precisions, "top": top, "listed": len(ranked.score)}


def measure(variant: Variant, cache: Path, baselines: Sequence[str], turned: bool = False) -> dict[str, Any]:
    """One network: each method's list judged, with its processor time; kept until the code changes."""
    half = "second" if turned else "first"
    kept = cache / "judged" / f"{variant.name}-{half}-{fingerprint()}-{len(baselines)}.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    told = made(variant, cache)
    seen, marked = seen_of(variant, cache, turned)
    probes = probes_of(variant, cache)
    tried = ours(seen, probes)
    methods = {OURS: judge(tried.ranked(), marked) | {"seconds": tried.seconds[0]}}
    methods[UNTESTED] = judge(tried.untested(), marked) | {"seconds": tried.seconds[0]}
    answers = answers_of(variant, seen, probes, tried, marked)
    for name in baselines:
        start = time.process_time()
        methods[name] = judge(BASELINES[name](seen), marked) | {"seconds": time.process_time() - start}
    cues = [
        {"kind": cue.kind, "share": cue.share, "chance": cue.chance, "rise": rise, "used": used, "answer": answer}
        for cue, rise, used, answer in zip(variant.cues, told["rise"], told["used"], answers, strict=True)
    ]
    outcome: dict[str, Any] = {"name": variant.name, "null": variant.null, "cues": cues, "methods": methods}
    likely = sum(tried.verdicts[one].spurious == "likely" for one in tried.order)
    outcome |= {"likely": likely, "trained": told["seconds"], "tried": tried.seconds[1], "trials": len(tried.verdicts)}
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.with_suffix(".part").write_text(json.dumps(outcome))
    kept.with_suffix(".part").rename(kept)
    return outcome


def answers_of(variant: Variant, seen: Seen, probes: list[Any], tried: Tried, marked: Any) -> list[dict[str, Any]]:
    """The causal test's answer for every cue: of the candidate that shows it, listed or not, else of its carriers."""
    from atlas.suspects.trials import try_candidate

    answers = []
    shown = judge(tried.all_tried(), marked)["ranks"]
    for cue, carriers, rank in zip(variant.cues, marked, shown, strict=True):
        if rank >= 0:
            verdict = tried.verdicts[rank]
        else:
            candidate = carriers_as_candidate(seen, carriers, cue.class_index)
            verdict = try_candidate(probes, seen.layers, candidate, seen.discovery, seen.seed)[1]
        answers.append({"used": verdict.used, "spurious": verdict.spurious, "tried": rank >= 0})
    return answers


def carriers_as_candidate(seen: Seen, carriers: Any, feeds: int) -> Any:
    """A candidate whose members are exactly those who carry a cue, at the last layer."""
    from atlas.findings.suspect_candidates import Candidate
    from atlas.findings.suspect_figures import figures_of, pushed_towards, rows_of_cluster

    last = seen.layers[-1]
    label = feeds if feeds >= 0 else int(np.bincount(last.label[carriers]).argmax())
    feeds = feeds if feeds >= 0 else pushed_towards(last, carriers, label)
    usual, own = ~carriers & (last.label == label), carriers & (last.label == label)
    direction = last.pooled[own].mean(axis=0) - last.pooled[usual].mean(axis=0)
    direction /= max(float(np.linalg.norm(direction)), 1e-9)
    return Candidate(
        kind="within",
        label=label,
        feeds=feeds,
        direction=direction,
        on="pooled",
        membership=np.where(carriers, 1, -1).astype(np.float32),
        threshold=0.0,
        images=np.flatnonzero(carriers),
        rows=rows_of_cluster(last, direction, carriers, usual),
        usual=np.flatnonzero(usual),
        score=0.0,
        p=1.0,
        figures=figures_of(last, carriers, label, feeds, seen.discovery),
        layer=len(seen.layers) - 1,
    )


def fingerprint() -> str:
    """A hash of all code that what is measured depends on."""
    folders = ("atlas/findings/suspect_*.py", "atlas/suspects/*.py", "benchmarks/suspect*.py")
    files = [file for pattern in folders for file in sorted(REPOSITORY.glob(pattern))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def is_planted(outcome: dict[str, Any]) -> bool:
    """Whether a network has a cue that goes with a class and is used."""
    return not outcome["null"] and any(cue["used"] for cue in outcome["cues"])


def found_of(outcomes: Iterable[dict[str, Any]], method: str) -> list[tuple[dict[str, Any], bool, float]]:
    """For each used cue of planted networks: the cue, whether it is in the first FIRST, its average precision."""
    told = []
    for outcome in outcomes:
        if not outcome["null"]:
            mine = outcome["methods"][method]
            for cue, rank, precision in zip(outcome["cues"], mine["ranks"], mine["precision"], strict=True):
                if cue["used"]:
                    found = 0 <= rank < FIRST
                    told.append((cue, found, precision if found else 0.0))
    return told


def auroc(outcomes: Sequence[dict[str, Any]], method: str) -> float:
    """How well the top score tells networks with a used cue from nulls; 0.5 is chance, NaN without either."""
    from sklearn.metrics import roc_auc_score

    asked = [one for one in outcomes if one["null"] or is_planted(one)]
    truth = [not one["null"] for one in asked]
    if len(set(truth)) < 2:
        return float("nan")
    return float(roc_auc_score(truth, [one["methods"][method]["top"] for one in asked]))


def list_figures(outcomes: list[dict[str, Any]]) -> list[Figure]:
    """Recall, precision and AUROC of every method, and what was planted."""
    methods = list(outcomes[0]["methods"])
    figures = []
    for method in methods:
        cues = found_of(outcomes, method)
        recall = float(np.mean([found for _, found, _ in cues]))
        shown = [precision for _, found, precision in cues if found]
        kinds = sorted({cue["kind"] for cue, _, _ in cues})
        by_kind = {
            kind: {
                "used": sum(cue["kind"] == kind for cue, _, _ in cues),
                "found": sum(found for cue, found, _ in cues if cue["kind"] == kind),
            }
            for kind in kinds
        }
        mean = float(np.mean(shown)) if shown else 0.0
        goals = GOALS if method == OURS else {}
        details = {"by kind": by_kind, "with misses as 0": float(np.mean([p for _, _, p in cues]))}
        figures += [
            Figure(
                f"{method}: recall of {len(cues)} used cues in the first 3",
                recall,
                None,
                "",
                goals.get("recall"),
                details=details,
            ),
            Figure(f"{method}: average precision of what was found", mean, None, "", goals.get("precision")),
            Figure(
                f"{method}: AUROC of the top score, planted against null",
                auroc(outcomes, method),
                None,
                "",
                goals.get("auroc"),
            ),
        ]
    seconds = [outcome["methods"][OURS]["seconds"] for outcome in outcomes]
    planted = [cue for outcome in outcomes if not outcome["null"] for cue in outcome["cues"]]
    figures += [
        Figure(
            "cues planted, of which used",
            len(planted),
            None,
            f"({sum(c['used'] for c in planted)})",
            details={"networks": outcomes},
        ),
        Figure("detection in one network, processor time", float(np.median(seconds)), float(np.median(seconds)), "s"),
        Figure(
            "causal tests in one network, processor time", float(np.median([o["tried"] for o in outcomes])), None, "s"
        ),
        Figure(
            "training of one network, processor time", float(np.median([o["trained"] for o in outcomes])), None, "s"
        ),
    ]
    return figures


def causal_figures(outcomes: Iterable[dict[str, Any]]) -> list[Figure]:
    """How often the causal test answers, and how often it is right where it does."""
    asked = [(cue["used"], cue["answer"]) for outcome in outcomes for cue in outcome["cues"]]
    decided = [(used, told["used"]) for used, told in asked if told["used"] in ("yes", "no")]
    right = [used == (told == "yes") for used, told in decided]
    tried = sum(told["tried"] for _, told in asked)
    details = {
        "asked": len(asked),
        "of these by what was found": tried,
        "used": {"yes": sum(u and t == "yes" for u, t in decided), "no": sum(u and t == "no" for u, t in decided)},
        "unused": {
            "yes": sum(not u and t == "yes" for u, t in decided),
            "no": sum(not u and t == "no" for u, t in decided),
        },
    }
    share = float(np.mean(right)) if right else float("nan")
    undecided = 1 - len(decided) / max(1, len(asked))
    return [
        Figure(f"causal test of {len(asked)} cues: right where decided", share, None, "", 0.95, details=details),
        Figure("causal test: undecided", undecided, None, "", 0.2, "<="),
    ]


def clean_figures(outcomes: list[dict[str, Any]]) -> list[Figure]:
    """Halves of clean networks whose list has anything, and has anything that is called likely to be spurious."""
    listed = sum(outcome["methods"][OURS]["listed"] > 0 for outcome in outcomes)
    likely = sum(outcome["likely"] > 0 for outcome in outcomes)
    count = len(outcomes)
    return [
        Figure(f"halves of clean networks, of {count}, that list anything", listed, None, ""),
        Figure(f"halves of clean networks, of {count}, that name anything as spurious: likely", likely, None, ""),
        Figure(
            "its upper 95 % bound (Clopper-Pearson, one-sided)", 100 * upper_bound(likely, count), None, "%", 10, "<"
        ),
    ]


def upper_bound(hits: int, count: int) -> float:
    """The one-sided 95 % upper bound of a share, by Clopper and Pearson 1934."""
    from scipy.stats import beta

    return float(beta.ppf(0.95, hits + 1, count - hits)) if hits < count else 1.0


def main() -> None:
    """Measure a pool, and print and write the figures."""
    options = arguments(
        __doc__ or "",
        cache="folder of the trained networks",
        kinds="development or final: which kinds of cue (default development)",
        jobs="networks at once, one core each (default 2)",
    )
    cache, kinds = Path(options.cache), options.kinds or "development"
    variants = [one for pool in KINDS[kinds] for one in pools()[pool]]
    clean = pools()["clean"] if kinds == "final" else [one for one in variants if one.null == "clean"]
    if options.quick:
        nulls = [one for one in variants if one.null]
        variants, clean = (
            [one for one in variants if not one.null][:4] + nulls[:: max(1, len(nulls) // 3)][:3],
            clean[:1],
        )
    with ProcessPoolExecutor(int(options.jobs or 2)) as workers:
        lists = [workers.submit(measure, one, cache, tuple(BASELINES)) for one in variants]
        others = [workers.submit(measure, one, cache, (), turned) for one in clean for turned in (False, True)]
        outcomes = [one.result() for one in lists]
        blank = [one.result() for one in others]
    figures = list_figures(outcomes) + causal_figures(outcomes) + clean_figures(blank)
    report(figures, f"suspects, {kinds}", options)


if __name__ == "__main__":
    main()
