"""Fine icons: their spectrum is the dataset's, their phases raise what they are made for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rendering_networks import tiny_model

from atlas.errors import RenderError
from atlas.models.light import colour_root
from atlas.records import Spectrum
from atlas.rendering.maco import FineRecipe, PhasePictures, fine_size, fitted_amplitude, render_fine


def spectrum(size: int, channels: int = 3) -> Spectrum:
    cycles = np.hypot(np.fft.fftfreq(size, 1 / size)[:, None], np.fft.rfftfreq(size, 1 / size)[None])
    amplitude = np.stack([(channel + 1) * size / np.maximum(cycles, 1) / 8 for channel in range(channels)])
    return Spectrum(amplitude.astype(np.float32), np.linspace(-0.3, 0.2, channels, dtype=np.float32), 10)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_picture_has_the_amplitude_and_the_level(channels: int) -> None:
    given = spectrum(16, channels)
    pictures = PhasePictures(given, 16, torch.device("cpu"))
    found = pictures.pictures(pictures.draw(torch.Generator().manual_seed(0))[None])[0].double()
    odds = torch.log(found / (1 - found)).numpy()
    light = np.einsum("ij,jhw->ihw", np.linalg.inv(colour_root(channels).astype(np.float64)), odds)
    np.testing.assert_allclose(light.mean((1, 2)), given.level, atol=1e-4)
    amplitude = np.abs(np.fft.rfft2(light, norm="ortho"))
    # The first and the last column of a real transform are their own mirrors: half of their phases have no say.
    np.testing.assert_allclose(amplitude[..., 1:-1], given.amplitude[..., 1:-1], rtol=2e-3)


def test_an_amplitude_fits_its_own_size_exactly() -> None:
    given = spectrum(18)
    np.testing.assert_allclose(fitted_amplitude(given, 18), given.amplitude, rtol=1e-6)


@pytest.mark.parametrize("size", [12, 33, 48])
def test_an_amplitude_of_another_size_is_read_off_at_the_same_cycles(size: int) -> None:
    found, wanted = fitted_amplitude(spectrum(24), size), spectrum(size).amplitude
    shared = min(size, 24) // 2 - 1
    np.testing.assert_allclose(found[:, :shared, :shared], wanted[:, :shared, :shared], rtol=1e-5)
    np.testing.assert_allclose(found[:, -shared:, :shared], wanted[:, -shared:, :shared], rtol=1e-5)
    # Beyond what was measured it goes on falling as 1 / f.
    np.testing.assert_allclose(found, wanted, rtol=0.2)


def test_pictures_that_are_not_square_lend_their_amplitude_too() -> None:
    tall = Spectrum(np.ones((1, 20, 7), np.float32), np.zeros(1, np.float32), 1)
    assert np.isfinite(fitted_amplitude(tall, 16)).all()


@pytest.mark.parametrize(
    ("kind", "layer", "channel"),
    [("map", "second", 0), ("map", "second", 3), ("grey", "second", 2), ("last", "norm", 5), ("tokens", "block", 1)],
)
def test_the_value_is_raised_and_the_same_call_gives_the_same(kind: str, layer: str, channel: int) -> None:
    model = tiny_model(kind)
    given = spectrum(24, model.preprocess.channels)
    seen: list[float] = []

    def value(found: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        raised = found[:, :, channel] @ weights
        seen.append(raised.mean().item())
        return raised

    recipe = FineRecipe(steps=24)
    icons = [render_fine(model, layer, value, given, width=12, size=24, recipe=recipe) for _ in range(2)]
    assert np.mean(seen[20:24]) > np.mean(seen[:4]) + 0.5 * np.std(seen[:4])
    assert np.array_equal(icons[0].image, icons[1].image)
    assert icons[0].image.shape == (24, 24, 3)
    assert icons[0].importance.shape == (24, 24)
    assert {icons[0].importance.min(), icons[0].importance.max()} == {0, 255}


def test_a_spectrum_of_other_channels_is_refused() -> None:
    with pytest.raises(RenderError, match="1 channels"):
        render_fine(tiny_model(), "second", lambda found, weights: found[:, 0, 0], spectrum(24, 1), width=12)


@pytest.mark.parametrize(("native", "side"), [(32, 48), (224, 224), (None, 224)])
def test_a_fine_icon_is_half_as_large_again_as_the_networks_input(native: int | None, side: int) -> None:
    assert fine_size(tiny_model(size=native)) == side
