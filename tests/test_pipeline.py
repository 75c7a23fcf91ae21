"""The whole way from a manifest to an atlas: what it holds, and that it can be killed at any moment."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from atlas.errors import ConfigError, DataError, LayoutError, StoreError
from atlas.job import open_job
from atlas.layouts import bin_into_cells
from atlas.mapping import mean_of
from atlas.pipeline import build, extract_store, render_levels
from atlas.records import Icons
from atlas.rendering import faded, render_icons
from atlas.storage import open_atlas, open_store
from atlas.storage.verify import describe, verify
from tests.tiny import write_tiny_pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny pipeline and its finished atlas."""
    folder = tmp_path_factory.mktemp("tiny")
    build(write_tiny_pipeline(folder), folder / "whole.atlas")
    return folder


def test_an_atlas_holds_what_its_description_says(folder: Path) -> None:
    found = describe(folder / "whole.atlas")
    assert (found["kind"], found["images"]) == ("atlas", 96)
    assert [layer["name"] for layer in found["layers"]] == ["1", "3"]
    for layer in found["layers"]:
        assert (layer["samples"], layer["pool"]) == (192, "sample")
        assert [level["level"] for level in layer["levels"]] == [0, 1]
        assert all(0 < level["icons"] <= level["cells"] for level in layer["levels"])
    assert found["provenance"]["store"]["path"] == "../whole.store/index.h5"
    assert found["provenance"]["pipeline"]["path"] == "../tiny.toml"
    assert verify(folder / "whole.atlas") == []
    assert verify(folder / "whole.store") == []


def test_cells_agree_with_the_store_by_a_slow_loop(folder: Path) -> None:
    atlas, store = open_atlas(folder / "whole.atlas"), open_store(folder / "whole.store")
    layer = atlas.layer("3")
    stored = store.layers["3"]
    rows = np.asarray(stored.rows("positions")[:], np.float64)
    image_of = stored.image_of("positions")
    positions = layer.samples.positions
    for level in layer.levels:
        grid, statistics = level.level, level.statistics
        for cell in range(len(grid)):
            left, bottom = grid.column[cell] / grid.side, grid.row[cell] / grid.side
            inside = [
                row
                for row, (x, y) in enumerate(positions)
                if min(int(x * grid.side), grid.side - 1) / grid.side == left
                and min(int(y * grid.side), grid.side - 1) / grid.side == bottom
                and layer.samples.state[row] in (0, 1, 3)
            ]
            assert inside == list(grid.members[grid.start[cell] : grid.start[cell + 1]])
            assert grid.images[cell] == len(set(image_of[inside]))
            np.testing.assert_allclose(statistics.mean[cell], rows[inside].mean(0), rtol=1e-3, atol=1e-4)
            images = sorted(set(image_of[inside]))
            hits = [store.images.label[i] == store.images.prediction[i] for i in images]
            np.testing.assert_allclose(statistics.accuracy[cell], np.mean(hits), rtol=1e-5)
            patches = [p for p in statistics.patches[cell] if p >= 0]
            assert set(patches) <= set(inside)
            assert len({image_of[p] for p in patches}) == len(patches)


def test_a_finished_atlas_is_left_as_it_is(folder: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (folder / "whole.atlas").rglob("*")}
    stages: list[str] = []
    build(folder / "tiny.toml", folder / "whole.atlas", progress=lambda stage, *_: stages.append(stage))
    assert stages == []
    assert before == {p: p.stat().st_mtime_ns for p in (folder / "whole.atlas").rglob("*")}


def test_another_configuration_is_refused_before_any_work(folder: Path) -> None:
    stages: list[str] = []
    for override in ("run.seed=1", "layout.method=pca", "extract.positions=3", "icons.size=48", "data.limit=50"):
        with pytest.raises(StoreError, match="another configuration"):
            build(
                folder / "tiny.toml",
                folder / "whole.atlas",
                overrides=[override],
                progress=lambda stage, *_: stages.append(stage),
            )
    assert stages == []


