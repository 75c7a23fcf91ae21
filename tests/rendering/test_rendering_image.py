from __future__ import annotations

import numpy as np
import pytest
import torch

from atlas.rendering.image import FourierPictures, faded, resized, to_float, to_stored

CPU = torch.device("cpu")


def fourier(size: int, channels: int = 3) -> FourierPictures:
    return FourierPictures(size, channels, decay=1.3, gain=8.0, device=CPU)


def draw(pictures: FourierPictures, seed: int = 0, deviation: float = 0.2) -> torch.Tensor:
    return pictures.draw(torch.Generator().manual_seed(seed), deviation)[None]


@pytest.mark.parametrize("size", [8, 9])
def test_pictures_are_the_sum_of_their_waves(size: int) -> None:
    spectrum = draw(fourier(size))[0].double().numpy()
    light = np.zeros((3, size, size))
    rows, columns = np.mgrid[:size, :size]
    for channel in range(3):
        for y in range(size):
            for x in range(size // 2 + 1):
                down = y if y < (size + 1) // 2 else y - size
                weight = (size / 4) / max(np.hypot(down, x), 1.0) ** 1.3 / size
                alone = x == 0 or (size % 2 == 0 and x == size // 2)  # no mirror image
                phase = 2 * np.pi * (down * rows + x * columns) / size
                real, imaginary = spectrum[channel, y, x] * weight * (1 if alone else 2)
                light[channel] += real * np.cos(phase) - imaginary * np.sin(phase)
    root = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
    colours = np.einsum("oc,chw->ohw", 8 * root / np.linalg.norm(root, axis=0).max(), light)
    expected = 1 / (1 + np.exp(-colours))
    got = fourier(size).pictures(torch.from_numpy(spectrum)[None].float())[0].numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(("size", "channels"), [(32, 3), (31, 3), (24, 1)])
def test_a_picture_gives_a_spectrum_that_gives_the_picture(size: int, channels: int) -> None:
    pictures = torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(1)) * 0.9 + 0.05
    again = fourier(size, channels).pictures(fourier(size, channels).spectra(pictures))
    torch.testing.assert_close(again, pictures, atol=1e-4, rtol=0)


def test_starts_of_another_size_and_of_pure_black_and_white_are_taken() -> None:
    pictures = torch.zeros(1, 3, 48, 48)
    pictures[..., 24:] = 1
    spectra = fourier(32).spectra(pictures)
    assert torch.isfinite(spectra).all()
    again = fourier(32).pictures(spectra)
    assert again[..., 2:14].mean() < 0.1
    assert again[..., 18:30].mean() > 0.9


def test_a_larger_picture_goes_through_the_pixels_of_the_small_one() -> None:
    small, large = fourier(16).pictures(draw(fourier(16))), fourier(16).pictures(draw(fourier(16)), 48)
    # Three pixels take the place of one, and the middle one lies where it lay. At the very highest frequency a real
    # picture cannot be moved by part of a pixel, so that one alone is allowed to differ: its weight here is small.
    torch.testing.assert_close(large[..., 1::3, 1::3], small, atol=0.02, rtol=0)
    assert float((large[..., 1::3, 1::3] - small).abs().mean()) < 0.004


def test_large_shapes_move_more_than_fine_ones() -> None:
    light = torch.logit(fourier(64, 1).pictures(torch.cat([draw(fourier(64, 1), seed) for seed in range(8)])))
    power = torch.fft.rfft2(light, norm="ortho").abs().square().mean((0, 1))
    assert power[0, 2] / power[0, 16] == pytest.approx(8**2.6, rel=0.9)


def test_stored_pictures_are_read_as_they_were_written() -> None:
    pictures = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(2))
    stored = to_stored(pictures)
    assert stored.dtype == torch.uint8
    assert stored.shape == (2, 5, 5, 3)
    torch.testing.assert_close(to_float(stored, 3), pictures, atol=0.5 / 255 + 1e-6, rtol=0)
    grey = to_stored(pictures[:, :1])
    assert bool((grey[..., 0] == grey[..., 2]).all())
    torch.testing.assert_close(to_float(grey, 1), pictures[:, :1], atol=0.5 / 255 + 1e-6, rtol=0)


def test_shrinking_averages_and_growing_keeps() -> None:
    stripes = torch.zeros(1, 1, 32, 32)
    stripes[..., ::2] = 1
    torch.testing.assert_close(resized(stripes, (8, 8)), torch.full((1, 1, 8, 8), 0.5), atol=0.05, rtol=0)
    flat = torch.full((1, 1, 8, 8), 0.3)
    torch.testing.assert_close(resized(flat, (20, 30)), torch.full((1, 1, 20, 30), 0.3))
    assert resized(flat, (8, 8)) is flat


@pytest.mark.parametrize(("size", "smaller"), [(48, 32), (48, 16), (45, 31)])
def test_a_smaller_picture_of_a_coarse_spectrum_shows_the_same(size: int, smaller: int) -> None:
    spectrum = draw(fourier(size))
    down = np.abs(np.fft.fftfreq(size, 1 / size))[:, None]
    across = np.arange(size // 2 + 1)[None]
    spectrum[:, :, torch.from_numpy((down > 5) | (across > 5))] = 0  # nothing that the small one cannot hold
    large, small = fourier(size).pictures(spectrum), fourier(size).pictures(spectrum, smaller)
    # Where the pixels' centres of the small picture lie in the large one, the same waves have the same values.
    expected = torch.nn.functional.interpolate(large, size=(smaller, smaller), mode="bicubic", align_corners=False)
    assert (small - expected)[..., 1:-1, 1:-1].abs().max() < 0.03
    assert small.std() > 0.1


def test_faded_icons_keep_their_large_shapes_and_less_of_their_detail() -> None:
    rows, columns = np.mgrid[:96, :96]
    large, fine = np.sin(2 * np.pi * 2 * columns / 96), np.sin(2 * np.pi * 40 * rows / 96)
    icon = (128 + 60 * large + 60 * fine).astype(np.uint8)[None, :, :, None].repeat(3, 3)
    left = faded(icon)[0, :, :, 0].astype(float) - 128
    for wave, low, high in ((large, 0.88, 0.91), (fine, 0.39, 0.43)):  # 0.9 exp(-(cycles / 32)² / 2)
        assert low < (left * wave).sum() / (wave * wave).sum() / 60 < high
    assert faded(icon[:0]).shape == (0, 96, 96, 3)
