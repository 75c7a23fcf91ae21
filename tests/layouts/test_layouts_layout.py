"""From rows to a map: planted structure comes out, bad input is told in a sentence, the same seed gives the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from atlas.errors import AtlasError, LayoutError
from atlas.layouts import compute_layout
from atlas.layouts.neighbors import find_neighbors
from atlas.layouts.place import CLOSE, _start, fill_unit_square, mark_outliers, part_close
from atlas.records import LayerShape, Layout
from atlas.storage.parts import ImageTable, LayerRows, LayerSpec, Part
from atlas.storage.store import ActivationStore, open_store
from atlas.storage.store_index import StoreHeader
from atlas.storage.store_writer import StoreWriter


def mixture(total: int = 1200, clusters: int = 20, rare: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Gaussian clusters in 64 dimensions, told apart by direction; the last is `rare` rows strong."""
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(clusters + 1, 64))
    of = np.append(rng.integers(0, clusters, total - rare), np.full(rare, clusters))
    return (centre[of] + 0.5 * rng.normal(size=(total, 64))).astype(np.float32), of


def purity(layout: Layout, of: NDArray[np.int64], k: int = 15) -> NDArray[np.float64]:
    return (of[find_neighbors(layout.positions, k).indices] == of[:, None]).mean(axis=1)


@pytest.fixture(scope="module")
def planted() -> Layout:
    return compute_layout(mixture()[0], deterministic=True)


def test_planted_clusters_stay_together_and_the_rare_one_too(planted: Layout) -> None:
    assert purity(planted, mixture()[1]).mean() >= 0.95
    x, of = mixture(rare=20)
    found = purity(compute_layout(x, deterministic=True), of)
    assert found.mean() >= 0.95
    assert found[of == 20].mean() >= 0.95


def test_without_pacmap_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pacmap", None)
    with pytest.raises(LayoutError, match=r"pip install 'activation-atlas\[pacmap\]'"):
        compute_layout(mixture(300, 4)[0], method="pacmap")


@pytest.mark.slow
def test_pacmap_keeps_planted_clusters_and_repeats_itself() -> None:
    pytest.importorskip("pacmap", reason="the extra 'pacmap' is not installed")
    x, of = mixture(600, 8)
    layout = compute_layout(x, method="pacmap", deterministic=True)
    assert purity(layout, of).mean() >= 0.95
    np.testing.assert_array_equal(layout.positions, compute_layout(x, method="pacmap", deterministic=True).positions)
    followed = compute_layout(x, method="pacmap", start=layout.positions)
    assert purity(followed, of).mean() >= 0.95
    with pytest.raises(LayoutError, match="set neighbors to at most 9"):
        compute_layout(x[:40], method="pacmap")


@pytest.mark.slow
def test_umap_keeps_planted_clusters_and_repeats_itself() -> None:
    x, of = mixture(600, 8)
    layout = compute_layout(x, method="umap", deterministic=True)
    assert purity(layout, of).mean() >= 0.95
    again = compute_layout(x, method="umap", deterministic=True)
    np.testing.assert_array_equal(layout.positions, again.positions)
    assert purity(compute_layout(x, method="umap"), of).mean() >= 0.95


def test_the_inliers_fill_the_square_without_being_stretched(planted: Layout) -> None:
    inside = planted.positions[planted.state == 0]
    extent = np.ptp(inside, axis=0)
    assert extent.max() == 1
    assert inside.min() == 0
    assert inside.max() == 1
    np.testing.assert_allclose((inside.min(axis=0) + inside.max(axis=0)) / 2, 0.5, atol=1e-6)


def test_tsne_keeps_as_many_neighbours_as_scikit_learns() -> None:
    from sklearn.manifold import TSNE

    x = load_digits().data[:800].astype(np.float32)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    true = find_neighbors(unit, 15).indices

    def recall(plane: NDArray[np.float32]) -> float:
        found = find_neighbors(plane, 15).indices
        return float(np.mean([len(set(a) & set(b)) / 15 for a, b in zip(true, found, strict=True)]))

    theirs = recall(TSNE(init="pca", random_state=0, n_jobs=1).fit_transform(unit))
    assert recall(compute_layout(x).positions) >= theirs - 0.005