def test_how_much_memory_icons_may_take_is_no_part_of_the_atlas(folder: Path) -> None:
    stages: list[str] = []
    build(
        folder / "tiny.toml",
        folder / "whole.atlas",
        overrides=["icons.memory=0.5"],
        progress=lambda stage, *_: stages.append(stage),
    )
    assert stages == []


def test_an_atlas_goes_on_with_the_map_that_it_holds(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(stage: str, done: int, total: int) -> None:
        if stage.endswith("patches") and "cell" not in stage:
            raise Stopped

    pipeline = write_tiny_pipeline(tmp_path, images=48)
    overrides = ["run.deterministic=false", "icons.levels=0", "layout.method=umap"]
    with pytest.raises(Stopped):
        build(pipeline, tmp_path / "a.atlas", overrides=overrides, progress=stop)
    shutil.rmtree(tmp_path / "a.work")  # it may be deleted at any time
    built = build(pipeline, tmp_path / "a.atlas", overrides=overrides)
    for layer in built.layers:
        expected = bin_into_cells(layer.layout, np.asarray(layer.samples.image, np.int64), level=0, min_images=2)
        assert np.array_equal(layer.levels[0].level.members, expected.members)


def test_an_older_atlas_is_refused_before_any_work(tmp_path: Path) -> None:
    pipeline = write_tiny_pipeline(tmp_path, images=24)
    build(pipeline, tmp_path / "a.atlas", overrides=["icons.levels=0"])
    header = tmp_path / "a.atlas" / "atlas.json"
    header.write_text(header.read_text().replace('"schema": 2', '"schema": 1'))
    stages: list[str] = []
    with pytest.raises(StoreError, match="older than the 2"):
        build(pipeline, tmp_path / "a.atlas", force=True, progress=lambda stage, *_: stages.append(stage))
    assert stages == []


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (['layout.between=["boat", "bot"]'], "layout.between names 'bot'"),
        (['layout.classes=["bot"]'], "layout.classes names 'bot'"),
        (['layout.between=["boat", "car"]', "extract.effects=0"], "needs effects"),
        (['layout.between=["boat", "car"]', 'layout.classes=["boat"]'], "leave out layout.classes"),
    ],
)
def test_classes_that_are_not_there_are_told_before_any_work(
    tmp_path: Path, overrides: list[str], sentence: str
) -> None:
    pipeline = write_tiny_pipeline(tmp_path, images=24)
    with pytest.raises(ConfigError, match=sentence):
        build(pipeline, tmp_path / "a.atlas", overrides=overrides)
    assert not (tmp_path / "a.store").exists()


def test_force_replaces(tmp_path: Path) -> None:
    pipeline = write_tiny_pipeline(tmp_path, images=48)
    build(pipeline, tmp_path / "a.atlas", overrides=["icons.levels=0"])
    again = build(pipeline, tmp_path / "a.atlas", overrides=["icons.levels=0", "extract.positions=1"], force=True)
    assert len(again.layers[0].samples) == 48
    assert verify(tmp_path / "a.atlas") == []


def test_deeper_icons_can_be_rendered_later(tmp_path: Path) -> None:
    pipeline = write_tiny_pipeline(tmp_path, images=48)
    overrides = ["icons.levels=1"]
    shallow = build(pipeline, tmp_path / "a.atlas", overrides=overrides)
    assert not shallow.layers[0].levels[1].has_icon.any()
    deep = render_levels(pipeline, tmp_path / "a.atlas", levels=2, overrides=overrides)
    level = deep.layers[0].levels[1]
    assert (level.has_icon == level.level.kept).all()
    assert verify(tmp_path / "a.atlas") == []
    with pytest.raises(StoreError, match="another configuration"):
        render_levels(pipeline, tmp_path / "a.atlas", overrides=["run.seed=9"])
    with pytest.raises(ConfigError, match=rf"a\.atlas has {len(deep.layers[0].levels)} levels, not 9: ask for fewer"):
        render_levels(pipeline, tmp_path / "a.atlas", levels=9, overrides=overrides)


