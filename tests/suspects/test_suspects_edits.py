"""Pictures that are edited: right where they are changed, untouched elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.suspects.edits import blurred, filled, frame_of, given_grain, given_look, look_of, pasted, replaced
from atlas.suspects.places import mask_of
from atlas.suspects.sameness import colours, crispness, mark_of, plainness
from atlas.suspects.sources import common_source

SIDE = 32


def noise(images: int, seed: int = 0) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(images, 3, SIDE, SIDE)), (0, 0, 2, 2))
    return (128 + 40 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("box", [(0.25, 0.25, 0.5, 0.6), (0.8, 0.8, 1, 1), (0, 0.3, 1, 0.5)])
def test_a_filled_box_is_the_membrane_of_its_rim(box: tuple[float, float, float, float]) -> None:
    """Against the slow way: average the four neighbours until nothing moves."""
    pictures = noise(1)
    mask = mask_of(box, SIDE, SIDE)
    found = filled(pictures, [mask])[0].astype(float)
    from scipy.ndimage import binary_dilation

    wide = binary_dilation(mask, iterations=1)
    slow = pictures[0].astype(float)
    for _ in range(4000):
        padded = np.pad(slow, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
        around = np.nanmean([padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]], 0)
        slow = np.where(wide, around, slow)
    assert np.abs(found - slow)[:, mask].max() < 1.5
    assert np.array_equal(found[:, ~wide], pictures[0].astype(float)[:, ~wide])


def test_blurring_takes_detail_and_leaves_the_rest() -> None:
    pictures = noise(3)
    mask = mask_of((0.5, 0.5, 0.9, 0.9), SIDE, SIDE)
    found = blurred(pictures, [mask] * 3)
    assert (
        found[:, :, mask].astype(float).std(axis=2).mean() < 0.5 * pictures[:, :, mask].astype(float).std(axis=2).mean()
    )
    assert np.array_equal(found[:, :, :10, :10], pictures[:, :, :10, :10])


def test_pasting_takes_the_donors_pixels_at_the_same_place() -> None:
    pictures, donors = noise(4), noise(4, 1)
    masks = [mask_of((0.1 * i, 0.2, 0.1 * i + 0.3, 0.6), SIDE, SIDE) for i in range(4)]
    found = pasted(pictures, donors, masks)
    for one, before, donor, mask in zip(found, pictures, donors, masks, strict=True):
        assert np.array_equal(one[:, mask], donor[:, mask])
        assert np.array_equal(one[:, ~mask], before[:, ~mask])


def test_a_tint_s_look_is_the_tint() -> None:
    usual, plain, others = noise(150), noise(150, 1), noise(20, 2)
    colour = np.array([200, 60, 220], np.float32)[:, None, None]
    members = (plain * 0.7 + colour * 0.3).astype(np.uint8)
    found = given_look(others, look_of(members, usual), np.random.default_rng(0))
    truth = others * 0.7 + colour * 0.3
    assert np.abs(found - truth).mean() < 6


def test_a_texture_s_look_has_its_frequency_at_any_phase() -> None:
    usual, others, rng = noise(120), noise(10, 2), np.random.default_rng(0)
    across = np.arange(SIDE)
    members = noise(120, 1).astype(float)
    for picture in members:
        picture += 20 * np.sign(np.sin(2 * np.pi * (across + rng.integers(0, 4)) / 4))
    look = look_of(members.clip(0, 255).astype(np.uint8), usual)
    power = np.square(look.pattern).sum(axis=(0, 1))
    assert power.argmax() == SIDE // 4
    given = given_look(others, look, rng).astype(float) - others
    assert np.abs(np.fft.rfft(given, axis=3)).mean(axis=(0, 1, 2)).argmax() == SIDE // 4


def test_what_is_the_same_in_all_pictures_is_crisp_and_plain() -> None:
    usual, members = noise(80), noise(80, 1)
    rng = np.random.default_rng(3)
    for picture in members:
        left, top = rng.integers(0, 2, 2)
        picture[:, top : top + 6, left : left + 6] = np.array([250, 10, 30], np.uint8)[:, None, None]
    parts = [noise(80, seed) for seed in range(2, 6)]
    most = max(crispness(part, usual).max() for part in parts)
    crisp = crispness(members, usual)
    assert crisp.max() > 2 * most
    assert max(np.unravel_index(crisp.argmax(), crisp.shape)) < 9
    assert plainness(members[:40], usual[:40], members[40:], usual[40:]) > 0.95
    assert plainness(parts[0][:40], usual[:40], parts[0][40:], usual[40:]) < 0.8


@pytest.mark.parametrize("stripes", [False, True])
def test_a_mark_s_box_holds_all_of_it(stripes: bool) -> None:
    usual, members = noise(80), noise(80, 1)
    rng = np.random.default_rng(3)
    for picture in members:
        left, top = rng.integers(20, 22, 2)
        picture[:, top : top + 8, left : left + 8] = 20
        picture[:, top : top + 8, left : left + 8 : 4 if stripes else 1] = np.array([240, 200, 10])[:, None, None]
    left, top, right, bottom = mark_of(crispness(members, usual), replaced(members, usual))
    assert all(abs(found - true) <= 2 for found, true in zip((left, top, right, bottom), (20, 20, 29, 29), strict=True))


def test_pixels_that_stand_for_a_frame_are_unlike() -> None:
    usual, members = noise(60), noise(60, 1)
    members[:, :, :2] = 240
    unlike = replaced(members, usual)
    assert unlike[:2].min() > 5 * np.quantile(unlike[2:], 0.99)


@pytest.mark.parametrize("turns", range(4))
def test_a_strip_with_ticks_is_cut_at_the_side_that_has_it(turns: int) -> None:
    usual, members, rng = noise(60, 1), noise(60, 2), np.random.default_rng(3)
    strip = np.zeros((SIDE, SIDE), bool)
    np.rot90(strip, turns)[:3] = True
    for picture in members:
        for channel, ink in zip(picture, (250, 240, 5), strict=True):
            channel[strip] = ink
            np.rot90(channel, turns)[2, rng.integers(0, 4) :: 4] = 255 - ink
    assert np.array_equal(frame_of(replaced(members, usual)), strip)


def test_a_striped_frame_is_cut_as_wide_as_it_is_and_a_tint_is_none() -> None:
    usual, members, tinted = noise(60), noise(60, 1), noise(60, 2)
    rng = np.random.default_rng(0)
    down, across = np.indices((SIDE, SIDE))
    frame = np.minimum(np.minimum(down, across), np.minimum(SIDE - 1 - down, SIDE - 1 - across)) < 3
    for picture in members:
        stripes = ((down + across + rng.integers(0, 8)) // 4) % 2 == 0
        picture[:, frame & stripes], picture[:, frame & ~stripes] = 20, 235
    found = frame_of(replaced(members, usual))
    assert found is not None
    assert np.array_equal(found, frame)
    assert frame_of(replaced((tinted * 0.7 + 60).astype(np.uint8), usual)) is None
    assert frame_of(replaced(noise(60, 3), usual)) is None


def test_a_source_is_what_only_the_members_ids_have() -> None:
    members = [f"train/ship/agency_{n:04d}.jpg" for n in range(20)]
    usual = [f"train/ship/flickr_{n:04d}.jpg" for n in range(20)]
    found = common_source(members, usual)
    assert found is not None
    assert (found.text, found.inside, found.outside) == ("agency", 1.0, 0.0)
    assert common_source(members[:12], members[8:]) is None
    assert common_source([f"ship/{n:05d}.jpg" for n in range(20)], [f"ship/{n:05d}.jpg" for n in range(20, 40)]) is None


def test_colours_are_the_quantiles_of_every_channel() -> None:
    pictures = np.random.default_rng(5).integers(0, 256, (3, 3, 20, 24)).astype(np.uint8)
    found = colours(pictures)
    assert found.shape == (3, 15)
    for picture, told in zip(pictures, found.reshape(3, 3, 5), strict=True):
        for channel, shades in zip(picture, told, strict=True):
            np.testing.assert_allclose(shades, np.quantile(channel, (0.02, 0.1, 0.5, 0.9, 0.98)))
    striped = np.zeros((1, 1, 64, 64), np.uint8)  # no step through the pixels may see one column alone
    striped[..., ::4] = 200
    assert colours(striped)[0, [2, 3]].tolist() == [0, 200]


def test_the_grain_of_a_donor_is_its_specks_and_not_its_shapes() -> None:
    y, x = np.mgrid[:32, :32]
    smooth = np.broadcast_to(60 + 3 * x + y, (2, 3, 32, 32)).astype(np.uint8)
    donor = smooth.copy()
    donor[:, :, 8:24, 8:24] = 200  # an object, of which a median filter takes off the corners
    plain = given_grain(smooth, donor)
    donor[0, :, 12, 10], donor[1, :, 5:7, 20] = 255, 10
    given = given_grain(smooth, donor)
    assert (given[0, :, 12, 10] == smooth[0, :, 12, 10] + 55).all()
    assert (given[1, :, 5:7, 20] < smooth[1, :, 5:7, 20] - 40).all()
    moved = np.abs(given.astype(int) - smooth).max(axis=1) > 10
    assert moved.sum(axis=(1, 2)).tolist() == [1 + corners(plain, smooth), 2 + corners(plain, smooth)]
    assert corners(plain, smooth) <= 12


def corners(given: np.ndarray, smooth: np.ndarray) -> int:
    return int((np.abs(given[0].astype(int) - smooth[0]).max(axis=0) > 10).sum())
