"""Activation grids: which vector stands where, how large, and what is drawn of nothing."""

from __future__ import annotations

import numpy as np
import torch

from atlas.looking.grid_section import grid_picture, grids_section, parts_overlay
from atlas.looking.grids import activation_grids, merged
from atlas.models import Model, Preprocess


def model() -> Model:
    """Two channels that are the picture's red and green, where they are above the middle; eight positions a side."""
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 4, stride=4, bias=False), torch.nn.ReLU())
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].weight[0, 0], network[0].weight[1, 1] = 1 / 16, 1 / 16
    preprocess = Preprocess(resize=None, crop=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    return Model(network.eval(), "colours", preprocess, (), "0" * 64)


def picture() -> torch.Tensor:
    """Black, the upper right quarter red, the lower left green, half as bright."""
    pixels = torch.zeros(3, 32, 32, dtype=torch.uint8)
    pixels[0, :16, 16:] = 255
    pixels[1, 16:, :16] = 191
    return pixels


def test_a_grid_is_in_the_pictures_geometry() -> None:
    (grid,) = activation_grids(model(), picture(), ["1"], size=32, parts=2, device="cpu")
    assert grid.norms.shape == (8, 8)
    assert grid.together == 1
    np.testing.assert_allclose(grid.norms[:4, 4:], 1, atol=1e-5)
    np.testing.assert_allclose(grid.norms[4:, :4], 0.498, atol=1e-3)
    assert (grid.norms[:4, :4] == 0).all()
    assert (grid.icons[:4, :4] == 0).all()
    assert np.isnan(grid.robust[0, 0])
    red, green = grid.icons[0, 7].mean((0, 1)), grid.icons[7, 0].mean((0, 1))
    assert red[0] > red[1]
    assert green[1] > green[0]
    drawn = grid_picture(grid)
    square = drawn.shape[0] // 8
    assert (drawn[: 4 * square, : 4 * square] == 255).all()  # nothing is drawn of nothing
    upper = (drawn[:square, -square:] < 250).any(2).any(0).sum()
    lower = (drawn[-square:, :square] < 250).any(2).any(0).sum()
    assert upper > 1.5 * lower  # twice as long a vector, twice as wide an icon


def test_parts_take_their_own_places_and_colours() -> None:
    (grid,) = activation_grids(model(), picture(), ["1"], size=32, parts=2, device="cpu")
    assert grid.parts is not None
    leading = grid.parts.leading
    assert set(leading[:4, 4:].ravel()) == {0}  # red is the louder
    assert set(leading[4:, :4].ravel()) == {1}
    assert set(leading[:4, :4].ravel()) == {-1}
    shown = parts_overlay(grid, picture().permute(1, 2, 0).numpy())
    middle = (
        shown[len(shown) // 4, 3 * len(shown) // 4].astype(int),
        shown[3 * len(shown) // 4, len(shown) // 4].astype(int),
    )
    assert np.abs(middle[0] - middle[1]).max() > 40
    page = grids_section((grid,), picture().permute(1, 2, 0).numpy())
    assert "2 groups make up 100%" in page


def test_neighbours_of_a_large_map_are_averaged() -> None:
    values = torch.arange(2 * 5 * 5, dtype=torch.float32).view(2, 5, 5)
    pooled, together = merged(values, 3)
    assert together == 2
    assert pooled.shape == (2, 3, 3)
    np.testing.assert_allclose(pooled[1, 0, 1], values[1, :2, 2:4].mean())
    np.testing.assert_allclose(pooled[0, 2, 2], values[0, 4, 4])  # the odd edge stands for itself
    assert merged(values, 5)[1] == 1


def test_a_vector_and_a_dead_picture() -> None:
    whole = torch.nn.Sequential(model().network, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    vector = Model(whole, "pooled", model().preprocess, (), "0" * 64)
    (grid,) = activation_grids(vector, picture(), ["2"], size=32, device="cpu")
    assert grid.norms.shape == (1, 1)
    assert grid.parts is None
    (dead,) = activation_grids(model(), torch.zeros(3, 32, 32, dtype=torch.uint8), ["1"], size=32, device="cpu")
    assert not dead.norms.any()
    assert not dead.icons.any()
    assert dead.parts is None
    assert "8 × 8 icons" in grids_section((dead,), np.zeros((32, 32, 3), np.uint8))
