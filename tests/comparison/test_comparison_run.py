"""A comparison from two atlases to a folder: its document, its map, its arrays, and what a second run does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from planted_networks import Pictures, clouds, write_network

from atlas.comparison import compare, plan, run
from atlas.errors import AtlasError, ConfigError, StoreError
from atlas.explorer.comparing import diff_columns, told
from atlas.findings.neighborhoods import jaccard, nearest_others
from atlas.storage import open_atlas
from atlas.storage.diff import ARRAYS, COLUMNS, DOCUMENT, Diff, open_diff
from atlas.storage.verify import describe, verify

PICTURES = Pictures.of(240, positions=2)
SAMPLE_LABELS = np.repeat(PICTURES.labels, 2)
A_ROWS = clouds(SAMPLE_LABELS, 12, seed=1)
MERGED = np.where(SAMPLE_LABELS == 1, 0, SAMPLE_LABELS)  # B takes bees for ants
B_ROWS = clouds(MERGED, 20, seed=2)
B_SAYS = np.where(PICTURES.labels == 1, 0, PICTURES.labels)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    write_network(folder, "a", A_ROWS, PICTURES, PICTURES.labels)
    write_network(folder, "b", B_ROWS, PICTURES, B_SAYS, weights="b")
    for i in range(2):
        write_network(
            folder, f"twin{i}", clouds(SAMPLE_LABELS, 12, seed=5 + i), PICTURES, PICTURES.labels, weights=f"{i}"
        )
    return folder


@pytest.fixture(scope="module")
def diff(home: Path) -> Diff:
    return compare(home / "a.atlas", home / "b.atlas", out=home / "ab.diff")


def test_the_answer_has_the_promised_keys(diff: Diff) -> None:
    told = json.loads(json.dumps(dict(diff.document)))
    assert all(isinstance(told[name], float) for name in ("cka", "procrustes", "neighbor_overlap"))
    assert told["noise_floor"]["kind"] == "sampling"
    for name in ("cka", "procrustes", "neighbor_overlap"):
        low, high = told["noise_floor"][name]
        assert low <= told[name] <= high
    for change in told["changes"]:
        assert set(change) >= {"kind", "score", "p", "images", "classes", "text"}
    assert [network["title"] for network in told["networks"]] == ["a", "b"]


def test_figures_are_those_of_the_rows(diff: Diff) -> None:
    image_of = np.repeat(np.arange(240), 2)
    near = [nearest_others(rows.astype(np.float16), image_of).indices for rows in (A_ROWS, B_ROWS)]
    np.testing.assert_allclose(diff.array("overlap")[0], jaccard(*near), atol=1e-6)
    assert diff.document["neighbor_overlap"] == pytest.approx(jaccard(*near).mean(), abs=1e-6)


def test_the_merged_pair_is_what_classes_and_flips_tell(diff: Diff) -> None:
    rows = {row["class"]: row for row in diff.document["classes"]}
    assert rows["bee"]["accuracy"] == [1.0, 0.0]
    assert rows["cat"]["accuracy"] == [1.0, 1.0]
    assert {name for name, row in rows.items() if row["flips"] > 0} == {"bee"}
    found = dict(rows["bee"]["effects"])
    assert found["ant"] > 2 > -2 > found["bee"]
    assert rows["bee"]["effects"][0][0] in ("ant", "bee")
    assert all(abs(change) < 1 for _, change in rows["cat"]["effects"])
    flip = diff.document["flips"][0]
    assert (flip["from"], flip["to"], flip["images"], flip["gained"], flip["lost"]) == ("bee", "ant", 60, 0, 60)
    assert all("/bee/" in name for name in flip["examples"])


def test_the_map_is_an_atlas_whose_layers_are_the_networks(diff: Diff) -> None:
    atlas = diff.atlas
    assert [layer.name for layer in atlas.layers] == ["a", "b"]
    one, other = (layer.layout.positions for layer in atlas.layers)
    np.testing.assert_array_equal(one, other)
    for ours, theirs in zip(*(layer.levels for layer in atlas.layers), strict=True):
        np.testing.assert_array_equal(ours.level.members, theirs.level.members)
    accuracy = [np.nanmean(layer.levels[0].statistics.accuracy) for layer in atlas.layers]
    assert accuracy[0] == 1 > accuracy[1]
    assert verify(atlas.path) == []
    assert describe(atlas.path)["kind"] == "diff"


def test_cells_tell_what_changed_in_them(diff: Diff) -> None:
    level = diff.atlas.layers[0].levels[0].level
    overlap, flips = diff.array("cells_0_overlap")[0], diff.array("cells_0_flips")[0]
    per_sample, label = diff.array("overlap")[0], PICTURES.labels
    for cell in range(len(level)):
        members = level.members[level.start[cell] : level.start[cell + 1]]
        assert overlap[cell] == pytest.approx(per_sample[members].mean(), abs=1e-6)
        images = np.unique(members // 2)
        assert flips[cell] == pytest.approx((label[images] == 1).mean(), abs=1e-6)
    bees = (flips > 0.9) & (level.samples > 1)  # the effects of some samples are not known
    # In a cell of bees, B's effect on "bee" fell and that on "ant" rose by what was planted.
    classes, values = diff.array("cells_0_effect_class")[0][bees], diff.array("cells_0_effect_change")[0][bees]
    for listed, change in zip(classes, values, strict=True):
        found = dict(zip(listed.tolist(), change.tolist(), strict=True))
        assert found[0] > 2 > -2 > found[1]


def test_icons_are_borrowed_from_the_network_s_own_atlas(diff: Diff, home: Path) -> None:
    """A planted icon's grey tells its cell: the most alike of the own atlas, by the cosine that is told."""
    layer, own = diff.atlas.layers[1], open_atlas(home / "b.atlas").layers[0].levels[0]
    level, cosine = layer.levels[0], diff.array("cells_0_borrowed")[1]
    mean = B_ROWS.astype(np.float16).astype(float).mean(axis=0)

    def turned(rows: np.ndarray) -> np.ndarray:
        return (rows - mean) / np.linalg.norm(rows - mean, axis=1, keepdims=True)

    shown = np.flatnonzero(own.has_icon)
    alike = turned(level.statistics.mean) @ turned(own.statistics.mean[shown]).T
    np.testing.assert_allclose(cosine, alike.max(axis=1), atol=1e-3)
    assert level.has_icon.any()
    for cell in np.flatnonzero(level.has_icon):
        assert cosine[cell] >= 0.8
        np.testing.assert_array_equal(level.icon(cell), own.icon(int(shown[alike[cell].argmax()])))
    assert not level.has_icon[cosine < 0.8].any()
    drawn = np.flatnonzero(level.has_icon)
    for cell in drawn:  # an icon that another cell has more right to is marked so
        source = alike[cell].argmax()
        assert level.trust.nearest[cell] == drawn[alike[drawn, source].argmax()]
        assert level.trust.believable[cell] == (level.trust.nearest[cell] == cell)


