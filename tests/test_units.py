"""Pictures of single units, from a pipeline alone and with a store beside it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atlas.errors import ConfigError, LayerError
from atlas.job import open_job
from atlas.pipeline import extract_store
from atlas.rendering.aims import reached
from atlas.units import Unit, render_units
from tests.tiny import write_tiny_pipeline


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_pipeline(tmp_path_factory.mktemp("units"), images=24)


def test_a_unit_is_read_from_its_name() -> None:
    assert Unit.parse("features.10:42") == Unit("features.10", 42)
    assert Unit.parse("layer3.0.relu#1") == Unit("layer3.0.relu#1", None)
    for wrong in ("features.10:", ":3", "features.10:-1", "features.10:x"):
        with pytest.raises(ConfigError, match="LAYER:CHANNEL"):
            Unit.parse(wrong)


def test_a_units_picture_raises_its_own_channel_above_its_neighbours(pipeline: Path, tmp_path: Path) -> None:
    files = render_units(pipeline, ["1:3", "1:5", "3:2"], tmp_path / "a.units")
    assert [file.name for file in files] == ["1_3.png", "1_5.png", "3_2.png"]
    images = np.stack([np.asarray(Image.open(file)) for file in files[:2]])
    assert images.shape == (2, 32, 32, 3)
    model = open_job(pipeline).model
    table = np.stack([reached(model, "1", images, [channel, channel], tap="output") for channel in (3, 5)])
    assert table[0, 0] > table[0, 1]
    assert table[1, 1] > table[1, 0]


def test_a_picture_does_not_depend_on_those_beside_it(pipeline: Path, tmp_path: Path) -> None:
    alone = render_units(pipeline, ["1:5"], tmp_path / "alone.units")[0]
    among = render_units(pipeline, ["1:0", "1:5", "1:7"], tmp_path / "among.units")[1]
    difference = np.abs(np.asarray(Image.open(alone)).astype(int) - np.asarray(Image.open(among)))
    assert np.median(difference) <= 2  # convolutions round differently in another batch


def test_what_is_reached_is_the_plain_mean_under_the_window(pipeline: Path) -> None:
    model = open_job(pipeline).model
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    found = reached(model, "1", images, [0, 4, 9], tap="output")
    with torch.no_grad():
        maps = model.network[:2](model.preprocess.normalise(torch.from_numpy(images).permute(0, 3, 1, 2))).numpy()
    side = np.sin(np.pi * (np.arange(15) + 1) / 16) ** 2
    window = np.outer(side, side) / np.outer(side, side).sum()
    plain = [(maps[i, channel] * window).sum() for i, channel in enumerate((0, 4, 9))]
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-6)


def test_the_page_shows_every_channel_and_names_dead_ones(pipeline: Path, tmp_path: Path) -> None:
    folder = pipeline.parent / "tiny.units"
    page = render_units(pipeline, ["3"], folder)[0].read_text()
    assert len(re.findall("<figure", page)) == 16
    assert "±" not in page
    store = extract_store(pipeline, pipeline.parent / "tiny.store")
    page = render_units(pipeline, ["3"], folder)[0].read_text()
    variance = store.layers["3"].moments_of("positions").variance
    assert len(re.findall('class="dead"', page)) == int((variance == 0).sum())
    assert page.count("±") == int((variance > 0).sum())
    assert "<script" not in page
    assert not re.search(r'src="(?!data:)', page)


def test_a_fine_picture_has_the_spectrum_of_the_pipelines_pictures(pipeline: Path, tmp_path: Path) -> None:
    file = render_units(pipeline, ["1:3"], tmp_path / "f.units", fine=True)[0]
    with Image.open(file) as picture:
        assert (picture.mode, picture.size) == ("RGBA", (96, 96))


def test_wrong_wishes_are_told_in_one_sentence(pipeline: Path, tmp_path: Path) -> None:
    with pytest.raises(LayerError, match="channels 0 to 15, not 16"):
        render_units(pipeline, ["3:16"], tmp_path / "a.units")
    with pytest.raises(LayerError, match="no layer"):
        render_units(pipeline, ["conv9:1"], tmp_path / "a.units")
    with pytest.raises(ConfigError, match="not rendered finely"):
        render_units(pipeline, ["3"], tmp_path / "a.units", fine=True)
