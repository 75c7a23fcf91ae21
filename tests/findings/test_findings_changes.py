"""Changes between two networks: planted in Gaussian classes, named right; and nothing where there is nothing."""

import numpy as np
import pytest

from atlas.errors import DataError
from atlas.findings.changes import NetworkView, find_changes
from atlas.findings.contrasts import Account, Sides, compare_classes
from atlas.findings.groups import halves

IMAGES, CLASSES, CHANNELS = 900, 6, 24
NAMES = [f"class {i}" for i in range(CLASSES)]
IDS = [f"test/{i}.jpg" for i in range(IMAGES)]
LABELS = np.arange(IMAGES) % CLASSES
KINDS = ("merged", "split", "moved", "appeared", "vanished")


class World:
    """Images of six classes, which networks see rotated, scaled, and with noise of their own."""

    def __init__(self, seed, noise=0.4):
        self.rng = np.random.default_rng(seed)
        self.noise = noise
        self.centres = 1.2 * self.rng.normal(size=(CLASSES, CHANNELS))
        self.images = self.centres[LABELS] + 0.7 * self.rng.normal(size=(IMAGES, CHANNELS))
        self.side = self.rng.random(IMAGES) < 0.5
        self.some = self.rng.random(IMAGES) < 0.12
        self.line = self.rng.normal(size=CHANNELS)
        self.place = 1.5 * self.rng.normal(size=CHANNELS)

    def network(self, plant=None, width=CHANNELS):
        rows = self.images.copy()
        if plant == "merged":
            rows[LABELS == 1] += self.centres[0] - self.centres[1]
        elif plant == "split":
            rows[LABELS == 1] += np.where(self.side, 1, -1)[LABELS == 1, None] * self.line
        elif plant == "moved":
            rows[self.moved] += self.centres[0] - self.centres[1]
        elif plant == "gathered":
            rows[self.some] = self.place + 0.4 * self.rng.normal(size=(self.some.sum(), CHANNELS))
        rows = rows + self.noise * self.rng.normal(size=rows.shape)
        turn, _ = np.linalg.qr(self.rng.normal(size=(width, width)))
        return NetworkView((rows @ turn[:CHANNELS] * self.rng.uniform(0.3, 3)).astype(np.float32))

    @property
    def moved(self):
        return (LABELS == 1) & self.side & (np.arange(IMAGES) % 5 < 3)

    def compare(self, kind, references, labels=LABELS):
        """A planted change, and for "vanished" the reverse of "gathered": every retraining of A has the group."""
        plants = {"appeared": (None, "gathered"), "vanished": ("gathered", None)}
        before, after = plants.get(kind, (None, kind))
        a, *others = (self.network(before) for _ in range(1 + references))
        return find_changes(a, self.network(after), labels, NAMES, others, ids=IDS)


