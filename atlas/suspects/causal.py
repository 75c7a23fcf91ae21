"""The causal test: a cue taken from pictures that have it and given to others, beside real controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from atlas.suspects.edits import Mask, blurred, filled, frame_of, given_grain, given_look, look_of, pasted, replaced
from atlas.suspects.natural import Part
from atlas.suspects.places import WHOLE, WIDE, Place, class_answer, find_place
from atlas.suspects.probe import Change, Pictures, Probe, lowered, raised
from atlas.suspects.sameness import crispness, mark_of, plainness
from atlas.suspects.wandering import Patch, find_patch, telling

INSIDE, OTHERS, CONTROL = 64, 96, 24
"""Pictures of the suspect, of other classes, and of each natural part that are run."""
FEWEST = 8
"""Pictures of the suspect on the half that it was not found on: with fewer nothing is tested."""
REPEATS = 1000
CRISP = 1.4
"""So much crisper than any natural part's must a mean picture be to tell a place."""
PLAIN = 0.93
"""From this area under the ROC curve on, one plain property tells the members: natural parts reach 0.5 to 0.9."""
HELD_AGAINST = 4
"""Natural parts in which a patch is looked for as well: that takes longer than all else of them."""
NEAR = 0.35
"""A patch is given rather than a look where it takes pictures so nearly as far along the cue's direction as members."""


@dataclass(frozen=True)
class Estimate:
    """A mean over images with its 95 % interval, from a bootstrap over images."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: NDArray[np.floating], seed: int = 0) -> Estimate:
        """The mean of values (images,); NaN everywhere for none."""
        if not len(values):
            return cls(np.nan, np.nan, np.nan)
        rng = np.random.default_rng(seed)
        means = np.asarray(values, np.float64)[rng.integers(0, len(values), (REPEATS, len(values)))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        return cls(float(np.mean(values)), float(low), float(high))


@dataclass(frozen=True)
class Tested:
    """What one way of removing or giving a cue does: changes of the fed class's logit, and of accuracy.

    control: the same of natural parts' images together; controls: the mean of each part.
    """

    name: str
    logit: Estimate
    control: Estimate
    controls: tuple[float, ...]
    accuracy: Estimate
    accuracy_control: Estimate
    images: int

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the largest of the controls; zeros without any."""
        return (min(self.controls), max(self.controls)) if self.controls else (0.0, 0.0)


@dataclass(frozen=True)
class Trial:
    """A suspect on trial: which images stand for what. All arrays are image indices.

    found, usual: members and usual pictures of the half it was found on. held, held_usual, others: members, usual
    pictures and pictures of other classes of the other half. label, feeds: the members' class and the class it feeds.
    direction: unit vector of the probe's layer. parts: natural parts of the same class and size, at the same layer.
    """

    direction: NDArray[np.float32]
    label: int
    feeds: int
    found: NDArray[np.int64]
    usual: NDArray[np.int64]
    held: NDArray[np.int64]
    held_usual: NDArray[np.int64]
    others: NDArray[np.int64]
    parts: Sequence[Part]


@dataclass(frozen=True)
class Outcome:
    """What a trial gave.

    place: of the cue; its boxes are those of `found`. tests: none where there were too few pictures. before, without:
    share of held members that are recognised with the cue, and with its direction taken out; usual: of the class's
    usual pictures. crisp, plain: of the members, see `sameness`; same: how well a patch at no fixed place tells them,
    see `wandering`, NaN without one; crisp_natural, plain_natural, same_natural: of each natural part.
    arrived: how far giving a look moves pictures along the cue's direction, 1 being as far as members are from usual
    ones; NaN where no look was given, or members are no further than these.
    """

    place: Place
    tests: tuple[Tested, ...]
    before: float
    without: float
    usual: float
    crisp: float
    plain: float
    crisp_natural: tuple[float, ...]
    plain_natural: tuple[float, ...]
    arrived: float = np.nan
    same: float = np.nan
    same_natural: tuple[float, ...] = ()


