"""From a candidate to its trial: which images stand for what, and both answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atlas.findings.suspect_candidates import Candidate, Samples
from atlas.suspects.causal import OTHERS, Outcome, Trial, try_suspect
from atlas.suspects.natural import natural_parts
from atlas.suspects.probe import Probe
from atlas.suspects.verdicts import Verdict, judge


def try_candidate(
    probes: Sequence[Probe],
    samples: Sequence[Samples],
    candidate: Candidate,
    discovery: NDArray[np.bool_],
    seed: int = 0,
) -> tuple[Outcome, Verdict]:
    """Try one candidate on the images that it was not found on, and judge it.

    probes, samples: of each layer, as given to `find_candidates`. discovery (images,): what it was found on.
    """
    trial = trial_of(samples[candidate.layer], candidate, discovery, seed)
    outcome = try_suspect(probes[candidate.layer], trial, samples[candidate.layer].label, seed)
    return outcome, judge(candidate, outcome)


def trial_of(samples: Samples, candidate: Candidate, discovery: NDArray[np.bool_], seed: int) -> Trial:
    """Say which images stand for what in a candidate's trial."""
    label, feeds = samples.label, candidate.feeds
    members = candidate.membership >= candidate.threshold
    belonging = np.argsort(-candidate.membership, kind="stable")
    # Members of other labels are as good: they have the cue, and their class's logit is what is looked at.
    held = belonging[members[belonging] & ~discovery[belonging]]
    others = np.flatnonzero(~discovery & ~members & (label >= 0) & (label != feeds) & (label != candidate.label))
    rng = np.random.default_rng(seed)
    usual = candidate.usual
    return Trial(
        candidate.direction,
        candidate.label,
        feeds,
        candidate.images[discovery[candidate.images]],
        usual[discovery[usual]],
        held,
        rng.permutation(usual[~discovery[usual]]),
        rng.permutation(others)[:OTHERS],
        natural_parts(samples.pooled, label, members, candidate.label, discovery, seed),
    )
