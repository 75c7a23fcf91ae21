"""Layouts to be compared: turned, followed, and set out between two classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from atlas.errors import ConfigError, LayoutError
from atlas.layout_table import write_layout
from atlas.layouts import compute_layout, layout_between, turn_onto
from atlas.pipeline import build, extract_store
from atlas.storage import ActivationStore, open_store
from tests.tiny import write_tiny_pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    extract_store(write_tiny_pipeline(folder), folder / "a.store", overrides=["extract.effects=2"])
    return folder


@pytest.fixture
def store(folder: Path) -> ActivationStore:
    return open_store(folder / "a.store")


def test_turning_undoes_a_rotation_and_a_mirror() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=(80, 2)) * (3, 1)
    angle = np.array([[np.cos(2), -np.sin(2)], [np.sin(2), np.cos(2)]])
    plane = target @ angle @ np.diag([1, -1]) + (5, 7)
    gaps = target.copy()
    gaps[:5] = np.nan
    turned = turn_onto(plane, gaps)
    np.testing.assert_allclose(turned - turned.mean(axis=0), target - target.mean(axis=0), atol=1e-9)
    noisy = plane + rng.normal(size=plane.shape)
    expected = orthogonal_procrustes(noisy - noisy.mean(axis=0), target - target.mean(axis=0))[0]
    np.testing.assert_allclose(turn_onto(noisy, target), (noisy - noisy.mean(axis=0)) @ expected, atol=1e-9)


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_a_layout_that_starts_from_another_lies_like_it(method: str) -> None:
    rng = np.random.default_rng(0)
    of = rng.integers(0, 6, 400)
    x = (rng.normal(size=(6, 16))[of] + 0.4 * rng.normal(size=(400, 16))).astype(np.float32)
    first = compute_layout(x, method=method, deterministic=True)
    turned = 1 - first.positions[:, ::-1]  # the same map, turned and mirrored
    start = turned.copy()
    start[3] = np.nan
    other = x + 0.1 * rng.normal(size=x.shape).astype(np.float32)
    followed = compute_layout(other, method=method, start=start, deterministic=True)

    def centres(places: np.ndarray) -> np.ndarray:
        return np.stack([places[of == c].mean(axis=0) for c in range(6)]).ravel()

    agreement = np.corrcoef(centres(followed.positions), centres(turned))[0, 1]
    assert agreement > 0.9
    with pytest.raises(LayoutError, match=r"start is \(3, 2\), not \(400, 2\)"):
        compute_layout(x, start=np.zeros((3, 2)))


def test_between_two_classes_x_is_the_difference_of_effects(store: ActivationStore) -> None:
    one, other = store.outputs[2], store.outputs[5]
    layout, rows = layout_between(store, one, other, layer="3", neighbors=3, deterministic=True)
    effects = store.layers["3"].effects("positions")
    assert effects is not None
    label = store.images.label[store.layers["3"].image_of("positions")]
    expected = [r for r in effects.sample_rows if label[r] in (2, 5)]
    assert rows.tolist() == expected
    at = [effects.sample_rows.tolist().index(r) for r in rows]
    difference = np.array([effects.values[i, 2] - effects.values[i, 5] for i in at])
    inside = layout.state == 0
    assert np.corrcoef(layout.positions[inside, 0], difference[inside])[0, 1] > 0.9999
    np.testing.assert_array_equal(layout.positions[inside, 0] > 0.5, difference[inside] > 0)
    swapped, _ = layout_between(store, other, one, layer="3", neighbors=3, deterministic=True)
    np.testing.assert_allclose(swapped.positions[:, 0], 1 - layout.positions[:, 0], atol=1e-6)


def test_two_classes_mistakes_are_told(store: ActivationStore) -> None:
    with pytest.raises(LayoutError, match="no output 'bote'"):
        layout_between(store, "bote", store.outputs[0], layer="3")
    with pytest.raises(LayoutError, match="the same effects"):
        layout_between(store, store.outputs[0], store.outputs[0], layer="3", neighbors=2)


def test_a_table_of_one_class_and_of_two(folder: Path, store: ActivationStore) -> None:
    told = {"neighbors": 3, "deterministic": True}
    write_layout(folder / "a.store", "3", folder / "one.npz", classes=[store.classes[1]], **told)  # type: ignore[arg-type]
    with np.load(folder / "one.npz") as table:
        assert set(table["label"]) == {store.classes[1]}
    pair = (store.classes[1], store.classes[4])
    write_layout(folder / "a.store", "3", folder / "two.npz", between=pair, **told)  # type: ignore[arg-type]
    with np.load(folder / "two.npz") as table:
        assert set(table["label"]) == set(pair)
    # Whichever rows are named: effects belong to the sampled positions.
    write_layout(folder / "a.store", "3", folder / "mean.npz", between=pair, rows="mean", **told)  # type: ignore[arg-type]
    with np.load(folder / "mean.npz") as table, np.load(folder / "two.npz") as same:
        assert all(np.array_equal(table[name], same[name]) for name in ("row", "id", "label"))
    with pytest.raises(ConfigError, match="leave the classes out"):
        write_layout(folder / "a.store", "3", folder / "no.npz", between=pair, classes=[pair[0]])
    with pytest.raises(ConfigError, match="has no class"):
        write_layout(folder / "a.store", "3", folder / "no.npz", classes=["bote"])


def test_a_pipeline_of_one_class_maps_that_class_alone(tmp_path: Path) -> None:
    pipeline = write_tiny_pipeline(tmp_path)
    common = ["icons.levels=0", "layout.neighbors=3", "grid.min_images=1"]
    built = build(pipeline, tmp_path / "one.atlas", overrides=[*common, 'layout.classes=["boat"]'])
    layer = built.layers[0]
    boat = built.classes.index("boat")
    of = built.images.label[layer.samples.image]
    placed = np.isfinite(layer.samples.positions).all(axis=1)
    assert set(of[placed]) == {boat}
    assert placed.sum() == (of == boat).sum()
    cells = layer.levels[0]
    assert set(of[cells.level.members]) == {boat}
    # The others are no outliers: they were not asked for.
    assert layer.header.states["other"] == (of != boat).sum() == layer.header.left_out
    assert layer.header.states["outlier"] <= placed.sum() // 10
    assert layer.layout_settings["engine"] == "processor"
    pair = build(
        pipeline, tmp_path / "two.atlas", overrides=[*common, f'layout.between=["boat", "{built.classes[0]}"]']
    )
    assert np.isfinite(pair.layers[1].samples.positions[:, 0]).sum() > 0
