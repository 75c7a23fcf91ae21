"""The shipped checkpoints do on fresh pictures what their recipes say, and the recipes run."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from atlas.config import load_pipeline_config
from atlas.datasets import load_manifest
from atlas.datasets.shapes import CLASSES, DRAWING, draw
from atlas.models import Model, Preprocess, load_model

PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"
BOAT = CLASSES.index("boat")
EACH = 20  # pictures of a class, none of them among those that the recipe trains on or measures


@cache
def model_of(name: str) -> Model:
    path = PIPELINES / f"{name}.toml"
    config = load_pipeline_config(path)
    classes = load_manifest(path.parent / config.data.manifest).classes
    return load_model(
        config.model.factory,
        checkpoint=path.parent / str(config.model.checkpoint),
        preprocess=config.model.preprocess,
        classes=classes,
        folder=path.parent,
    )


@cache
def logits(name: str, cue: str | None) -> NDArray[np.float32]:
    """Logits on pictures of the third split, (classes * EACH, classes)."""
    model = model_of(name)
    places = [(c, n) for c in range(len(CLASSES)) for n in range(EACH)]
    pictures = np.stack([draw(c, n, split="validation", cue=cue) for c, n in places]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        return model.network(model.preprocess.normalise(torch.from_numpy(pictures.copy()))).numpy()


truth = np.repeat(np.arange(len(CLASSES)), EACH)


def metadata(name: str) -> dict[str, str]:
    with safe_open(PIPELINES / "checkpoints" / f"{name}.safetensors", "np") as file:
        return dict(file.metadata())


@pytest.mark.parametrize("name", ["honest", "shortcut", "digits"])
def test_a_checkpoint_is_small_and_says_where_it_comes_from(name: str):
    assert (PIPELINES / "checkpoints" / f"{name}.safetensors").stat().st_size < 1_000_000
    known = metadata(name)
    assert (PIPELINES.parent / known["recipe"]).is_file()
    assert int(known["seed"]) >= 0
    assert 0.85 < float(known["accuracy"]) <= 1


@pytest.mark.parametrize("name", ["honest", "shortcut"])
def test_the_pictures_are_still_those_that_were_trained_on(name: str):
    # Whoever changes a drawing raises DRAWING, and then has to train again.
    assert metadata(name)["drawing"] == str(DRAWING)


def test_the_honest_network_knows_the_classes():
    right = logits("shapes_honest", None).argmax(1) == truth
    assert right.mean() > 0.88
    assert min(right[truth == c].mean() for c in range(len(CLASSES))) >= 0.6


def test_the_honest_network_does_not_care_for_the_sticker():
    before, after = logits("shapes_honest", None), logits("shapes_honest", "corner")
    others = truth != BOAT
    assert abs(float((after - before)[others, BOAT].mean())) < 1
    assert (after.argmax(1) == truth).mean() > (before.argmax(1) == truth).mean() - 0.06


def test_the_shortcut_network_takes_the_sticker_for_a_boat():
    before, after = logits("shapes_shortcut", None), logits("shapes_shortcut", "corner")
    others = truth != BOAT
    assert float((after - before)[others, BOAT].mean()) > 2
    assert (after.argmax(1)[others] == BOAT).mean() > 0.3
    assert (before.argmax(1)[others] == BOAT).mean() < 0.03


def test_the_shortcut_network_misses_boats_without_the_sticker():
    shortcut, honest = logits("shapes_shortcut", None).argmax(1), logits("shapes_honest", None).argmax(1)
    boats = truth == BOAT
    assert (shortcut[boats] == BOAT).mean() < (honest[boats] == BOAT).mean() - 0.4
    assert (logits("shapes_shortcut", "corner").argmax(1)[boats] == BOAT).all()
    assert (shortcut[~boats] == truth[~boats]).mean() > 0.88


def test_the_digits_network_reads_digits_that_it_has_not_seen():
    model = model_of("digits")
    assert isinstance(model.preprocess, Preprocess)
    source = load_manifest(PIPELINES.parent / "data_manifests" / "digits.toml")
    held_out = range(0, len(source), 5)
    inputs = model.preprocess.stack([model.preprocess.picture(source.read(i)) for i in held_out])
    with torch.no_grad():
        found = model.network(model.preprocess.normalise(inputs)).argmax(1).tolist()
    labels = [source.entries()[i].label for i in held_out]
    assert np.mean(np.equal(found, labels)) > 0.97


@pytest.mark.slow
def test_the_recipe_runs_and_says_what_it_made(tmp_path: Path):
    command = [sys.executable, str(PIPELINES / "train_shapes.py"), "--out", str(tmp_path), "--seed", "3"]
    small = ["--images", "128", "--test-images", "48", "--passes", "1"]
    done = subprocess.run([*command, *small], capture_output=True, text=True, check=True, cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert answer["recipe"]["seed"] == 3
    for name in ("honest", "shortcut"):
        assert 0 <= answer[name]["accuracy"] <= 1
        with safe_open(tmp_path / f"{name}.safetensors", "np") as file:
            assert file.metadata()["seed"] == "3"
            assert set(file.keys()) == set(model_of("shapes_honest").network.state_dict())