def test_a_finer_icon_starts_from_that_of_the_cell_most_like_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = write_tiny_pipeline(tmp_path, images=48)
    seen: list[tuple[np.ndarray, np.ndarray | None, Icons]] = []

    def watched(model: object, layer: str, directions: np.ndarray, **options: Any) -> Icons:
        icons = render_icons(model, layer, directions, **options)  # type: ignore[arg-type]
        seen.append((directions, options["starts"], icons))
        return icons

    monkeypatch.setattr("atlas.pipeline.render_icons", watched)
    atlas = build(pipeline, tmp_path / "a.atlas", overrides=["icons.levels=2", 'model.layers=["1"]'])
    (above, none, icons), (below, starts, _) = seen
    assert none is None
    coarsest = atlas.layers[0].levels[0]
    mean = mean_of(coarsest.level, coarsest.statistics)
    for start, direction in zip(starts, below, strict=True):
        own = direction - mean
        likeness = [own @ (other - mean) / np.linalg.norm(own) / np.linalg.norm(other - mean) for other in above]
        np.testing.assert_array_equal(start, faded(icons.images)[int(np.argmax(likeness))])


def test_an_unfinished_atlas_is_not_rendered_but_built_on(tmp_path: Path) -> None:
    pipeline = write_tiny_pipeline(tmp_path, images=48)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "1: patches":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(pipeline, tmp_path / "a.atlas", progress=stop)
    with pytest.raises(StoreError, match="not finished"):
        render_levels(pipeline, tmp_path / "a.atlas")
    assert build(pipeline, tmp_path / "a.atlas").complete
    assert verify(tmp_path / "a.atlas") == []


def test_an_atlas_that_lost_a_file_is_mended_by_building_again(tmp_path: Path) -> None:
    pipeline = write_tiny_pipeline(tmp_path, images=48)
    build(pipeline, tmp_path / "a.atlas")
    before = arrays_of(tmp_path, "a")
    next((tmp_path / "a.atlas").rglob("cells.npz")).unlink()
    next((tmp_path / "a.atlas").glob("thumbnails/*.jpg")).unlink()
    build(pipeline, tmp_path / "a.atlas")
    assert arrays_of(tmp_path, "a") == before
    assert verify(tmp_path / "a.atlas") == []


def test_a_level_without_a_full_cell_has_no_icons(tmp_path: Path) -> None:
    pipeline = write_tiny_pipeline(tmp_path, images=24)
    overrides = ["grid.levels=3", "grid.min_images=6", "icons.levels=3"]
    built = build(pipeline, tmp_path / "a.atlas", overrides=overrides)
    deepest = built.layers[0].levels[2]
    assert not deepest.level.kept.any()
    assert not deepest.has_icon.any()
    assert verify(tmp_path / "a.atlas") == []


def test_a_remedy_can_be_followed(tmp_path: Path) -> None:
    pipeline = write_tiny_pipeline(tmp_path, images=24)
    with pytest.raises(LayoutError, match="neighbors"):
        build(pipeline, tmp_path / "a.atlas", overrides=["layout.neighbors=5000"])
    assert build(pipeline, tmp_path / "a.atlas").complete


def test_other_labels_are_another_configuration(tmp_path: Path) -> None:
    pipeline = write_tiny_pipeline(tmp_path, images=24)
    names = list(open_job(pipeline).source.classes)
    table = tmp_path / "classes.csv"
    table.write_text("index,name,folder\n" + "".join(f"{i},{n},{n}\n" for i, n in enumerate(names)))
    overrides = ["model.classes=classes.csv"]
    straight = open_job(pipeline, overrides).fingerprint
    swapped = [names[1], names[0], *names[2:]]
    table.write_text(
        "index,name,folder\n" + "".join(f"{i},{n},{f}\n" for i, (n, f) in enumerate(zip(names, swapped, strict=True)))
    )
    assert open_job(pipeline, overrides).fingerprint != straight


