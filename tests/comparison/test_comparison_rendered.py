"""Icons of the shared map's own cells, rendered by each network, and who may render them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from planted_networks import Pictures, clouds, write_network

import atlas
from atlas.comparison import compare, shared_map
from atlas.errors import AtlasError, ConfigError, StoreError
from atlas.job import open_job
from atlas.pipeline import build
from atlas.storage.diff import Diff
from atlas.storage.verify import verify
from tests.tiny import NETWORK, write_tiny_pipeline


def write_other_pipeline(folder: Path) -> Path:
    """The tiny pipeline with other weights."""
    (folder / "tinyother.py").write_text(NETWORK.replace("manual_seed(3)", "manual_seed(4)"))
    path = folder / "other.toml"
    path.write_text((folder / "tiny.toml").read_text().replace("tinynet", "tinyother"))
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    one = write_tiny_pipeline(folder, images=120)
    build(one, folder / "one.atlas")
    build(write_other_pipeline(folder), folder / "two.atlas")
    return folder


@pytest.fixture(scope="module", autouse=True)
def two_levels() -> Iterator[None]:
    """Two levels on every map: so few samples would get one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_map, "measure_levels", lambda *args, **told: 2)
        yield


@pytest.fixture(scope="module")
def diff(home: Path) -> Diff:
    pipelines = home / "tiny.toml", home / "other.toml"
    return compare(home / "one.atlas", home / "two.atlas", layers=["3"], pipelines=pipelines, out=home / "own.diff")


def test_every_cell_has_its_own_icon_in_both_networks(diff: Diff) -> None:
    assert diff.document["rendered_levels"] == 2
    for z in (0, 1):
        one, two = (layer.levels[z] for layer in diff.atlas.layers)
        assert one.has_icon.any()
        np.testing.assert_array_equal(one.has_icon, one.level.kept)
        np.testing.assert_array_equal(two.has_icon, one.level.kept)
        assert np.isnan(diff.array(f"cells_{z}_borrowed")).all()
        assert np.isfinite(one.scores.robust[one.has_icon]).all()
    assert "Icons of the 2 coarsest levels were rendered for these cells" in diff.document["notes"][0]
    assert verify(diff.atlas.path) == []


@pytest.mark.parametrize(("number", "name"), [(0, "tiny.toml"), (1, "other.toml")])
def test_an_icon_is_of_the_cell_s_mean_in_its_network(diff: Diff, home: Path, number: int, name: str) -> None:
    level = diff.atlas.layers[number].levels[0]
    cells = np.flatnonzero(level.level.kept)
    told = level.statistics.mean
    mean = np.average(told.astype(np.float64), axis=0, weights=level.level.samples).astype(np.float32)
    job = open_job(home / name)
    icons = atlas.render_icons(job.model, "3", told[cells], size=32, steps=4, deterministic=True, mean=mean)
    for cell, picture in zip(cells, icons.images, strict=True):
        np.testing.assert_array_equal(level.icon(int(cell)), picture)


def test_a_stopped_run_takes_its_icons_from_the_cache(
    diff: Diff, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second network fails after the first one's icons; the second run renders those of the second alone."""
    from atlas.rendering import engine, icons

    drawn = []
    optimise = engine.optimise

    def counted(*args: object, **told: object) -> object:
        drawn.append(1)
        if len(drawn) > stop:
            raise KeyboardInterrupt
        return optimise(*args, **told)

    monkeypatch.setattr(icons, "optimise", counted)

    def again() -> Diff:
        pipelines = home / "tiny.toml", home / "other.toml"
        out = tmp_path / "x.diff"
        return compare(home / "one.atlas", home / "two.atlas", layers=["3"], pipelines=pipelines, out=out)

    stop = 3
    with pytest.raises(KeyboardInterrupt):
        again()
    stop, before = 10**6, len(drawn) - 1
    found = again()
    total = len(drawn) - 1
    assert before == 3
    for ours, theirs in zip(found.atlas.layers, diff.atlas.layers, strict=True):
        for level, other in zip(ours.levels[:2], theirs.levels[:2], strict=True):
            for cell in np.flatnonzero(level.has_icon):
                np.testing.assert_array_equal(level.icon(int(cell)), other.icon(int(cell)))
    again()
    assert len(drawn) - 1 == total


def test_without_pipelines_icons_are_borrowed_and_it_says_so(diff: Diff, home: Path, tmp_path: Path) -> None:
    found = compare(home / "one.atlas", home / "two.atlas", layers=["3"], out=tmp_path / "x.diff")
    assert found.document["rendered_levels"] == 0
    assert found.document["notes"][0].startswith("Icons are borrowed")
    assert found.document["notes"][0] in found.atlas.notes
    assert np.isfinite(found.array("cells_0_borrowed")).any()
    with pytest.raises(StoreError, match="another comparison"):
        compare(home / "one.atlas", home / "two.atlas", layers=["3"], out=diff.atlas.path)


def test_two_datasets_have_icons_of_their_own_cells(home: Path, tmp_path: Path) -> None:
    (home / "train.toml").write_text('name = "more"\nsource = "shapes"\nsplit = "train"\nimages = 120\n')
    pipeline = home / "train_pipeline.toml"
    pipeline.write_text((home / "tiny.toml").read_text().replace("pictures.toml", "train.toml"))
    build(pipeline, tmp_path / "train.atlas")
    found = compare(
        home / "one.atlas", tmp_path / "train.atlas", pipelines=[home / "tiny.toml", pipeline], out=tmp_path / "x.diff"
    )
    assert found.document["of"] == "datasets"
    for layer in found.atlas.layers:
        level = layer.levels[0]
        assert level.has_icon.any()
        np.testing.assert_array_equal(level.has_icon, level.level.kept)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["tiny.toml"], "1 pipelines for 2 atlases"),
        (["other.toml", "tiny.toml"], "other weights"),
        (["tiny.toml", "bright.toml"], "another preprocessing"),
        (["tiny.toml", "before.toml"], "another extract.tap"),
        (["tiny.toml", "large.toml"], "another icons.size"),
    ],
)
def test_a_pipeline_of_another_network_is_refused(home: Path, tmp_path: Path, names: list[str], words: str) -> None:
    told = (home / "other.toml").read_text()
    (home / "bright.toml").write_text(told.replace("mean = [0.5]", "mean = [0.4]"))
    (home / "before.toml").write_text(told.replace("[extract]", '[extract]\ntap = "input"'))
    (home / "large.toml").write_text(told.replace("size = 32", "size = 48"))
    with pytest.raises(AtlasError, match=words) as caught:
        compare(
            home / "one.atlas", home / "two.atlas", pipelines=[home / name for name in names], out=tmp_path / "x.diff"
        )
    assert isinstance(caught.value, ConfigError if "pipelines for" in words else StoreError)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.diff").exists()


def test_a_store_that_knows_no_network_cannot_be_held_against_one(home: Path, tmp_path: Path) -> None:
    """Its weights are another's: arrays that were imported have none at all."""
    pictures = Pictures.of(60)
    for i, name in enumerate("ab"):
        write_network(tmp_path, name, clouds(pictures.labels, 6, seed=i), pictures, pictures.labels, weights=name)
    with pytest.raises(StoreError, match="has other weights"):
        compare(tmp_path / "a.atlas", tmp_path / "b.atlas", pipelines=[home / "tiny.toml"] * 2)