def try_suspect(probe: Probe, trial: Trial, labels: NDArray[np.int64], seed: int) -> Outcome:
    """Run the causal test of one suspect. labels: int64 (images,), indices of the network's classes."""
    if not min(len(trial.found), len(trial.usual), len(trial.others)):  # nothing to hold it against
        height, width = probe.read(0).shape[1:]
        nowhere = Place(WHOLE, (WHOLE,) * len(trial.found), np.zeros((height, width)), 1.0, 0.0)
        return Outcome(nowhere, (), np.nan, np.nan, np.nan, np.nan, np.nan, (), ())
    return _Court(probe, trial, labels, seed).outcome()


class _Court:
    """One trial: pictures read once, logits of unchanged pictures run once."""

    def __init__(self, probe: Probe, trial: Trial, labels: NDArray[np.int64], seed: int) -> None:
        self.probe, self.trial, self.labels, self.seed = probe, trial, labels, seed
        self.found, self.usual = (probe.pictures(some[:INSIDE]) for some in (trial.found, trial.usual))
        self.held, self.others = trial.held[:INSIDE], trial.others[:OTHERS]
        self.parts = list(trial.parts)
        self.other_pictures = probe.pictures(self.others)
        self.arrived = self.same = np.nan
        self.same_natural: tuple[float, ...] = ()
        self.looks: list[tuple[float, Pictures]] = []
        self.objects = class_answer(probe, self.other_pictures[:INSIDE], labels[self.others[:INSIDE]])

    def outcome(self) -> Outcome:
        """Run all tests that apply."""
        parts = [self.probe.pictures(part.found[:INSIDE]) for part in self.parts]
        rests = [self.probe.pictures(part.rest[:INSIDE]) for part in self.parts]
        self.crisp = crispness(self.found, self.usual)
        self.natural = tuple(float(crispness(one, rest).max()) for one, rest in zip(parts, rests, strict=True))
        crisp = float(self.crisp.max())
        if min(len(self.held), len(self.others), len(self.trial.held_usual)) < FEWEST or not self.parts:
            place = self._place(plain=False)
            return Outcome(place, (), np.nan, np.nan, np.nan, crisp, np.nan, self.natural, ())
        self.held_pictures = self.probe.pictures(self.held)
        self.held_logits, self.other_logits = (self.probe.logits(x) for x in (self.held_pictures, self.other_pictures))
        self.part_pictures = [self.probe.pictures(part.held[:CONTROL]) for part in self.parts]
        self.part_logits = [self.probe.logits(x) for x in self.part_pictures]
        usual = self.probe.pictures(self.trial.held_usual[:INSIDE])
        known = self.probe.logits(usual).argmax(axis=1) == self.labels[self.trial.held_usual[:INSIDE]]
        plain = plainness(self.found, self.usual, self.held_pictures, usual)
        self.place = self._place(plain=plain >= PLAIN)
        self._look_for_patch(usual, parts, rests)
        tests = self._tests(parts, rests)
        before = float((self.held_logits.argmax(axis=1) == self.labels[self.held]).mean())
        return Outcome(
            self.place,
            tuple(tests),
            before,
            before + tests[0].accuracy.mean,
            float(known.mean()),
            crisp,
            plain,
            self.natural,
            tuple(
                plainness(one, rest, held, self.probe.pictures(part.held_rest[:INSIDE]))
                for one, rest, held, part in zip(parts, rests, self.part_pictures, self.parts, strict=True)
            ),
            self.arrived,
            self.same,
            self.same_natural,
        )

    def _look_for_patch(self, held_usual: Pictures, parts: Sequence[Pictures], rests: Sequence[Pictures]) -> None:
        """Make the place that of a patch, where one tells the members and takes pictures further than the place does.

        How far is told by the cue's direction, and by no logit: see `_way_gone`.
        """

        def found_in(members: Pictures, usual: Pictures, direction: NDArray[np.float32], level: float) -> Patch | None:
            return find_patch(members, usual, self.probe.slopes(members, direction, level))

        short = abs(self._way_by(self.place) - 1) if self.place.local else np.inf
        if short <= NEAR:
            return
        patch = found_in(self.found, self.usual, self.trial.direction, self.place.level)
        same = np.nan if patch is None else telling(patch, self.held_pictures, held_usual)
        if patch is None or same < PLAIN:
            return
        if not self.place.local:
            self.looks = self._looks()
            short = min(abs(gone - 1) for gone, _ in self.looks)
        place = replace(self.place, box=WHOLE, fixed=False, patch=patch)
        left = abs(self._way_by(place) - 1)
        if left > NEAR and not left < short:
            return
        self.place, self.same = place, same
        beside = list(zip(parts, rests, self.part_pictures, self.parts, strict=True))[:HELD_AGAINST]
        natural = [
            (found_in(own, rest, part.direction, part.level), held, self.probe.pictures(part.held_rest[:INSIDE]))
            for own, rest, held, part in beside
        ]
        self.same_natural = tuple(0.5 if one is None else telling(one, held, rest) for one, held, rest in natural)

    def _way_by(self, place: Place) -> float:
        """How far pictures come that are given what members have at this place."""
        boxes = place.boxes_in(self.probe, self.trial.direction, self.held_pictures)
        return self._way_gone(self._with_parts(place.masks(boxes))[0])

    def _place(self, *, plain: bool) -> Place:
        """By the pixels where these tell: a mark that all members have, a frame, a look of the whole picture."""
        marked = self.crisp.max() >= CRISP * max(self.natural, default=np.inf)
        unlike = replaced(self.found, self.usual)
        frame = frame_of(unlike) if plain else None
        mark = mark_of(self.crisp, unlike) if marked and frame is None else None
        if mark is not None and (mark[2] - mark[0]) * (mark[3] - mark[1]) > WIDE * unlike.size:
            mark = None
        trial = self.trial
        return find_place(
            self.probe,
            trial.direction,
            self.found,
            self.usual,
            self.objects,
            mark,
            frame,
            everywhere=plain and mark is None,
        )

    def _tests(self, parts: Sequence[Pictures], rests: Sequence[Pictures]) -> list[Tested]:
        tests = [self._remove_direction()]
        if self.place.local:
            masks = self.place.masks(self.place.boxes_in(self.probe, self.trial.direction, self.held_pictures))
            tests += [self._remove_part("blur", masks), self._remove_part("inpaint", masks), self._paste_part(masks)]
        else:
            tests.append(self._paste_look(parts, rests))
        return [*tests, self._add_direction()]

    def _remove_direction(self) -> Tested:
        level = float((self.probe.maps(self.usual) @ self.trial.direction).mean())
        after = self.probe.logits(self.held_pictures, lowered(self.trial.direction, level))
        controls = [
            self.probe.logits(pictures, lowered(part.direction, part.level))
            for pictures, part in zip(self.part_pictures, self.parts, strict=True)
        ]
        return self._removed("remove_direction", after, controls)

    def _remove_part(self, name: str, masks: Sequence[Mask]) -> Tested:
        edit = blurred if name == "blur" else filled
        after = self.probe.logits(edit(self.held_pictures, masks))
        controls = [
            self.probe.logits(edit(pictures, [masks[i % len(masks)] for i in range(len(pictures))]))
            for pictures in self.part_pictures
        ]
        return self._removed(name, after, controls)

    def _removed(self, name: str, after: NDArray[np.float32], controls: Sequence[NDArray[np.float32]]) -> Tested:
        held = [part.held[:CONTROL] for part in self.parts]
        classes = [part.label if part.label != self.trial.label else self.trial.feeds for part in self.parts]
        return self._tested(
            name,
            self._change(self.held_logits, after, self.held, self.trial.feeds),
            [
                self._change(before, then, images, of_class)
                for before, then, images, of_class in zip(self.part_logits, controls, held, classes, strict=True)
            ],
        )

    def _with_parts(self, masks: Sequence[Mask]) -> tuple[Pictures, list[Mask]]:
        """Pictures of other classes, each with a part of a member drawn by chance; and which pixels that is in each."""
        chosen = np.random.default_rng(self.seed).integers(0, len(masks), len(self.others))
        own = [masks[i] for i in chosen]
        return pasted(self.other_pictures, self.held_pictures[chosen], own), own

    def _paste_part(self, masks: Sequence[Mask]) -> Tested:
        given, own = self._with_parts(masks)
        after = self.probe.logits(given)
        few, rng = slice(0, CONTROL), np.random.default_rng(self.seed + 1)
        controls = []
        for pictures in self.part_pictures:
            donors = pictures[rng.integers(0, len(pictures), len(self.others))]
            controls.append(self.probe.logits(pasted(self.other_pictures[few], donors[few], own[few])))
        return self._given("paste", after, controls)

    def _looks(self) -> list[tuple[float, Pictures]]:
        """Pictures of other classes with the members' look, and with what is fine in one; how far each has come."""
        rng = np.random.default_rng(self.seed)
        donors = rng.integers(0, len(self.held_pictures), len(self.others))
        looked = given_look(self.other_pictures, look_of(self.found, self.usual), rng)
        grained = given_grain(self.other_pictures, self.held_pictures[donors])
        return [(self._way_gone(one), one) for one in (looked, grained)]

    def _paste_look(self, parts: Sequence[Pictures], rests: Sequence[Pictures]) -> Tested:
        """By the mean difference between members and usual pictures, or by what is fine in a single member.

        Whichever takes pictures more nearly as far along the cue's direction as members are: no logit is looked at.
        """
        looked, grained = self.looks or self._looks()
        by_look = not abs(grained[0] - 1) < abs(looked[0] - 1)
        self.arrived, given = looked if by_look else grained
        rng, few = np.random.default_rng(self.seed + 1), self.other_pictures[:CONTROL]
        if by_look:
            controls = [given_look(few, look_of(one, rest), rng) for one, rest in zip(parts, rests, strict=True)]
        else:
            controls = [given_grain(few, own[rng.integers(0, len(own), len(few))]) for own in self.part_pictures]
        after = self.probe.logits(given)
        return self._given("paste", after, [self.probe.logits(pictures) for pictures in controls])

    def _way_gone(self, given: Pictures) -> float:
        """How far pictures of other classes have come along the cue's direction: 1 is from usual ones to members."""
        after, before, inside, outside = (
            float((self.probe.maps(pictures).mean(axis=1) @ self.trial.direction).mean())
            for pictures in (given, self.other_pictures, self.found, self.usual)
        )
        return (after - before) / (inside - outside) if inside > outside else float("nan")

    def _add_direction(self) -> Tested:
        along = self.trial.direction
        by = (self.probe.maps(self.found) @ along).mean(axis=0) - (self.probe.maps(self.usual) @ along).mean(axis=0)
        after = self.probe.logits(self.other_pictures, raised(along, by.clip(min=0).astype(np.float32)))
        few, even = self.other_pictures[:CONTROL], np.ones_like(by, np.float32)

        def change(part: Part) -> Change:
            return raised(part.direction, even * np.float32(part.gap))

        return self._given("add_direction", after, [self.probe.logits(few, change(part)) for part in self.parts])

    def _given(self, name: str, after: NDArray[np.float32], controls: Sequence[NDArray[np.float32]]) -> Tested:
        few = slice(0, CONTROL)
        classes = [part.label if part.label != self.trial.label else self.trial.feeds for part in self.parts]
        return self._tested(
            name,
            self._change(self.other_logits, after, self.others, self.trial.feeds),
            [
                self._change(self.other_logits[few], then, self.others[few], of_class)
                for then, of_class in zip(controls, classes, strict=True)
            ],
        )

    def _change(
        self, before: NDArray[np.float32], after: NDArray[np.float32], images: NDArray[np.int64], of_class: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """By image: the change of a class's logit, and of being recognised."""
        truth = self.labels[images]
        right = (after.argmax(axis=1) == truth).astype(np.float64) - (before.argmax(axis=1) == truth)
        return (after - before)[:, of_class].astype(np.float64), right

    def _tested(
        self,
        name: str,
        own: tuple[NDArray[np.float64], NDArray[np.float64]],
        controls: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    ) -> Tested:
        together = [np.concatenate([control[i] for control in controls]) for i in (0, 1)]
        return Tested(
            name,
            Estimate.of(own[0], self.seed),
            Estimate.of(together[0], self.seed),
            tuple(float(control[0].mean()) for control in controls),
            Estimate.of(own[1], self.seed),
            Estimate.of(together[1], self.seed),
            len(own[0]),
        )
