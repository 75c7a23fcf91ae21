"""Each layer of a comparison shows what its own network predicts: the planted two disagree in every third image."""

from __future__ import annotations

from base64 import b64decode
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparisons import CHANGED
from looking import EXPLORER, Visit, label_of_live

from atlas.explorer import export, start_server
from atlas.explorer.answers import answers_by_layer
from atlas.explorer.header import page_header
from atlas.explorer.points import live_points
from atlas.explorer.shards import Shards
from atlas.explorer.tables import selection_table
from atlas.storage.atlas import Atlas


def said(atlas: Atlas, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """A network's predictions and confidences, straight from the file."""
    with np.load(atlas.path / "diff.npz") as arrays:
        return arrays["prediction"][layer], arrays["confidence"][layer]


def opened(packed: str, kind: type) -> np.ndarray:
    return np.frombuffer(b64decode(packed), kind)


def test_the_planted_networks_disagree(compared: Atlas, planted: Atlas) -> None:
    (one, _), (two, _) = said(compared, 0), said(compared, 1)
    assert (one[CHANGED] != two[CHANGED]).all()
    assert not any(answers.own for answers in answers_by_layer(planted))


@pytest.mark.parametrize("layer", [0, 1])
def test_every_shard_has_the_predictions_of_its_own_network(compared: Atlas, layer: int) -> None:
    shards = Shards(compared)
    prediction, confidence = said(compared, layer)
    percent = np.floor(confidence.astype(np.float64) * 100 + 1e-4).astype(int)
    points = shards.value("points", layer, 0, 0, 0)
    image = opened(points["image"], np.uint32)
    np.testing.assert_array_equal(opened(points["prediction"], np.int32), prediction[image])
    np.testing.assert_array_equal(opened(points["confidence"], np.uint8), percent[image])
    census = shards.value("census", layer)
    np.testing.assert_array_equal(opened(census["prediction"], np.int32), prediction)
    np.testing.assert_array_equal(opened(census["confidence"], np.uint8), percent)
    tally = shards.value("tally", layer)
    counted: Counter[int] = Counter()
    for one, samples in zip(opened(tally["prediction"], np.int32), opened(tally["samples"], np.uint32), strict=True):
        counted[int(one)] += int(samples)
    assert counted == Counter(prediction[image].tolist())
    shard = shards.value("image", 1)
    assert shard["answers"][layer]["prediction"] == prediction[64:128].tolist()
    assert shard["answers"][layer]["confidence"] == pytest.approx(confidence[64:128].tolist(), abs=1e-4)


@pytest.mark.parametrize("layer", [0, 1])
def test_a_cell_and_its_patches_tell_of_their_own_network(compared: Atlas, layer: int) -> None:
    prediction, _ = said(compared, layer)
    label, samples = compared.images.label, compared.layers[layer].samples
    level = compared.layers[layer].levels[0]
    details: dict[int, Any] = {}
    for tx, ty in Shards(compared).cells(layer, 0).tiles:
        for one in Shards(compared).value("detail", layer, 0, tx, ty)["cells"].values():
            details[one["cell"]] = one
    assert len(details) == len(level)
    for cell, detail in details.items():
        members = level.level.members[level.level.start[cell] : level.level.start[cell + 1]]
        wrong = {i for i in samples.image[members].tolist() if label[i] >= 0 and label[i] != prediction[i] >= 0}
        assert detail["confusions"]["images"] == len(wrong)
        for patch in detail["patches"]:
            assert patch["prediction"] == prediction[patch["image"]]


def test_tables_and_accuracies_are_of_the_layer(compared: Atlas) -> None:
    rows = np.arange(20, 120)
    header = page_header(Shards(compared), "site", "site")
    for layer in (0, 1):
        prediction, _ = said(compared, layer)
        image = compared.layers[layer].samples.image[rows]
        table = selection_table(compared, layer, 0, rows)["prediction"].to_pylist()
        assert table == [compared.outputs[p] for p in prediction[image]]
        judged = compared.images.label >= 0
        right = (prediction == compared.images.label)[judged].mean()
        assert header["layers"][layer]["accuracy"] == pytest.approx(right)
    assert header["layers"][0]["accuracy"] > 0.99 > 0.7 > header["layers"][1]["accuracy"]


@pytest.mark.browser
@pytest.mark.parametrize("home", ["server", "site"])
def test_wrong_only_counts_the_mistakes_of_each_map(visit: Visit, compared: Atlas, tmp_path: Path, home: str) -> None:
    with start_server(compared) as handle:
        page = visit((handle.url if home == "server" else export(compared, tmp_path / "site").as_uri()) + "#wrong=1")
        for layer in (0, 1):
            prediction, _ = said(compared, layer)
            samples = compared.layers[layer].samples
            image = samples.image[live_points(samples.positions, samples.state)]
            label = label_of_live(compared, layer)
            wrong = int(((label >= 0) & (label != prediction[image])).sum())
            assert page.evaluate(f"{EXPLORER}.panes[{layer}].points.liveCount") == wrong
        page.get_by_label("Network", exact=True).select_option("1")
        page.locator(".passing").get_by_text(f"{wrong} of {len(image)} samples").wait_for()
        page.locator(".title p").get_by_text(" → 6", exact=False).wait_for()