def test_few_rows_do_not_fly_apart() -> None:
    # A step that never falls under 200 suits thousands of rows; 400 it scatters, and half of the neighbours are lost.
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(6, 16))[rng.integers(0, 6, 400)] + 0.4 * rng.normal(size=(400, 16))).astype(np.float32)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    found = find_neighbors(compute_layout(x, deterministic=True).positions, 15).indices
    true = find_neighbors(unit, 15).indices
    assert np.mean([len(set(a) & set(b)) / 15 for a, b in zip(true, found, strict=True)]) > 0.5


def test_pca_has_the_long_axis_along_x() -> None:
    # An asymmetric cloud: long along channel 0, with a tail to its positive side, short along channel 1.
    rng = np.random.default_rng(0)
    x = np.zeros((400, 5), np.float32)
    x[:, 0] = rng.exponential(5, 400)
    x[:, 1] = rng.uniform(0, 3, 400)
    layout = compute_layout(x, method="pca", metric="euclidean")
    fitted = layout.state == 0
    along, across = layout.positions[fitted].T
    assert np.corrcoef(along, x[fitted, 0])[0, 1] > 0.999  # to the right, not mirrored
    assert np.corrcoef(across, x[fitted, 1])[0, 1] > 0.999  # up
    assert np.ptp(along) == 1
    assert np.ptp(across) < 0.5
    assert np.mean(along < 0.5) > 0.7


def test_copies_share_a_place_and_are_laid_out_once() -> None:
    x, _ = mixture(300, 6)
    doubled = np.concatenate([x, x[:50]])
    layout = compute_layout(doubled, deterministic=True)
    np.testing.assert_array_equal(layout.positions[300:], layout.positions[:50])
    assert layout.counts() == {"fitted": 300, "placed": 0, "outlier": 0, "duplicate": 50, "other": 0}
    np.testing.assert_array_equal(layout.positions[:300], compute_layout(x, deterministic=True).positions)


def test_half_a_million_copies_do_not_hang() -> None:
    x, _ = mixture(100, 4)
    layout = compute_layout(np.tile(x[:, :8], (5000, 1)))
    assert layout.counts() == {"fitted": 100, "placed": 0, "outlier": 0, "duplicate": 499_900, "other": 0}


def test_scaled_copies_do_not_hang() -> None:
    # No exact copies, but of one direction: for the cosine they lie at one place.
    x, _ = mixture(60, 4)
    factor = np.linspace(1, 2, 40, dtype=np.float32)[:, None, None]
    layout = compute_layout((x * factor).reshape(-1, 64))
    assert np.isfinite(layout.positions).all()


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_rows_that_are_not_finite_have_no_place(method: str) -> None:
    x, _ = mixture(300, 6)
    broken = x.copy()
    broken[7, 3], broken[100] = np.nan, np.inf
    layout = compute_layout(broken, method=method, deterministic=True)
    assert np.flatnonzero(np.isnan(layout.positions).any(axis=1)).tolist() == [7, 100]
    assert (layout.state[[7, 100]] == 2).all()
    rest = compute_layout(np.delete(x, [7, 100], axis=0), method=method, deterministic=True)
    np.testing.assert_array_equal(np.delete(layout.positions, [7, 100], axis=0), rest.positions)


def test_dead_channels_change_nothing() -> None:
    x, _ = mixture(300, 6)
    dead = np.concatenate([np.zeros((300, 3)), x, np.full((300, 2), 9.0)], axis=1).astype(np.float32)
    one, other = (compute_layout(v, method="pca").positions for v in (x, dead))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_outliers_are_marked_and_never_piled_on_the_border() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(500, 2)), [[300, 0], [0, -400]]]).astype(np.float32)
    layout = compute_layout(x, method="pca", metric="euclidean")
    assert np.flatnonzero(layout.state == 2).tolist() == [500, 501]
    bulk = layout.positions[:500]
    assert np.ptp(bulk, axis=0).max() == 1
    far = layout.positions[500:]
    assert ((far < -1) | (far > 2)).any(axis=1).all()  # where they lie, not on the border


