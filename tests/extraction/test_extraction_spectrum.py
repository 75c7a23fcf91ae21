"""The spectrum that a dataset's pictures share, against the plainest sum."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_pictures import PREPROCESS, Pictures, made_model

from atlas.errors import DataError, StoreError
from atlas.extraction import extract
from atlas.extraction.spectrum import PICTURES, measure_spectrum, spectrum_of
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


def test_a_stores_spectrum_comes_first_and_else_it_is_measured(tmp_path: Path) -> None:
    source, model = Pictures(9), made_model()
    import_arrays(np.ones((4, 3), np.float32), tmp_path / "none.store")
    without = open_store(tmp_path / "none.store")
    known = extract(Pictures(5), model, ["deep"], tmp_path / "a.store", batch=4, part=10)
    assert known.spectrum is not None
    assert np.array_equal(spectrum_of(known, source, PREPROCESS).amplitude, known.spectrum.amplitude)
    measured = measure_spectrum(source, PREPROCESS, PREPROCESS.picture(source.read(0)).shape)
    assert measured is not None
    for store in (None, without):
        assert np.array_equal(spectrum_of(store, source, PREPROCESS).amplitude, measured.amplitude)


def test_a_spectrum_that_nobody_knows_is_told_in_one_sentence() -> None:
    with pytest.raises(StoreError, match=r"fixes no size.*'atlas extract' first"):
        spectrum_of(None, Pictures(3), replace(PREPROCESS, resize=None, crop=None))
    with pytest.raises(DataError, match="no picture that can be read: check its manifest"):
        spectrum_of(None, Pictures(2, broken=(0, 1)), PREPROCESS)