def test_columns_colour_images_by_change(diff: Diff) -> None:
    from atlas.explorer.columns import ColumnTable

    joined = ColumnTable(diff.atlas.path / COLUMNS).join(diff.atlas.images.ids)
    columns = {column.name: column for column in joined.columns}
    assert set(columns) >= {"change", "prediction change", "b says"}
    if diff.changes:
        assert columns["what changed"].categories[0] in {change["name"] for change in diff.changes}
    assert set(columns["prediction change"].categories) == {"right in both", "right, then wrong"}


def test_references_tell_what_retraining_changes(home: Path) -> None:
    twins = [home / "twin0.atlas", home / "twin1.store"]
    told = compare(home / "a.atlas", home / "b.atlas", out=home / "floor.diff", references=twins)
    floor = told.document["noise_floor"]
    assert floor["kind"] == "retrained"
    assert floor["references"] == ["twin0", "twin1"]
    one = compare(home / "a.atlas", home / "twin0.atlas", out=home / "pair.diff").document
    assert all(floor[name][0] <= one[name] <= floor[name][1] for name in ("cka", "procrustes", "neighbor_overlap"))
    assert told.document["neighbor_overlap"] < floor["neighbor_overlap"][0]
    rows = {row["class"]: row for row in told.document["classes"]}
    assert rows["bee"]["p"] < 0.01 < rows["cat"]["p"]
    assert "change beyond retraining" in (told.atlas.path / COLUMNS).read_text().splitlines()[0]


