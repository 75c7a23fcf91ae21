from __future__ import annotations

import math

import numpy as np
import torch

from atlas.rendering.transforms import Wobble, affine_matrices, sampling_grid, settle, warp


def moved(picture: torch.Tensor, angle: float = 0, scale: float = 1, right: float = 0, down: float = 0) -> torch.Tensor:
    pose = torch.tensor([angle, scale, right, down], dtype=torch.float32)[:, None]
    return warp(picture, affine_matrices(*pose), tuple(picture.shape[-2:]))  # type: ignore[arg-type]


def arrow() -> torch.Tensor:
    """An asymmetric picture: a bright spot to the right of and above the middle."""
    picture = torch.zeros(1, 1, 20, 20)
    picture[0, 0, 6, 14] = 1
    return picture


def spot(picture: torch.Tensor) -> tuple[int, int]:
    row, column = divmod(int(picture.flatten().argmax()), picture.shape[-1])
    return row, column


def test_a_pose_of_nothing_changes_nothing() -> None:
    picture = torch.rand(1, 3, 17, 17, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(moved(picture), picture, atol=1e-5, rtol=0)


def test_right_and_down_are_shares_of_the_size() -> None:
    assert spot(moved(arrow(), right=0.1)) == (6, 16)
    assert spot(moved(arrow(), down=0.25)) == (11, 14)


def test_a_quarter_turn_goes_clockwise() -> None:
    turned = moved(arrow(), angle=math.pi / 2)
    np.testing.assert_allclose(turned[0, 0].numpy(), np.rot90(arrow()[0, 0].numpy(), -1), atol=1e-4)


def test_a_scale_above_one_enlarges_about_the_middle() -> None:
    row, column = spot(moved(arrow(), scale=1.5))
    assert (row, column) == (4, 16)  # 9.5 + 1.5 * (6 - 9.5) = 4.25, 9.5 + 1.5 * 4.5 = 16.25


def test_outside_the_picture_is_its_mirror_image() -> None:
    picture = torch.arange(10.0).repeat(10, 1)[None, None]
    row = moved(picture, right=0.3)[0, 0, 5]
    torch.testing.assert_close(row, torch.tensor([2.0, 1, 0, 0, 1, 2, 3, 4, 5, 6]), atol=1e-4, rtol=0)


def test_a_wobble_stays_within_its_bounds_and_differs_from_step_to_step() -> None:
    matrices = Wobble(shift=0.1, rotation=10, scale=0.05).draw(torch.Generator().manual_seed(0), 500)
    turns = torch.rad2deg(torch.atan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    sizes = 1 / matrices[:, :, :2].det().sqrt()
    assert 9 < turns.max() <= 10
    assert -10 <= turns.min() < -9
    assert 1.045 < sizes.max() <= 1.0501
    assert 0.9499 <= sizes.min() < 0.955
    assert len(torch.unique(matrices[:, 0, 2])) == 500


def test_the_grid_is_torchs_own() -> None:
    matrices = Wobble().draw(torch.Generator().manual_seed(0), 3)
    expected = torch.nn.functional.affine_grid(matrices, [3, 1, 7, 9], align_corners=False)
    torch.testing.assert_close(sampling_grid(matrices, (7, 9)), expected)


def test_moves_settle_evenly_to_the_share_that_is_left() -> None:
    moves = Wobble().draw(torch.Generator().manual_seed(0), 5)[None]
    still = torch.eye(2, 3)
    settled = settle(moves, 0.2)
    for step, share in enumerate((1.0, 0.8, 0.6, 0.4, 0.2)):
        torch.testing.assert_close(settled[0, step] - still, share * (moves[0, step] - still))
    torch.testing.assert_close(settle(moves[:, :1], 0.2), moves[:, :1])