def test_a_picture_that_went_bad_leaves_a_grey_slot(tmp_path: Path) -> None:
    pipeline = write_tiny_pipeline(tmp_path, images=24)
    pictures = tmp_path / "pictures"
    source = open_job(pipeline).source
    for i, entry in enumerate(source.entries()):
        path = pictures / f"{entry.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        source.read(i).save(path)
    (tmp_path / "pictures.toml").write_text('name = "pictures"\nsource = "folder"\npath = "pictures"\n')
    victim = sorted(pictures.rglob("*.png"))[3]

    def spoil(stage: str, done: int, total: int) -> None:
        if "t-SNE" in stage and victim.stat().st_size:
            victim.write_bytes(victim.read_bytes()[:100].ljust(victim.stat().st_size, b"x"))

    built = build(pipeline, tmp_path / "a.atlas", progress=spoil)
    assert built.complete
    grey, drawn = (built.thumbnail(i)[24:72, 24:72].astype(int) - 128 for i in (3, 2))
    assert abs(grey).max() <= 8  # JPEG rings a little from the neighbouring slots
    assert abs(drawn).max() > 30


def test_an_extraction_without_predictions_ends_at_the_layer(tmp_path: Path) -> None:
    pipeline = write_tiny_pipeline(tmp_path, images=24)
    overrides = ["extract.predictions=false", "extract.effects=0"]
    store = extract_store(pipeline, tmp_path / "a.store", overrides=overrides)
    assert store.accuracy is None
    assert (store.images.prediction == -1).all()


def test_what_is_worth_a_warning_is_told(folder: Path) -> None:
    notes = open_atlas(folder / "whole.atlas").header.notes
    assert notes == tuple(open_store(folder / "whole.store").notes)
    assert any("no better than guessing" in note for note in notes)  # the weights are random


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        (["run.seed=-1"], ConfigError, "'run.seed' is -1"),
        (["model.layers=['9']"], Exception, "no layer '9'"),
        (["layout.rows=cls"], ConfigError, "set layout.rows to one of"),
        (["data.manifest=absent.toml"], ConfigError, "absent.toml does not exist"),
        (["model.classes=absent.txt"], DataError, "absent.txt"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, overrides: list[str], error: type[Exception], words: str) -> None:
    pipeline = write_tiny_pipeline(tmp_path, images=24)
    with pytest.raises(error) as caught:
        build(pipeline, tmp_path / "a.atlas", overrides=overrides)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_name_of_an_output_is_checked(tmp_path: Path) -> None:
    pipeline = write_tiny_pipeline(tmp_path, images=24)
    with pytest.raises(ConfigError, match=r"end it in \.atlas"):
        build(pipeline, tmp_path / "a")
    with pytest.raises(ConfigError, match=r"end it in \.store"):
        extract_store(pipeline, tmp_path / "a")


def arrays_of(folder: Path, name: str) -> dict[str, bytes]:
    """Every array of a store and an atlas, and every picture file, as bytes."""
    found = {}
    for part in sorted((folder / f"{name}.store").rglob("*.h5")):
        with h5py.File(part) as file:
            file.visititems(
                lambda key, item, part=part: (
                    found.__setitem__(f"{part.name}/{key}", np.asarray(item[()]).tobytes())
                    if isinstance(item, h5py.Dataset) and item.dtype.kind != "O"
                    else None
                )
            )
    for path in sorted((folder / f"{name}.atlas").rglob("*")):
        if path.is_file() and path.name != "atlas.json":
            found[str(path.relative_to(folder / f"{name}.atlas"))] = path.read_bytes()
    return found


def _build_and_die(pipeline: Path, out: Path, stage: str, at: int) -> None:
    """Build in a child that kills itself with SIGKILL at the at-th report of a stage."""
    reports = 0

    def progress(name: str, done: int, total: int) -> None:
        nonlocal reports
        if name == stage:
            reports += 1
            if reports > at:
                os.kill(os.getpid(), signal.SIGKILL)

    build(pipeline, out, progress=progress)


