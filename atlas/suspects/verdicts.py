"""The two answers about a suspect, each with its reason: does the network use it, and is it spurious?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from atlas.findings.suspect_candidates import Candidate
from atlas.suspects.causal import Outcome, Tested

Used = Literal["yes", "no", "undecided", "untested"]
Spurious = Literal["likely", "unlikely", "unclear"]

RAISED = 1.0
"""A cue is used when giving it to pictures raises its class's logit by so much: the odds by a factor of 2.7."""
ARRIVED = 0.4
"""A look that moves pictures less along the cue's direction than this part of the members' way was not given."""
OFF_OBJECT = 0.75
"""Below this density of what the class usually goes by, a place is off the object: planted marks have 0.1 to 0.5, parts
of objects 1.5 to 2.5."""
PART = 0.75
"""A cue on a larger share of its class may be the class."""
PLAIN_ENOUGH, PLAINER = 0.965, 0.09
"""The area under the ROC curve of one plain property, and by how much it must be above every natural part's: of
planted tints and frames it is 0.97 to 1; of a fifth of a class, cut off by k-means on any layer's mean, up to 0.97."""
SAME_ENOUGH, SAMER = 0.93, 2.0
"""The area under the ROC curve of a patch, and by what factor it must err less (1 less the area) than any natural
part's: of planted ones it is 0.96 to 1, of parts by k-means 0.5 and seldom up to 0.94."""
CRISPER = 1.4
"""So many times every natural part's must be the crispness of the mean picture."""


@dataclass(frozen=True)
class Verdict:
    """Both answers, and the sentences that say why.

    beyond: by how much giving it raises the logit above what giving the most of a natural part does, by the lower end
    of its interval; NaN where nothing was given.
    """

    used: Used
    why_used: str
    spurious: Spurious
    why_spurious: str
    beyond: float = math.nan


def judge(candidate: Candidate, outcome: Outcome | None) -> Verdict:
    """Answer for one suspect; outcome: of its causal test, None where there was none."""
    if outcome is None:
        return Verdict(
            "untested",
            "Nothing was tested: the network is needed for that, name its pipeline.",
            "unclear",
            "Whether the network goes by it was not tested, so what it is stays open.",
        )
    used, why_used = _used(outcome)
    given = _named(outcome, "paste")
    beyond = math.nan if given is None else given.logit.low - given.spread[1]
    spurious, why_spurious = _spurious(candidate, outcome, used, beyond)
    return Verdict(used, why_used, spurious, why_spurious, beyond)


def _named(outcome: Outcome, name: str) -> Tested | None:
    return next((test for test in outcome.tests if test.name == name), None)


def _used(outcome: Outcome) -> tuple[Used, str]:
    given = _named(outcome, "paste")
    if given is None:
        return "undecided", "Too few pictures were kept apart from those that it was found on: nothing could be tested."
    where = "it" if outcome.place.local else "its look"
    raised = f"Giving {where} to {given.images} pictures of other classes {_moved(given)}"
    beside = f"natural parts of the class change it by {given.spread[0]:+.1f} to {given.spread[1]:+.1f}"
    removed = _named(outcome, "inpaint")
    taken = "" if removed is None else f"; painting it over in its own pictures {_moved(removed)}"
    said = f"{raised}; {beside}{taken}."
    if given.logit.low > RAISED:
        return "yes", said
    # What is pasted may be cut too tightly: where painting it over costs as much, the two disagree.
    costs = removed is not None and removed.logit.high < -RAISED and removed.logit.high < removed.spread[0]
    if not (outcome.place.local or outcome.arrived >= ARRIVED) and given.logit.high < RAISED:
        return "undecided", f"{said[:-1]}; but the network hardly sees the look in them, so this says little."
    if given.logit.high < RAISED and not costs:
        return "no", said
    return "undecided", said


def _moved(test: Tested) -> str:
    mean, low, high = test.logit.mean, test.logit.low, test.logit.high
    if mean < 0:
        mean, low, high = -mean, -high, -low
        return f"lowers the class's logit by {mean:.1f} ({low:.1f} to {high:.1f})"
    return f"raises the class's logit by {mean:.1f} ({low:.1f} to {high:.1f})"


def _spurious(candidate: Candidate, outcome: Outcome, used: Used, beyond: float) -> tuple[Spurious, str]:
    if used == "no":
        return "unlikely", "The network does not go by it, so it does no harm to what is predicted."
    share = float(candidate.figures.get("share_of_class", math.nan))
    crisp = outcome.crisp > CRISPER * max(outcome.crisp_natural, default=math.inf)
    plain = outcome.plain >= PLAIN_ENOUGH and outcome.plain > max(outcome.plain_natural, default=1.0) + PLAINER
    natural = max(outcome.same_natural, default=1.0)
    same = outcome.same >= SAME_ENOUGH and SAMER * (1 - outcome.same) < 1 - natural
    place = outcome.place
    placed = place.local and place.patch is None  # what is anywhere is on the object and off it
    if placed and place.density > 1:
        return "unlikely", (
            f"It lies where the class is usually recognised: {place.density:.1f} times as much of what the class goes "
            "by lies there as elsewhere."
        )
    if not (crisp or plain or same):
        return "unclear", (
            "Its pictures are no more alike in their pixels than natural parts of the class are, so it may be one of "
            "these."
        )
    if same:
        alike = f"the same pixels stand somewhere in its pictures, and in few others of the class ({outcome.same:.0%})"
    elif crisp:
        alike = "the same pixels stand at the same place of its pictures"
    else:
        alike = f"one plain property of the pixels tells its pictures from others of the class ({outcome.plain:.0%})"
    if not share < PART:  # NaN too
        return "unclear", f"It covers {share:.0%} of the class, so it may be the class itself, though {alike}."
    if placed and place.density > OFF_OBJECT:
        return "unclear", f"Although {alike}, it lies where the class is partly recognised."
    if used != "yes":
        return "unclear", f"Although {alike}, whether the network goes by it is undecided."
    if not (place.local or outcome.arrived >= ARRIVED):
        return "unclear", f"Although {alike}, the look that was given hardly has what they share."
    if not beyond > 0:
        return "unclear", f"Although {alike}, giving the most of a natural part of the class does about as much."
    off = "lies off the object" if placed else "is everywhere in the picture" if place.patch is None else "has no place"
    return "likely", f"It {off}, covers {share:.0%} of the class, and {alike}{_without(outcome)}."


def _without(outcome: Outcome) -> str:
    """What the class loses without it, where the pictures show that."""
    removed = _named(outcome, "inpaint")
    if removed is None or not removed.accuracy.high < 0:
        return ""
    return f"; without it {-removed.accuracy.mean:.0%} fewer of its pictures are recognised"