def test_a_small_island_is_no_outlier_and_a_heap_has_none() -> None:
    rng = np.random.default_rng(0)
    plane = np.concatenate([rng.uniform(-1, 1, (500, 2)), rng.normal((2.2, 0), 0.01, (5, 2))])
    assert not mark_outliers(plane).any()
    assert not mark_outliers(np.zeros((10, 2))).any()


def test_filling_keeps_directions() -> None:
    plane = np.array([[10.0, 5.0], [14.0, 6.0], [12.0, 7.0], [100.0, 6.0]])
    placed = fill_unit_square(plane, np.array([False, False, False, True]))
    np.testing.assert_allclose(placed, [[0, 0.25], [1, 0.5], [0.5, 0.75], [22.5, 0.5]])


def test_selected_rows_are_laid_out_alone() -> None:
    x, of = mixture(300, 6)
    chosen = np.flatnonzero(of != 2)[::-1]
    layout = compute_layout(x, select=chosen, deterministic=True)
    np.testing.assert_array_equal(layout.positions, compute_layout(x[chosen], deterministic=True).positions)


@pytest.mark.parametrize(
    ("x", "arguments", "sentence"),
    [
        (np.ones((40, 5)), {}, "all 40 rows of the array are equal"),
        (np.zeros((40, 5)), {}, "all 40 rows of the array are equal"),
        (np.full((40, 5), np.nan), {}, "hold NaN or infinity"),
        (np.zeros((0, 5)), {}, "no rows"),
        (np.eye(2), {}, "2 distinct rows: a layout needs at least 3"),
        (np.ones((1, 4)), {}, "1 distinct rows"),
        (np.eye(10), {}, "too few for 15 neighbours: set neighbors to at most 9"),
        (np.outer(np.arange(1, 40), np.ones(4)), {}, "differ in length alone"),
        (np.eye(40), {"metric": "cosin"}, "no layout metric 'cosin'; did you mean 'cosine'"),
        (np.eye(40), {"method": "t-sne"}, "no layout method 't-sne'; did you mean 'tsne'"),
        (np.eye(40), {"neighbors": 1}, "neighbors is 1"),
        (np.eye(40), {"fit": 15}, "fit is 15"),
        (np.eye(40), {"select": np.array([40])}, "outside 0 to 39"),
        (np.ones(7), {}, r"give real numbers \(rows, channels\)"),
        (np.array([["a", "b"]]), {}, "give real numbers"),
    ],
)
def test_bad_input_is_told_in_a_sentence(x: NDArray[np.float64], arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(LayoutError, match=sentence) as caught:
        compute_layout(x, **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_few_rows_are_laid_out() -> None:
    layout = compute_layout(np.eye(4), neighbors=3)
    assert np.isfinite(layout.positions).all()
    assert layout.counts()["fitted"] == 4
    assert np.isfinite(compute_layout(np.eye(3), method="pca").positions).all()


def test_progress_tells_the_stages_in_order() -> None:
    told: list[tuple[str, int, int]] = []
    compute_layout(mixture(300, 6)[0], progress=lambda *step: told.append(step))
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == ["scan rows", "principal components", "projection", "neighbours", "t-SNE"]
    assert all(0 <= done <= total for _, done, total in told)
    assert told[-1] == ("t-SNE", 300, 300)


SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from test_layouts_layout import mixture
from atlas.layouts import compute_layout
layout = compute_layout(mixture(3100)[0], seed=3, deterministic=True)
print(hashlib.sha256(layout.positions.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_the_same_bits_whatever_the_process_and_its_threads() -> None:
    def run(threads: str) -> str:
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    assert run("1") == run("2")


def small_store(folder: Path) -> ActivationStore:
    """Sixty images, two parts, one layer of 64 channels."""
    x, of = mixture(60, 3)
    spec = LayerSpec("layer3", LayerShape("map", 64, 4, 4), "output", ("mean",))
    header = StoreHeader("made-up", "abc", (spec,), "here", ("a", "b", "c"), (), False, {})
    writer = StoreWriter(folder / "s.store", header, 60, 30)
    for number in writer.missing:
        covered = writer.range_of(number)
        n, kept = len(covered), np.array(covered)
        size, none = np.full(n, 32, np.int32), np.full(n, -1, np.int32)
        images = ImageTable(
            [f"{i:03d}.jpg" for i in covered], kept, size, size, of[kept].astype(np.int32), none,
            np.full(n, np.nan, np.float32), np.full((n, 5), -1, np.int32), np.full((n, 5), np.nan, np.float32),
            np.tile(np.array([0, 0, 1, 1], np.float32), (n, 1)),
        )  # fmt: skip
        rows = LayerRows({"mean": x[kept].astype(np.float16)})
        writer.write(number, Part(covered.start, n, images, [rows]))
    writer.finish(writer.join())
    return open_store(writer.path)


def test_an_unknown_layer_is_told(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    with pytest.raises(AtlasError, match="did you mean 'layer3'"):
        compute_layout(store, layer="layer4")


def test_a_store_is_laid_out_like_its_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = small_store(tmp_path)
    x = np.asarray(store.layer("layer3").rows("mean")[0:60])
    expected = compute_layout(x, deterministic=True)
    layout = compute_layout(store, layer="layer3", kind="mean", deterministic=True)
    np.testing.assert_array_equal(layout.positions, expected.positions)
    chosen = np.arange(0, 60, 2)
    monkeypatch.setattr("atlas.layouts.rows.RESIDENT_BYTES", 0)
    monkeypatch.setattr("atlas.layouts.rows.BLOCK_BYTES", 8 * 64 * 7)
    streamed = compute_layout(store, layer="layer3", kind="mean", method="pca", select=chosen)
    np.testing.assert_allclose(streamed.positions, compute_layout(x[chosen], method="pca").positions, atol=1e-6)


def test_a_store_is_verified_and_described_as_one(tmp_path: Path) -> None:
    from atlas.storage.verify import describe, verify

    store = small_store(tmp_path)
    assert verify(store.path) == []
    assert (describe(store.path)["kind"], describe(store.path)["images"]) == ("store", 60)
    with pytest.raises(AtlasError, match="does not exist"):
        verify(tmp_path / "nothing")


def test_a_start_at_one_place_is_spread_about_it_and_one_on_a_line_keeps_its_order() -> None:
    heap = _start(np.full((200, 2), 0.37), 2.5, 0)
    assert np.abs(heap).max() < 0.2
    assert (heap.std(axis=0) > 0.02).all()
    upright = np.stack([np.full(200, 7.0), np.linspace(3, 4, 200)], axis=1)
    line = _start(upright, 2.5, 0)
    assert line[:, 1].std() == pytest.approx(2.5, rel=0.01)
    assert np.abs(line[:, 0]).max() < 0.2
    x = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    for method in ("tsne", "umap"):
        layout = compute_layout(x, method=method, start=np.full((200, 2), 0.5), device="cpu")
        assert np.isfinite(layout.positions).all()
        assert len(np.unique(layout.positions, axis=0)) == 200


def test_points_on_one_another_are_parted_and_all_others_stay() -> None:
    rng = np.random.default_rng(0)
    heap = np.repeat(rng.uniform(0.1, 0.9, (40, 2)), 6, axis=0)  # six at each place
    pair = np.array([[0.0, 0.0], [2e-5, 0.0]])  # at the border: nothing leaves the square
    alone = np.stack(np.meshgrid(np.arange(0.05, 1, 0.1), np.arange(0.05, 1, 0.1)), axis=-1).reshape(-1, 2)
    places = np.concatenate([heap, pair, alone]).astype(np.float32)
    parted = part_close(places, seed=0, threads=1)
    gap = np.linalg.norm(parted[:, None].astype(np.float64) - parted[None], axis=2) + 9 * np.eye(len(parted))
    assert (gap.min(axis=1) < CLOSE).mean() < 0.01
    assert np.abs(parted - places).max() < 5 * CLOSE
    assert parted.min() >= 0
    far = np.linalg.norm(places[:, None] - places[None], axis=2) + 9 * np.eye(len(places)) > CLOSE
    np.testing.assert_array_equal(parted[far.all(axis=1)], places[far.all(axis=1)])
    np.testing.assert_array_equal(parted, part_close(places, seed=0, threads=2))
