"""`atlas look` on a tiny network and dataset: the page, the files, the refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atlas.errors import AtlasError, DataError
from atlas.job import open_job
from atlas.looking import look, to_html, write_look
from tests.tiny import write_folder_pipeline

NETWORK = """
import torch
from torch import nn


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
    )
"""
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "b<b>'\""):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 255, (20, 24, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    return write_folder_pipeline(tmp_path, NETWORK, '"0", "1"', "resize = 16\n")


def test_everything_is_written_and_the_page_stands_alone(pipeline: Path, tmp_path: Path) -> None:
    found = look(pipeline, "cat/1.png")
    files = write_look(found, tmp_path / "out")
    assert {path.name for path in files} == {path.name for path in (tmp_path / "out").iterdir()}
    assert {"grid_1.png", "parts_1.png", "part_icons_1.png", "grids.npz"} <= {path.name for path in files}
    page = (tmp_path / "out" / "look.html").read_text()
    assert set(re.findall(r"src='([a-z]+):", page)) == {"data"}
    assert not re.findall(r"https?://|<script|<link|onerror", page)
    told = json.loads((tmp_path / "out" / "look.json").read_text())
    assert told["label"] == "cat"
    assert told["attributions"]["deeplift"]["error"] <= 0.01
    with np.load(tmp_path / "out" / "attributions.npz") as arrays:
        assert arrays["saliency"].shape == (3, 16, 16)
        total = arrays["lrp"].sum()
    assert total == pytest.approx(told["attributions"]["lrp"]["sum"], rel=1e-4)
    with np.load(tmp_path / "out" / "grids.npz") as arrays:
        assert arrays["1.icons"].shape == (8, 8, 48, 48, 3)  # 16 x 16 positions, four to a square
        assert arrays["1.part_weights"].shape[1:] == (16, 16)
    assert told["grids"][1]["together"] == 2
    with np.load(tmp_path / "out" / "activations.npz") as arrays:
        assert (arrays["1.values"] >= 0).all()
        assert (arrays["0.values"] < 0).any()


def test_names_never_become_html(pipeline: Path, tmp_path: Path) -> None:
    path = tmp_path / f"{HOSTILE}.png".replace("/", "_")
    Image.new("RGB", (30, 20), "red").save(path)
    found = look(pipeline, str(path), target="b<b>'\"")
    page = to_html(found)
    assert HOSTILE not in page
    assert "b<b>" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_the_explained_class_can_be_chosen(pipeline: Path) -> None:
    first, second = (look(pipeline, "cat/0.png", target=name) for name in ("cat", "b<b>'\""))
    assert first.attributions["saliency"].targets[0] != second.attributions["saliency"].targets[0]
    with pytest.raises(DataError, match="no class 'cot'; did you mean 'cat'"):
        look(pipeline, "cat/0.png", target="cot")


def test_sanity_is_told(pipeline: Path) -> None:
    found = look(pipeline, "cat/0.png", sanity=True)
    assert set(found.sanity) == set(found.attributions)
    assert "with all weights random" in to_html(found)


@pytest.mark.parametrize("image", ["cat/9.png", "nowhere.jpg"])
def test_a_picture_that_is_not_there(pipeline: Path, image: str) -> None:
    with pytest.raises(DataError, match="neither a file nor an id of two"):
        look(pipeline, image)


def test_a_picture_of_the_dataset_that_the_limit_leaves_out(pipeline: Path) -> None:
    entries = {f"{name}/{number}.png" for name in ("cat", "b<b>'\"") for number in range(2)}
    drawn = {entry.id for entry in open_job(pipeline, ["data.limit=2"]).source.entries()}
    (left_out, *_) = sorted(entries - drawn)
    found = look(pipeline, left_out, across=0, overrides=["data.limit=2"])
    assert (found.title, found.label) == (left_out, left_out.split("/")[0])


def test_a_broken_file(pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match="cannot be read"):
        look(pipeline, str(tmp_path / "broken.png"))


def test_an_atlas_that_is_none(pipeline: Path, tmp_path: Path) -> None:
    with pytest.raises(AtlasError):
        look(pipeline, "cat/0.png", atlas=tmp_path / "none.atlas")


def test_an_encoder_has_nothing_to_explain(pipeline: Path) -> None:
    found = look(pipeline, "cat/0.png", overrides=[])
    assert found.likeliest
    pipeline.write_text(pipeline.read_text().replace('classes = "folders"\n', ""))
    encoder = look(pipeline, "cat/0.png")
    assert encoder.attributions == {}
    assert "nothing to explain" in to_html(encoder)


def test_the_commands(pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    import sys

    from atlas.cli import main

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["atlas", *arguments])
        try:
            main()
        except SystemExit as ended:
            said = capsys.readouterr()
            return int(ended.code or 0), said.out, said.err
        said = capsys.readouterr()
        return 0, said.out, said.err

    code, out, _ = run("look", str(pipeline), "cat/0.png", "--out", str(tmp_path / "page"))
    assert code == 0
    assert str(tmp_path / "page" / "look.html") in out
    assert "adds up within" in out
    code, _, err = run("look", str(pipeline), "cat/7.png", "--out", str(tmp_path / "page"))
    assert (code, err.count("\n")) == (1, 1)
    code, out, _ = run("health", str(pipeline), "--json", "--out", str(tmp_path / "health.html"))
    assert code == 0
    told = json.loads(out)
    assert [layer["name"] for layer in told["layers"]] == ["0", "4"]
    assert told["images"] == 4
    page = (tmp_path / "health.html").read_text()
    assert page.count("<svg") >= 3
    assert "<td>AdaptiveAvgPool2d</td>" not in page
    assert not re.findall(r"https?://|<script|<link", page)