def test_a_reference_that_is_one_of_the_networks_is_refused(home: Path, tmp_path: Path) -> None:
    for copy in ("a", "b"):
        with pytest.raises(ConfigError, match="is the same network as"):
            compare(
                home / "a.atlas", home / "b.atlas", out=tmp_path / "x.diff",
                references=[home / f"{copy}.store", home / "twin0.atlas"],
            )  # fmt: skip
    unknown = write_network(tmp_path, "unknown", A_ROWS, PICTURES, PICTURES.labels, weights="of another hash")
    with pytest.raises(ConfigError, match="have the same neighbours throughout"):
        compare(home / "a.atlas", home / "b.atlas", out=tmp_path / "x.diff", references=[unknown])


def test_predictions_of_another_numbering_are_not_held_against_labels(home: Path, tmp_path: Path) -> None:
    """Outputs that are no names of the classes: a perfect network is not wrong throughout."""
    outputs = ("0", "1", "2", "3")
    atlases = [
        write_network(tmp_path, name, rows, PICTURES, PICTURES.labels, weights=name, outputs=outputs)
        for name, rows in (("one", A_ROWS), ("two", B_ROWS))
    ]
    told = compare(*atlases, out=tmp_path / "x.diff").document
    assert all(row["accuracy"] == [None, None] for row in told["classes"])
    assert not any("takes" in change["text"] for change in told["changes"])


def test_the_same_network_is_told_at_once(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = write_network(tmp_path, "copy", A_ROWS, PICTURES, PICTURES.labels)
    monkeypatch.setattr(run, "account_of", lambda *_: pytest.fail("it was measured"))
    found = compare(home / "a.atlas", copy, out=tmp_path / "same.diff")
    assert found.same
    assert found.path is None
    assert not (tmp_path / "same.diff").exists()
    assert (found.document["cka"], found.document["procrustes"], found.document["changes"]) == (1.0, 0.0, [])
    with pytest.raises(StoreError, match="no map of differences"):
        _ = found.atlas


def test_many_checkpoints_give_a_curve_and_a_layer_each(home: Path) -> None:
    names = ["a.atlas", "twin0.atlas", "b.atlas"]
    found = compare(*(home / name for name in names), out=home / "steps.diff")
    assert [layer.name for layer in found.atlas.layers] == ["a", "twin0", "b"]
    points = found.document["curve"]
    assert [point["title"] for point in points] == ["twin0", "b"]
    assert points[0]["first"] == points[0]["previous"]
    between = compare(home / "twin0.atlas", home / "b.atlas", out=home / "between.diff").document
    for name in ("cka", "procrustes", "neighbor_overlap"):
        assert points[1]["previous"][name] == pytest.approx(between[name], abs=1e-9)
        assert points[1]["first"][name] == found.document[name]
    assert found.array("overlap").shape == (2, 480)


def test_a_whole_comparison_is_left_and_another_refused(
    diff: Diff, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p: p.stat().st_mtime_ns for p in diff.atlas.path.rglob("*") if p.is_file()}
    with monkeypatch.context() as patched:
        patched.setattr(run, "account_of", lambda *_: pytest.fail("it was measured again"))
        again = compare(home / "a.atlas", home / "b.atlas", out=diff.path)
    assert again.document == diff.document
    assert {p: p.stat().st_mtime_ns for p in diff.atlas.path.rglob("*") if p.is_file()} == before
    with pytest.raises(StoreError, match=r"is another comparison: use --force"):
        compare(home / "a.atlas", home / "twin0.atlas", out=diff.path)
    with pytest.raises(ConfigError, match=r"end it in \.diff"):
        compare(home / "a.atlas", home / "b.atlas", out="ab.atlas")


@pytest.mark.parametrize("after", ["write_images", "write_network", "write_diff_files"])
def test_a_stopped_comparison_goes_on_with_its_own_map(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    out = tmp_path / "x.diff"
    made = getattr(run, after)

    def stop(*told: object, **more: object) -> object:
        made(*told, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, after, stop)
        with pytest.raises(KeyboardInterrupt):
            compare(home / "a.atlas", home / "b.atlas", out=out)
    assert verify(out) == ["the comparison is not finished: the same command as before goes on"]
    unfinished = open_atlas(out)
    assert told(unfinished) is None or after == "write_diff_files"  # the explorer shows what there is
    assert after == "write_diff_files" or diff_columns(unfinished) == ()
    positions = [layer.layout.positions for layer in unfinished.layers]
    found = compare(home / "a.atlas", home / "b.atlas", out=out)
    assert verify(out) == []
    for before in positions:
        np.testing.assert_array_equal(found.atlas.layers[0].layout.positions, before)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (DOCUMENT, b"{", "damaged"),
        (DOCUMENT, b'{"kind": "diff", "schema": 2}', "has schema 2, this version reads 1"),
        (DOCUMENT, b'{"kind": "diff", "schema": 1, "cka": "high"}', "'of' is missing"),
        (DOCUMENT, b"[]", "of another kind"),
    ],
)
def test_damage_is_one_sentence(diff: Diff, tmp_path: Path, name: str, content: bytes, told: str) -> None:
    folder = tmp_path / "x.diff"
    folder.mkdir()
    (folder / name).write_bytes(content)
    with pytest.raises(StoreError, match=told):
        open_diff(folder)