@pytest.mark.parametrize("references", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_change_is_first_and_named_right(kind, references):
    world = World(seed=KINDS.index(kind))
    report = world.compare(kind, references)
    first = report.changes[0]
    assert first.kind == kind
    assert first.p <= 0.05
    assert report.floor == ("retrained" if references else "sampling")
    tested = halves(IDS)
    assert tested[first.images].all()
    if kind in ("merged", "moved"):
        assert set(first.classes) == {"class 0", "class 1"}
    if kind == "split":
        assert first.classes == ("class 1",)
        agree = np.concatenate([world.side[first.groups[0]], ~world.side[first.groups[1]]]).mean()
        assert max(agree, 1 - agree) > 0.9
    if kind == "moved":
        assert first.classes == ("class 1", "class 0")
        assert world.moved[first.images].mean() > 0.9
        assert len(first.images) > 0.7 * (world.moved & tested).sum()
    if kind in ("appeared", "vanished"):
        assert world.some[first.images].mean() > 0.9
        assert first.classes == ()


@pytest.mark.parametrize("references", [0, 2])
@pytest.mark.parametrize("kind", ["merged", "split", "appeared"])
def test_without_labels_the_same_images_are_found(kind, references):
    world = World(seed=10 + KINDS.index(kind))
    report = world.compare(kind, references, labels=None)
    first = report.changes[0]
    planted = {"merged": LABELS < 2, "split": LABELS == 1, "appeared": world.some}[kind]
    assert first.kind == kind
    assert first.classes == ()
    assert planted[first.images].mean() > 0.9


@pytest.mark.parametrize("references", [0, 1, 2])
def test_networks_that_differ_by_rotation_and_noise_have_nothing_to_list(references):
    listed = [bool(World(seed=100 + seed).compare(None, references).changes) for seed in range(12)]
    assert sum(listed) <= 1


def test_nothing_is_found_among_labels_without_meaning():
    world = World(seed=3)
    shuffled = world.rng.permutation(LABELS)
    assert not world.compare(None, 2, labels=shuffled).changes


def test_rotation_scale_and_width_change_nothing():
    world = World(seed=1)
    views = [world.network(plant) for plant in (None, None, None, "merged")]
    turn, _ = np.linalg.qr(world.rng.normal(size=(2 * CHANNELS, 2 * CHANNELS)))
    wider = NetworkView(((views[-1].vectors - 5) @ turn[:CHANNELS] * 40).astype(np.float32))
    one, other = (find_changes(views[0], b, LABELS, NAMES, views[1:3], ids=IDS) for b in (views[-1], wider))
    assert [change.text for change in one.changes] == [change.text for change in other.changes]
    assert one.changes[0].score == pytest.approx(other.changes[0].score, rel=1e-3)


def test_the_sentence_and_its_figures_are_those_of_a_slow_count():
    world = World(seed=2)
    a, b = world.network(), world.network("merged")
    first = find_changes(a, b, LABELS, NAMES, ids=IDS).changes[0]
    tested = np.flatnonzero(halves(IDS))
    for view, told in ((a, first.before), (b, first.after)):
        rows = view.vectors - view.vectors.mean(0)
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True))[tested]
        across = among = 0
        for i in np.flatnonzero(LABELS[tested] < 2):
            near = np.argsort(-(rows @ rows[i]), kind="stable")
            for label in LABELS[tested][near[near != i][:10]]:
                across += label < 2 and label != LABELS[tested[i]]
                among += label < 2
        assert told == pytest.approx(across / among, abs=0.005)
    assert first.text.startswith("class 0 and class 1 lie together in B: ")
    figures = f"{100 * first.after:.0f} % of their neighbours are of the other class in B, "
    assert figures in first.text
    named = find_changes(a, b, LABELS, NAMES, ids=IDS, titles=("old", "new")).changes[0]
    assert named.text == first.text.replace("in B", "in new").replace("in A", "in old")


def test_the_classifiers_answers_are_told():
    world = World(seed=0)
    a, b = (world.network(plant).vectors for plant in (None, "merged"))
    mixed = np.where((LABELS == 1) & world.side, 0, LABELS)
    views = NetworkView(a, LABELS), NetworkView(b, mixed)
    tested = halves(IDS)
    share = 100 * (mixed != LABELS)[tested & (LABELS < 2)].mean()
    assert (
        f"B takes {share:.0f} % of them for the other class, A 0 %."
        in find_changes(*views, LABELS, NAMES, ids=IDS).changes[0].text
    )
    gathered = NetworkView(world.network("gathered").vectors, np.where(world.some, 5, LABELS))
    first = find_changes(views[0], gathered, LABELS, NAMES, ids=IDS).changes[0]
    right = 100 * (gathered.predictions == LABELS)[first.images].mean()
    assert f"B has {right:.0f} % of them right, A 100 %." in first.text


def test_the_list_is_ranked_and_tells_its_tests():
    report = World(seed=4).compare("merged", 2)
    scores = [change.score for change in report.changes]
    assert scores == sorted(scores, reverse=True)
    assert all(change.p <= report.level for change in report.changes)
    assert all(change.p > report.level for change in report.below)
    assert report.tests >= len(report.changes) + len(report.below)
    assert report.found_on + report.tested_on == IMAGES
    assert report.references == 2


def test_a_merge_is_told_once():
    changes = World(seed=0).compare("merged", 2).changes
    assert [change.about for change in changes].count("classes") == 1
    for change in changes[1:]:
        assert np.isin(change.images, changes[0].images).mean() <= 0.5


def test_classes_of_too_few_images_change_nothing_for_the_others():
    """They have no parts, so they must not be counted as parts that never vary."""
    world = World(seed=1)
    views = [world.network(), world.network(), world.network(), world.network("split")]
    rare = LABELS.copy()
    rare[LABELS == 5] = 5 + np.arange((LABELS == 5).sum()) % 40
    names = [f"class {i}" for i in range(45)]
    few = find_changes(views[0], views[-1], rare, names, views[1:3], ids=IDS).changes[0]
    none = find_changes(views[0], views[-1], np.where(LABELS == 5, -1, LABELS), NAMES[:5], views[1:3], ids=IDS).changes[
        0
    ]
    assert few.classes == none.classes == ("class 1",)
    assert few.score == pytest.approx(none.score)
    assert few.score < 100


