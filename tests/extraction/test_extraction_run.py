"""Extraction against a plain loop with plain hooks, and its promises on bad input and accuracy."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from planted_pictures import CLASSES, PREPROCESS, Pictures, TinyNetwork, made_model
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer

from atlas.config import ManifestConfig, PreprocessConfig
from atlas.datasets import open_source, take
from atlas.errors import ConfigError, DataError, LayerError, ModelError, StoreError
from atlas.extraction import cells_of, draw_places, extract, plan_extraction, relative_places
from atlas.models import Model, load_model
from atlas.records import LayerShape
from atlas.storage import files, open_store
from atlas.storage.verify import verify


def plain_loop(source: Any, model: Model, layer: str, tap: str = "output") -> tuple[Any, Any, Any]:
    """One picture after the other with a plain hook: maps (n, c, h, w), logits and effects (n, c, h, w, classes)."""
    maps, logits, effects = [], [], []
    for index in range(len(source)):
        pixels = torch.from_numpy(np.asarray(model.preprocess.picture(source.read(index)))[None])
        held: list[torch.Tensor] = []

        def hook(module: nn.Module, given: Any, result: torch.Tensor, held: list[torch.Tensor] = held) -> torch.Tensor:
            h = (result if tap == "output" else given[0]).detach().clone().requires_grad_()
            held.append(h)
            return h * 1 if tap == "output" else module.forward(h * 1)

        handle = model.network.get_submodule(layer).register_forward_hook(hook)
        with torch.enable_grad():
            output = model.network(model.preprocess.normalise(pixels))
            slopes = [torch.autograd.grad(o, held[0], retain_graph=True)[0][0] for o in output[0]]
        handle.remove()
        h = held[0].detach()[0]
        maps.append(h.numpy())
        logits.append(output[0].detach().numpy())
        effects.append(torch.stack([slope * h for slope in slopes], dim=-1).numpy())
    return np.stack(maps), np.stack(logits), np.stack(effects)


@pytest.mark.parametrize("tap", ["output", "input"])
def test_rows_are_those_of_a_plain_loop(tmp_path: Path, tap: str) -> None:
    source, model = Pictures(23), made_model()
    store = extract(
        source, model, ["deep", "first"], tmp_path / "a.store", positions=3, effects=2, tap=tap, batch=4, part=10
    )
    ids = [entry.id for entry in source.entries()]
    assert list(store.images.ids) == ids
    for name in ("deep", "first"):
        maps, logits, effects = plain_loop(source, model, name, tap)
        n, c, h, w = maps.shape
        layer = store.layers[name]
        assert layer.shape == LayerShape("map", c, h, w)
        assert layer.tap == tap
        close = {"rtol": 2e-3, "atol": 2e-3}
        np.testing.assert_allclose(layer.rows("mean")[:], maps.mean((2, 3)), **close)
        np.testing.assert_allclose(layer.rows("max")[:], maps.max((2, 3)), **close)
        np.testing.assert_allclose(layer.rows("center")[:], maps[:, :, h // 2, w // 2], **close)
        cells = cells_of(draw_places(ids, 3), h, w)
        expected = np.stack([maps[i, :, cell // w, cell % w] for i in range(n) for cell in cells[i]])
        np.testing.assert_allclose(layer.rows("positions")[:], expected, **close)
        assert np.array_equal(layer.image_of("positions"), np.repeat(np.arange(n), 3))
        assert np.array_equal(layer.uv("positions"), relative_places(cells, h, w).reshape(-1, 2))
        kept = layer.effects("positions")
        assert np.array_equal(kept.sample_rows, [3 * i + p for i in range(n) for p in range(2)])
        assert np.array_equal(kept.classes, np.tile(np.arange(7), (2 * n, 1)))
        expected = np.stack([effects[i, :, cell // w, cell % w].sum(0) for i in range(n) for cell in cells[i, :2]])
        np.testing.assert_allclose(kept.values, expected, rtol=1e-3, atol=1e-5)
        rows = layer.rows("positions")[:].astype(np.float64)
        np.testing.assert_allclose(layer.moments.mean, rows.mean(0), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(layer.moments.variance, rows.var(0), rtol=1e-10, atol=1e-12)
    images = store.images
    order = np.argsort(-logits, axis=1)[:, :5]
    assert np.array_equal(images.top_class, order)
    np.testing.assert_allclose(images.top_logit, np.take_along_axis(logits, order, 1), rtol=1e-4, atol=1e-5)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.array_equal(images.prediction, logits.argmax(1))
    np.testing.assert_allclose(images.confidence, shares.max(1), rtol=1e-4)
    assert np.array_equal(images.label, np.arange(23) % 7)
    assert np.array_equal(images.width, 24 + np.arange(23) % 5)
    assert store.accuracy == pytest.approx((logits.argmax(1) == images.label).mean())
    assert verify(tmp_path / "a.store") == []


def test_boxes_are_shares_of_the_original_picture(tmp_path: Path) -> None:
    store = extract(Pictures(10), made_model(), ["deep"], tmp_path / "a.store", positions=2)
    images, layer = store.images, store.layers["deep"]
    for i in range(10):
        left = round((images.width[i] - 24) / 2) / images.width[i]
        np.testing.assert_allclose(images.box[i], [left, 0, left + 24 / images.width[i], 1], atol=1e-6)
    box, uv, image = layer.box("positions"), layer.uv("positions"), layer.image_of("positions")
    assert (box[:, :2] < box[:, 2:]).all()
    assert (box >= images.box[image][:, [0, 1, 0, 1]] - 1e-6).all()
    assert (box <= images.box[image][:, [2, 3, 2, 3]] + 1e-6).all()
    u = images.box[image, 0] + uv[:, 0] * (images.box[image, 2] - images.box[image, 0])
    assert ((box[:, 0] <= u) & (u <= box[:, 2]) & (box[:, 1] <= uv[:, 1]) & (uv[:, 1] <= box[:, 3])).all()


def test_pooled_vectors_alone(tmp_path: Path) -> None:
    source, model = Pictures(9), made_model()
    store = extract(source, model, ["deep"], tmp_path / "a.store", positions=0, effects=3)
    layer = store.layers["deep"]
    assert layer.kinds == ("mean", "max", "center")
    maps, _, effects = plain_loop(source, model, "deep")
    kept = layer.effects()
    assert np.array_equal(kept.sample_rows, np.arange(9))
    np.testing.assert_allclose(kept.values, effects.sum((1, 2, 3)), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(layer.moments.mean, maps.mean((0, 2, 3)), atol=1e-3)


def test_a_pass_ends_at_the_deepest_layer_when_nothing_else_is_wanted(tmp_path: Path) -> None:
    model = made_model()
    calls: list[int] = []
    model.network.head.register_forward_hook(lambda *_: calls.append(1))
    cut: dict[str, Any] = {"effects": 0, "predictions": False}
    extract(Pictures(9), model, ["deep"], tmp_path / "one.store", **cut, batch=9)
    once = len(calls)  # shapes and patches are found by whole passes, before
    run = extract(Pictures(9), model, ["deep"], tmp_path / "a.store", **cut, batch=3)
    assert len(calls) == 2 * once
    assert (run.images.prediction == -1).all()
    assert np.isnan(run.images.confidence).all()
    assert run.accuracy is None
    assert run.layers["deep"].effects() is None
    whole = extract(Pictures(9), model, ["deep"], tmp_path / "b.store", batch=3)
    assert np.array_equal(run.layers["deep"].rows("max")[:], whole.layers["deep"].rows("max")[:])


def test_an_encoder_has_no_predictions_and_no_effects(tmp_path: Path) -> None:
    store = extract(Pictures(9), made_model(outputs=()), ["deep"], tmp_path / "a.store")
    assert store.outputs == ()
    assert store.classes == CLASSES
    assert not store.aligned
    assert (store.images.prediction == -1).all()
    assert store.layers["deep"].effects() is None
    assert np.array_equal(store.images.label, np.arange(9) % 7)


@pytest.mark.parametrize(("kind", "layer"), [("tokens", "encoder.layers.encoder_layer_0"), ("map_last", "features.1")])
def test_tokens_and_channels_last(tmp_path: Path, kind: str, layer: str) -> None:
    if kind == "tokens":
        network: nn.Module = VisionTransformer(24, 8, 2, 2, 16, 32, num_classes=7)
    else:
        network = SwinTransformer([4, 4], 12, [2, 2], [2, 2], [3, 3], num_classes=7)
    model, source = made_model(network), Pictures(6)
    layer_of = extract(source, model, [layer], tmp_path / "a.store", positions=40, batch=3).layers[layer]
    batch = torch.stack([torch.from_numpy(PREPROCESS.picture(source.read(i))) for i in range(6)])
    held: list[Any] = []
    handle = network.get_submodule(layer).register_forward_hook(lambda module, given, result: held.append(result))
    with torch.no_grad():
        network(PREPROCESS.normalise(batch))
    handle.remove()
    grid = held[0][:, 1:] if kind == "tokens" else held[0].flatten(1, 2)
    shape = layer_of.shape
    assert (shape.kind, shape.prefix, shape.height * shape.width) == (kind, int(kind == "tokens"), grid.shape[1])
    # A map with fewer cells than positions gives every cell once.
    assert layer_of.positions == grid.shape[1]
    close = {"rtol": 5e-3, "atol": 5e-3}
    np.testing.assert_allclose(layer_of.rows("mean")[:], grid.mean(1), **close)
    np.testing.assert_allclose(layer_of.rows("max")[:], grid.amax(1), **close)
    if kind == "tokens":
        assert layer_of.kinds == ("positions", "mean", "max", "cls")
        np.testing.assert_allclose(layer_of.rows("cls")[:], held[0][:, 0], **close)
    cells = cells_of(draw_places([e.id for e in source.entries()], 40), shape.height, shape.width)
    np.testing.assert_allclose(layer_of.rows()[:], grid[torch.arange(6)[:, None], cells].flatten(0, 1), **close)


def test_beyond_a_hundred_classes_the_largest_effects_and_the_labels_are_kept(tmp_path: Path) -> None:
    source = Pictures(12)
    model = made_model(TinyNetwork(150), [f"class {i}" for i in range(150)])
    label_to_output = np.arange(7) * 20 + 3
    store = extract(source, model, ["deep"], tmp_path / "a.store", label_to_output=label_to_output)
    _, _, effects = plain_loop(source, model, "deep")
    layer = store.layers["deep"]
    cells = cells_of(draw_places(store.images.ids, 1), 6, 6)[:, 0]
    kept = layer.effects()
    assert kept.classes.shape == (12, 21)
    assert np.array_equal(store.images.label, label_to_output[np.arange(12) % 7])
    assert store.classes == store.outputs
    for i in range(12):
        values = effects[i, :, cells[i] // 6, cells[i] % 6].sum(0)
        order = np.argsort(-values)
        np.testing.assert_allclose(kept.values[i], values[kept.classes[i]], rtol=1e-3, atol=1e-5)
        assert set(kept.classes[i, :20]) == set(order[:20])
        assert store.images.label[i] in kept.classes[i]


def test_broken_pictures_are_skipped_and_told(tmp_path: Path) -> None:
    broken = {0, 7, 8, 9, 21}
    store = extract(
        Pictures(60, broken=broken), made_model(), ["deep"], tmp_path / "a.store", batch=4, part=10, max_unreadable=0.2
    )
    ids = [entry.id for entry in Pictures(60).entries()]
    assert store.skipped == [(ids[i], "is truncated") for i in sorted(broken)]
    assert store.images.index.tolist() == [i for i in range(60) if i not in broken]
    whole = extract(Pictures(60), made_model(), ["deep"], tmp_path / "b.store", batch=4, part=10)
    same = whole.layers["deep"].rows("mean")[:][store.images.index]
    np.testing.assert_allclose(store.layers["deep"].rows("mean")[:], same, rtol=2e-3, atol=1e-4)
    assert np.array_equal(store.layers["deep"].uv(), whole.layers["deep"].uv()[store.images.index])


def test_a_picture_that_cannot_be_resized_is_skipped_too(tmp_path: Path) -> None:
    class Strip(Pictures):
        def read(self, index: int) -> Image.Image:
            return Image.new("RGB", (1, 600_000)) if index == 5 else super().read(index)

    store = extract(Strip(30), made_model(), ["deep"], tmp_path / "a.store")
    assert [name for name, _ in store.skipped] == ["test/fox/00005.png"]
    assert "too large once resized" in store.skipped[0][1]


def test_too_many_broken_pictures_stop_the_run_and_keep_what_is_whole(tmp_path: Path) -> None:
    source = Pictures(60, broken={31, 33, 35, 37})
    with pytest.raises(
        DataError, match=r"^4 of the first 38 images cannot be used .* 5\.0% of all 60 may be"
    ) as caught:
        extract(source, made_model(), ["deep"], tmp_path / "a.store", batch=4, part=10)
    assert "test/dog/00031.png: is truncated" in str(caught.value)
    assert "and 1 more" in str(caught.value)
    with pytest.raises(StoreError, match="unfinished"):
        open_store(tmp_path / "a.store")
    again = Pictures(60, broken={31, 33, 35, 37})
    store = extract(again, made_model(), ["deep"], tmp_path / "a.store", batch=4, part=10, max_unreadable=0.1)
    assert len(store) == 56
    assert min(again.reads[:10]) == 30  # the first three parts were whole


def test_pictures_of_which_none_is_usable(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="50 of the first 50"):
        extract(Pictures(2000, broken=range(2000)), made_model(), ["deep"], tmp_path / "a.store", max_unreadable=0.5)
    with pytest.raises(DataError, match="9 of the first 9"):
        extract(Pictures(9, broken=range(9)), made_model(), ["deep"], tmp_path / "b.store", max_unreadable=1.0)
    with pytest.raises(DataError, match="has no pictures"):
        extract(Pictures(0), made_model(), ["deep"], tmp_path / "c.store")


@pytest.mark.parametrize(
    ("overflow", "reason"),
    [(1e6, "activations at deep are above 65504"), (1e38, "non-finite activations at deep"), (np.nan, "non-finite")],
)
def test_activations_that_cannot_be_kept_name_their_image(tmp_path: Path, overflow: float, reason: str) -> None:
    source, model = Pictures(40, bright=(3, 20)), made_model(TinyNetwork(overflow=overflow))
    store = extract(source, model, ["deep"], tmp_path / "a.store", batch=8, part=16)
    assert [name[-9:] for name, _ in store.skipped] == ["00003.png", "00020.png"]
    assert all(reason in why for _, why in store.skipped)
    assert len(store) == 38
    with pytest.raises(DataError, match="cannot be used"):
        extract(Pictures(40, bright=range(40)), model, ["deep"], tmp_path / "b.store")


def test_a_network_of_nan_is_told_by_its_images(tmp_path: Path) -> None:
    network = TinyNetwork()
    model = made_model(network)
    with torch.no_grad():
        network.first.weight.fill_(torch.nan)
    with pytest.raises(DataError, match="non-finite activations at deep"):
        extract(Pictures(60), model, ["deep"], tmp_path / "a.store", max_unreadable=0.9)


def test_accuracy_at_chance_is_warned_of(tmp_path: Path) -> None:
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.deep = nn.Conv2d(3, 7, 1)

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return self.deep(pictures).mean((2, 3))

    blind = extract(Pictures(70), made_model(Blind()), ["deep"], tmp_path / "a.store")
    assert len(blind.notes) == 1
    assert "no better than guessing among 7 classes" in blind.notes[0]
    few = extract(Pictures(14), made_model(Blind()), ["deep"], tmp_path / "b.store")
    assert few.notes == ()


def test_layers_without_effect_are_noted(tmp_path: Path) -> None:
    network = VisionTransformer(24, 8, 2, 2, 16, 32, num_classes=7)
    store = extract(Pictures(8), made_model(network), ["encoder.layers.encoder_layer_1"], tmp_path / "a.store")
    assert any("all effects" in note for note in store.notes)


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    source, model, out = Pictures(9), made_model(), tmp_path / "a.store"
    with pytest.raises(LayerError, match="deep"):
        extract(source, model, ["deap"], out)
    with pytest.raises(LayerError, match="no layer is named"):
        extract(source, model, [], out)
    with pytest.raises(ConfigError, match="batch is 0"):
        extract(source, model, ["deep"], out, batch=0)
    with pytest.raises(ConfigError, match="max_unreadable is 5"):
        extract(source, model, ["deep"], out, max_unreadable=5)
    with pytest.raises(DataError, match="label_to_output"):
        extract(source, model, ["deep"], out, label_to_output=np.arange(3))
    with pytest.raises(ModelError, match="device"):
        extract(source, model, ["deep"], out, device="tpu")
    assert not out.exists()


def test_every_setting_counts_and_no_other_store_is_touched(tmp_path: Path) -> None:
    base: dict[str, Any] = {"positions": 2, "effects": 1, "batch": 8, "part": 10}
    store = extract(Pictures(20), made_model(), ["deep"], tmp_path / "a.store", **base)
    changes: list[dict[str, Any]] = [
        {"positions": 1}, {"effects": 0}, {"batch": 4}, {"part": 20}, {"tap": "input"}, {"predictions": False},
        {"label_to_output": np.arange(7)[::-1].copy()},
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(StoreError, match="another configuration"):
            extract(Pictures(20), made_model(), ["deep"], tmp_path / "a.store", **{**base, **change})
    for source, model, layers in (
        (Pictures(21), made_model(), ["deep"]),
        (Pictures(20), made_model(seed=1), ["deep"]),
        (Pictures(20), made_model(), ["deep", "first"]),
        (Pictures(20), made_model(outputs=CLASSES[::-1]), ["deep"]),
    ):
        with pytest.raises(StoreError, match="another configuration"):
            extract(source, model, layers, tmp_path / "a.store", **base)
    unread = Pictures(20)
    again = extract(unread, made_model(), ["deep"], tmp_path / "a.store", **base, workers=3, max_unreadable=0.5)
    assert again.fingerprint == store.fingerprint
    assert unread.reads == []
    forced = extract(Pictures(20), made_model(seed=1), ["deep"], tmp_path / "a.store", **base, force=True)
    assert forced.fingerprint != store.fingerprint


def test_provenance_says_from_what_it_was_made(tmp_path: Path) -> None:
    model = made_model()
    store = extract(Pictures(9), model, ["deep"], tmp_path / "a.store", provenance={"pipeline": {"run": {"seed": 3}}})
    assert store.provenance["model"]["weights"] == model.weights_hash
    assert store.provenance["data"]["fingerprint"] == Pictures(9).fingerprint
    assert store.provenance["model"]["preprocess"]["fingerprint"] == PREPROCESS.fingerprint
    assert store.provenance["pipeline"] == {"run": {"seed": 3}}
    assert {"torch", "atlas", "h5py"} <= set(store.provenance["libraries"])


def test_a_plan_says_what_comes(tmp_path: Path) -> None:
    source, model = Pictures(45, broken={0, 1}), made_model()
    wanted: dict[str, Any] = {"positions": 3, "effects": 2, "part": 20}
    plan = plan_extraction(source, model, ["deep", "first"], **wanted)
    assert len(source.reads) < 15
    store = extract(Pictures(45), model, ["deep", "first"], tmp_path / "a.store", **wanted)
    assert (plan.images, plan.parts) == (45, 3)
    assert plan.rows == {n: {k: len(layer.rows(k)) for k in layer.kinds} for n, layer in store.layers.items()}
    stored = sum(
        np.asarray(a).nbytes
        for layer in store.layers.values()
        for a in [*(layer.rows(k) for k in layer.kinds), layer.image_of("positions"), layer.uv(), layer.box(),
                  *vars(layer.effects()).values()]
    )  # fmt: skip
    assert stored < plan.bytes < stored + 45 * 150
    assert plan.seconds > 0
    assert plan.to_dict()["images"] == 45


def test_a_full_disk_keeps_whole_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = files.os.fsync, [0]

    def fills_up(descriptor: int) -> None:
        count[0] += 1
        if count[0] > 4:  # a file and its folder for each of two parts
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", fills_up)
        with pytest.raises(StoreError, match="the disk is full"):
            extract(Pictures(50), made_model(), ["deep"], tmp_path / "a.store", batch=8, part=10)
    assert sorted(p.name for p in (tmp_path / "a.store" / "parts").iterdir()) == ["00000.h5", "00001.h5"]
    source = Pictures(50)
    assert len(extract(source, made_model(), ["deep"], tmp_path / "a.store", batch=8, part=10)) == 50
    assert min(source.reads[:10]) == 20


@pytest.mark.real
def test_cifar_resnet20_sees_what_its_readme_says(test_data: Path, repository: Path, tmp_path: Path) -> None:
    config = ManifestConfig(
        name="cifar10", source="zip", path=str(test_data / "cifar10" / "test.zip"), labels="folders"
    )
    source = take(open_source(config, test_data), 500)
    model = load_model(
        "python:pipelines.networks:cifar_resnet20",
        checkpoint=test_data / "weights" / "resnet20_cifar10.pt",
        classes=source.classes,
        preprocess=PreprocessConfig(resize=32, crop=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        folder=repository,
    )
    store = extract(source, model, ["layer3"], tmp_path / "a.store", positions=2)
    assert store.aligned
    assert store.accuracy == pytest.approx(0.81, abs=0.04)  # 81.0 % of all 10,000
    assert store.accuracy_top5 > 0.97
    assert store.notes == ()
    assert store.skipped == []
    assert store.layers["layer3"].shape == LayerShape("map", 64, 8, 8)
    # The mean of all positions' effects on the pooled row is the logit without its bias.
    pooled = extract(source, model, ["layer3"], tmp_path / "b.store", positions=0)
    effects = pooled.layers["layer3"].effects()
    bias = model.network.linear.bias.numpy()
    top = np.take_along_axis(effects.values + bias, pooled.images.top_class.astype(np.int64), 1)
    np.testing.assert_allclose(top, pooled.images.top_logit, rtol=1e-3, atol=1e-3)
    rng = np.random.default_rng(0)
    for i in rng.integers(0, 500, 8):
        pixels = torch.from_numpy(model.preprocess.picture(source.read(int(i)))[None])
        held: list[torch.Tensor] = []
        handle = model.network.layer3.register_forward_hook(lambda m, g, r, held=held: held.append(r))
        with torch.no_grad():
            logits = model.network(model.preprocess.normalise(pixels))
        handle.remove()
        np.testing.assert_allclose(
            store.layers["layer3"].rows("mean")[int(i)], held[0].mean((2, 3))[0], rtol=3e-3, atol=1e-3
        )
        cells = cells_of(draw_places([source.entries()[int(i)].id], 2), 8, 8)[0]
        for p, cell in enumerate(cells):
            row = store.layers["layer3"].rows("positions")[2 * int(i) + p]
            np.testing.assert_allclose(row, held[0][0, :, cell // 8, cell % 8], rtol=3e-3, atol=2e-3)
        assert store.images.prediction[i] == int(logits.argmax())