def test_verify_names_a_changed_file(diff: Diff, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "x.diff"
    shutil.copytree(diff.atlas.path, folder)
    with (folder / ARRAYS).open("r+b") as file:
        file.seek(200)
        file.write(b"\xff\xff")
    assert verify(folder) == [f"{ARRAYS} has changed: its hash is not the recorded one"]
    (folder / COLUMNS).unlink()
    assert f"{COLUMNS} is missing" in verify(folder)


def test_nothing_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="two atlases or more"):
        compare(tmp_path / "a.atlas")
    with pytest.raises(StoreError, match="is not a comparison"):
        open_diff(tmp_path)
    with pytest.raises(StoreError, match=r"none\.diff does not exist: name a comparison"):
        open_diff(tmp_path / "none.diff")
    (tmp_path / "one.diff").write_text("text")
    with pytest.raises(StoreError, match=r"one\.diff is a file"):
        open_diff(tmp_path / "one.diff")


def test_a_deterministic_comparison_is_the_same_on_any_number_of_cores(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads of t-SNE add forces up in their own order, and a map is chaotic: nothing else of a comparison moves."""
    from atlas.layouts import forces, place

    monkeypatch.setattr(place, "PARALLEL_ROWS", 100)
    monkeypatch.setattr(forces, "EXACT_POINTS", 100)
    arrays: dict[bool, list[list[np.ndarray]]] = {False: [], True: []}
    for cores in (1, 3):
        monkeypatch.setattr(plan.os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        for deterministic, found in arrays.items():
            out = tmp_path / f"{deterministic}-{cores}.diff"
            diff = compare(home / "a.atlas", home / "b.atlas", out=out, deterministic=deterministic)
            assert diff.atlas.provenance["deterministic"] == deterministic
            found.append([diff.atlas.layers[0].layout.positions, diff.array("overlap"), diff.array("cells_0_shift")])
    for one, other in zip(*arrays[True], strict=True):
        np.testing.assert_array_equal(one, other)
    positions, overlap = zip(*(some[:2] for some in arrays[False]), strict=True)
    assert (positions[0] != positions[1]).any()
    np.testing.assert_array_equal(*overlap)


def test_networks_of_one_fingerprint_only(home: Path) -> None:
    """Everything that shapes a comparison is in its fingerprint."""
    from atlas.comparison.networks import open_networks

    one, other = open_networks([home / "a.atlas", home / "b.atlas"])
    told = {
        plan.Plan(networks, references, Path("x.diff"), seed, False, deterministic=steady).fingerprint
        for networks in ((one, other), (other, one))
        for references in ((), (other,))
        for seed in (0, 1)
        for steady in (False, True)
    }
    assert len(told) == 16


def test_too_few_images_for_changes_are_told_not_called_unchanged(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from atlas.console import say_diff

    pictures = Pictures.of(40)
    paths = [
        write_network(tmp_path, name, clouds(pictures.labels, 10, seed=i), pictures, weights=name)
        for i, name in enumerate("ab")
    ]
    found = compare(*paths, out=tmp_path / "x.diff")
    assert found.document["notes"][1].startswith("Changes were not looked for: 40 images are too few")
    say_diff(found)
    assert "no group of images" not in capsys.readouterr().out
    page = told(found.atlas)
    assert page is not None
    assert not page["tested"]