@pytest.mark.slow
def test_killed_in_every_stage_it_goes_on_to_the_same_atlas(folder: Path, tmp_path: Path) -> None:
    stages: dict[str, int] = {}
    build(
        folder / "tiny.toml",
        tmp_path / "reference.atlas",
        progress=lambda stage, *_: stages.__setitem__(stage, stages.get(stage, 0) + 1),
    )
    reference = arrays_of(tmp_path, "reference")
    assert reference == arrays_of(folder, "whole")  # deterministic at all
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["atlas.pipeline"])
    chance = random.Random(0)
    for stage, reports in stages.items():
        child = context.Process(
            target=_build_and_die,
            args=(folder / "tiny.toml", tmp_path / "killed.atlas", stage, chance.randrange(reports)),
        )
        child.start()
        child.join(120)
        assert child.exitcode in (-signal.SIGKILL, 0), stage
    build(folder / "tiny.toml", tmp_path / "killed.atlas")
    assert arrays_of(tmp_path, "killed") == reference
    assert verify(tmp_path / "killed.atlas") == []


@pytest.mark.slow
def test_killed_at_random_moments_it_goes_on_to_the_same_atlas(folder: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["atlas.pipeline"])
    chance = random.Random(1)
    for _ in range(5):
        child = context.Process(target=build, args=(folder / "tiny.toml", tmp_path / "killed.atlas"))
        child.start()
        time.sleep(chance.uniform(0.5, 5))
        child.kill()
        child.join()
    build(folder / "tiny.toml", tmp_path / "killed.atlas")
    assert arrays_of(tmp_path, "killed") == arrays_of(folder, "whole")
    assert verify(tmp_path / "killed.atlas") == []
    header = json.loads((tmp_path / "killed.atlas" / "atlas.json").read_text())
    assert header["complete"]


@pytest.mark.real
@pytest.mark.slow
def test_cifar10_through_resnet20_reports_its_known_accuracy(repository: Path, tmp_path: Path) -> None:
    store = extract_store(repository / "pipelines" / "cifar10_resnet20.toml", tmp_path / "cifar.store")
    assert store.accuracy == pytest.approx(0.810, abs=0.0005)  # the figure published with the weights
    assert len(store) == 10_000


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "overrides", "layers"),
    [
        ("imagenet_squeezenet", ["data.limit=60", "extract.positions=5"], {"features.10": 512, "features.12": 512}),
        ("cifar10_resnet20", ["data.limit=300"], {"layer3": 64}),
        ("cifar10_resnet20", ["data.limit=300", "layout.rows=mean"], {"layer3": 64}),
        ("cifar10_encoder", ["data.limit=300"], {"layer3": 64}),
    ],
)
def test_pipelines_on_real_pictures(
    repository: Path, tmp_path: Path, name: str, overrides: list[str], layers: dict[str, int]
) -> None:
    quick = ["icons.levels=1", "icons.steps=4", "icons.size=32", "grid.min_images=2"]
    built = build(repository / "pipelines" / f"{name}.toml", tmp_path / "a.atlas", overrides=[*overrides, *quick])
    assert {layer.name: layer.channels for layer in built.layers} == layers
    assert all(layer.levels[0].has_icon.any() for layer in built.layers)
    assert (built.accuracy is None) == (name == "cifar10_encoder")
    assert verify(tmp_path / "a.atlas") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channels"), [("digits", None), ("vit_random", 96), ("swin_random", 64), ("convnext_random", 64)]
)
def test_pipelines_that_need_no_download(repository: Path, tmp_path: Path, name: str, channels: int | None) -> None:
    quick = ["data.limit=120", "icons.levels=1", "icons.steps=3", "icons.size=32", "grid.min_images=2"]
    built = build(repository / "pipelines" / f"{name}.toml", tmp_path / "a.atlas", overrides=quick)
    for layer in built.layers:
        assert channels is None or layer.channels == channels
        assert layer.levels[0].has_icon.any()
        effects = layer.levels[0].statistics.effect_value
        assert np.nanmax(np.abs(effects)) > 0  # the heads are random, not zero
    assert verify(tmp_path / "a.atlas") == []
