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
from atlas.models import Model, Preprocess, layer_shapes
from atlas.rendering.aims import reached
from atlas.units import Evidence, Unit, render_units, study_units
from atlas.units.evidence import histograms, nearest_twins
from atlas.units.feeding import channel_effects
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


def dense(pipeline: Path, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """The output of all pictures, (n, channels, h, w), and their labels, by a plain loop."""
    job = open_job(pipeline)
    maps = []
    for index in range(len(job.source)):
        pixels = torch.from_numpy(job.model.preprocess.picture(job.source.read(index)))[None]
        with torch.no_grad():
            maps.append(job.model.network[: layer + 1](job.model.preprocess.normalise(pixels))[0].numpy())
    return np.stack(maps), np.array([entry.label for entry in job.source.entries()])


def test_the_evidence_is_what_a_loop_finds(pipeline: Path) -> None:
    maps, labels = dense(pipeline, 3)
    job = open_job(pipeline)
    found = study_units(job, "3")
    assert found.images == 24
    np.testing.assert_allclose(found.highest, maps.max((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found.lowest, maps.min((0, 2, 3)), atol=1e-6)
    for channel in range(16):
        best = maps[:, channel].max((1, 2))
        np.testing.assert_allclose(found.top_value[channel], np.sort(best)[::-1][:9], rtol=1e-5)
        if best.max() > 0:
            assert found.top_image[channel, 0] == best.argmax()
            spot = maps[best.argmax(), channel]
            row, column = np.unravel_index(spot.argmax(), spot.shape)
            left, top, right, bottom = found.top_box[channel, 0]  # a position's box has its middle where it lies
            assert (left + right) / 2 == pytest.approx((column + 0.5) / spot.shape[1], abs=0.15)
            assert (top + bottom) / 2 == pytest.approx((row + 0.5) / spot.shape[0], abs=0.15)
        for label in range(len(found.classes)):
            own = maps[labels == label, channel].mean() if (labels == label).any() else np.nan
            np.testing.assert_allclose(found.by_class[channel, label], own, rtol=1e-4, atol=1e-7)
    assert found.counts.sum(1).tolist() == [8 * 24] * 16
    assert set(found.dead) == set(np.flatnonzero(maps.max((0, 2, 3)) == 0))


def test_effects_are_the_heads_weights_times_the_mean_activation(pipeline: Path) -> None:
    maps, _ = dense(pipeline, 3)
    job = open_job(pipeline)
    found = study_units(job, "3")
    assert found.effects is not None
    weight = job.model.network[6].weight.detach().numpy()
    for channel in range(16):
        four = [i for i in found.top_image[channel, :4] if i >= 0]
        wanted = weight[:, channel] * maps[four, channel].mean((1, 2)).mean()
        np.testing.assert_allclose(found.effects[channel], wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("layer", ["blocks.0", "head"])
def test_effects_of_tokens_and_of_a_vector_agree_with_gradients(layer: str) -> None:
    network = torch.nn.Module()

    class Tokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.patch = torch.nn.Conv2d(3, 8, 8, 8)
            self.blocks = torch.nn.Sequential(torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
            self.head = torch.nn.Linear(8, 5)
            self.out = torch.nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = self.blocks(self.patch(x).flatten(2).transpose(1, 2))
            return self.out(torch.tanh(self.head(tokens.mean(1))))

    network = Tokens().eval()
    preprocess = Preprocess(resize=None, crop=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    model = Model(network, "tokens", preprocess, ("a", "b", "c"), "0" * 64)
    shape = layer_shapes(model, [layer])[layer]
    batch = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    channels = torch.tensor([0, 2, 4, 4])
    found = channel_effects(model, batch, layer, shape, channels)
    assert found is not None
    step = 1e-2
    for picture, channel in enumerate(channels.tolist()):
        logits = []
        for scale in (1 - step, 1 + step):

            def scaled(_m: object, _a: object, out: torch.Tensor, scale: float = scale, c: int = channel):
                out = out.clone()
                out[..., c] *= scale
                return out

            handle = network.get_submodule(layer).register_forward_hook(scaled)
            with torch.no_grad():
                logits.append(network(batch[picture : picture + 1])[0])
            handle.remove()
        np.testing.assert_allclose(found[picture], (logits[1] - logits[0]) / (2 * step), rtol=0.02, atol=2e-5)


def test_twins_histograms_and_groups() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, 6)).astype(np.float32)
    values[:, 3] = 2 * values[:, 1] + 5  # the same, on another scale
    values[:, 5] = values[:, 1] + 0.01 * rng.normal(size=400)
    values[:, 4] = 7
    twin, likeness = nearest_twins(values)
    assert twin[4] == -1
    assert likeness[4] == 0
    assert likeness[0] < 0.5
    np.testing.assert_allclose(likeness[[1, 3]], 1, atol=1e-6)
    edges, counts = histograms(values)
    for column in range(6):
        if column != 4:
            np.testing.assert_array_equal(
                np.histogram(values[:, column], np.linspace(values[:, column].min(), values[:, column].max(), 41))[
                    0
                ].sum(),
                counts[column].sum(),
            )
    assert edges.shape == (6, 41)
    fields = dict.fromkeys(Evidence.__dataclass_fields__) | {"twin": twin, "likeness": likeness}
    assert Evidence(**fields).duplicated == [[1, 3, 5]]


def test_the_page_has_a_section_for_every_channel_and_names_dead_ones(pipeline: Path, tmp_path: Path) -> None:
    page = render_units(pipeline, ["3"], tmp_path / "a.units")[0].read_text()
    maps, _ = dense(pipeline, 3)
    dead = np.flatnonzero(maps.max((0, 2, 3)) == 0)
    assert len(re.findall("<section", page)) == 16
    assert len(re.findall(r'<section id="c\d+" class="dead"', page)) == len(dead)
    assert f"<b>Dead</b> (0 at every position of every picture): {len(dead)} of 16" in page
    assert page.count("Feeds") == 16 - len(dead)
    assert "<script" not in page
    assert not re.search(r'src="(?!data:)', page)
    plain = render_units(pipeline, ["3"], tmp_path / "b.units", images=0)[0].read_text()
    assert "Feeds" not in plain
    assert len(re.findall("<section", plain)) == 16


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
