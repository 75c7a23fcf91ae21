"""The spectrum that a dataset's pictures share, against the plainest sum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from planted_pictures import PREPROCESS, Pictures, made_model

from atlas.extraction import extract
from atlas.extraction.spectrum import PICTURES, measure_spectrum
from atlas.importing import import_arrays
from atlas.models.light import colour_root, to_light
from atlas.storage import open_store


@pytest.mark.parametrize("channels", [1, 3])
def test_light_is_undone_by_the_colours_and_the_sigmoid(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(10, 246, (2, channels, 5, 4), np.uint8)
    odds = np.einsum("ij,njhw->nihw", colour_root(channels), to_light(pixels))
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), pixels / 255, atol=1e-5)


def test_spectrum_is_the_mean_of_plain_transforms(tmp_path: Path) -> None:
    source, model = Pictures(23, broken=(3, 11)), made_model()
    store = extract(source, model, ["deep"], tmp_path / "a.store", batch=4, part=10, max_unreadable=0.2)
    amplitudes, levels = [], []
    for index in range(len(source)):
        if index in (3, 11):
            continue
        pixels = model.preprocess.picture(source.read(index))
        light = to_light(pixels[None])[0].astype(np.float64)
        amplitudes.append(np.abs(np.fft.rfft2(light)) / np.sqrt(light[0].size))
        levels.append(light.mean((1, 2)))
    found = store.spectrum
    assert found is not None
    assert found.pictures == len(amplitudes)
    np.testing.assert_allclose(found.amplitude, np.mean(amplitudes, 0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.level, np.mean(levels, 0), rtol=1e-4, atol=1e-5)


def test_spectrum_is_the_same_with_any_number_of_workers() -> None:
    source, preprocess = Pictures(300), PREPROCESS
    shape = preprocess.picture(source.read(0)).shape
    alone, many = (measure_spectrum(source, preprocess, shape, workers=workers) for workers in (0, 3))
    assert alone is not None
    assert many is not None
    assert alone.pictures == PICTURES
    assert np.array_equal(alone.amplitude, many.amplitude)


def test_without_a_picture_of_the_shape_there_is_no_spectrum() -> None:
    assert measure_spectrum(Pictures(3), PREPROCESS, (3, 7, 9)) is None


def test_a_store_without_a_spectrum_says_none(tmp_path: Path) -> None:
    import_arrays(np.ones((4, 3), np.float32), tmp_path / "b.store")
    assert open_store(tmp_path / "b.store").spectrum is None