def test_classes_that_never_meet_do_not_make_those_that_do_look_steady():
    """Sixty classes, twelve pairs of them alike: a retraining is no more surprising for the others being apart."""
    count, images = 60, 3000
    labels = np.arange(images) % count
    tested = halves([str(i) for i in range(images)])
    wide = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        centres = 3 * rng.normal(size=(count, 32))
        centres[1:24:2] = centres[0:24:2] + 0.5 * rng.normal(size=(12, 32))
        rows = centres[labels] + rng.normal(size=(images, 32))
        accounts = [Account((rows + rng.normal(size=rows.shape)).astype(np.float32), tested, 0) for _ in range(4)]
        found = compare_classes(Sides(tuple(accounts[:3]), accounts[3]), labels, count)
        assert {candidate.classes for candidate in found} >= {(i, i + 1) for i in range(0, 24, 2)}
        assert len(found) < 60  # of 1,770
        wide += [candidate.t for candidate in found if candidate.classes[1] == candidate.classes[0] + 1]
    assert np.std(wide) < 1.6  # about 2.1 with the others, 1.5 with one variance for all


def test_without_references_figures_vary_by_as_much_as_is_said():
    """Ten classes that meet, two networks that differ by noise alone: t has a standard deviation of 1.

    In standard errors of a bootstrap over images it is about 0.7; of single edges, as if drawn one by one, 1.4.
    """
    labels, t = np.arange(1500) % 10, []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        images = 0.5 * rng.normal(size=(10, 16))[labels] + 0.6 * rng.normal(size=(1500, 16))
        tested = halves([f"{seed}/{i}" for i in range(1500)])
        a, b = (Account((images + 0.35 * rng.normal(size=images.shape)).astype(np.float32), tested, 0) for _ in "ab")
        t += [candidate.t for candidate in compare_classes(Sides((a,), b), labels, 10)]
    assert len(t) > 400
    assert 0.9 < np.std(t) < 1.15
    assert abs(np.mean(t)) < 0.15


@pytest.mark.parametrize("references", [0, 2])
def test_classes_that_are_declared_and_absent_change_nothing(references):
    """Ten of ImageNet's thousand outputs in the data give what ten classes would."""
    world = World(seed=1)
    a, b, *others = (world.network(plant) for plant in (None, "merged", None, None))
    reports = []
    for declared in (CLASSES, 400):
        number = np.arange(CLASSES) * (declared // CLASSES)
        names = [f"absent {i}" for i in range(declared)]
        for of, name in zip(number, NAMES, strict=True):
            names[of] = name
        views = [
            NetworkView(one.vectors, number[answers]) for one, answers in ((a, LABELS), (b, np.minimum(LABELS, 4)))
        ]
        reports.append(find_changes(*views, number[LABELS], names, others[:references], ids=IDS))
    assert reports[0].tests == reports[1].tests
    told = [[(change.text, change.p, change.score) for change in report.changes] for report in reports]
    assert told[0]
    assert told[0] == told[1]


def test_one_class_and_unlabelled_images_are_no_trouble():
    world = World(seed=5)
    views = [world.network(), world.network()]
    for labels, names in (
        (np.zeros(IMAGES, int), ["only"]),
        (np.full(IMAGES, -1), NAMES),
        (np.where(LABELS < 3, LABELS, -1), NAMES),
    ):
        assert find_changes(*views, labels, names, ids=IDS).tests > 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("different", [1, 5])
def test_copies_of_a_few_images_are_no_trouble(different):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(different, 8)).astype(np.float32)[rng.integers(0, different, IMAGES)]
    assert not find_changes(NetworkView(rows), NetworkView(2 * rows), LABELS, NAMES, ids=IDS).changes


def test_the_same_network_has_not_changed():
    view = World(seed=6).network()
    assert not find_changes(view, view, LABELS, NAMES, ids=IDS).changes


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"ids": IDS[:60], "rows": 60}, "60 images are too few"),
        ({"rows": 899}, "needs one row for each image"),
        ({"labels": np.full(IMAGES, CLASSES)}, "do not fit 900 images and 6 class names"),
        ({"labels": LABELS[:5]}, "do not fit"),
        ({"fill": np.nan}, "not finite"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_sentence(change, sentence):
    rows = np.random.default_rng(0).normal(size=(change.get("rows", IMAGES), 4)).astype(np.float32)
    rows[0, 0] = change.get("fill", 0)
    ids = change.get("ids", IDS)
    labels = change.get("labels", LABELS[: len(ids)])
    with pytest.raises(DataError, match=sentence) as caught:
        find_changes(NetworkView(rows), NetworkView(rows), labels, NAMES, ids=ids)
    assert "\n" not in str(caught.value)
