from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from atlas.rendering.objective import Objective, attention, window, with_length


def test_the_window_is_the_product_of_two_squared_sines() -> None:
    weights = window(2, 3).reshape(2, 3).numpy()
    expected = np.array(
        [[math.sin(math.pi * y / 3) ** 2 * math.sin(math.pi * x / 4) ** 2 for x in (1, 2, 3)] for y in (1, 2)]
    )
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-6)
    assert window(1, 1).tolist() == [1.0]


def test_the_objective_is_the_sum_that_its_docstring_says() -> None:
    random = np.random.default_rng(0)
    found, directions, mean = random.random((2, 6, 5)), random.random((2, 5)), random.random(5) * 0.1
    weights = window(2, 3).double().numpy()
    objective = Objective(strength=2, angle=8, contrast=4, knee=0.01)
    expected = []
    for h, v in zip(found, directions, strict=True):
        total = 0.0
        for position, weight in zip(h, weights, strict=True):
            cosine = position @ v / np.linalg.norm(position) / np.linalg.norm(v)
            total += weight * (2 * math.log(position @ v / (v @ v)) + 8 * math.log(cosine))
        pooled = weights @ h - mean
        total += 4 * math.log(pooled @ (v - mean) / np.linalg.norm(pooled) / np.linalg.norm(v - mean))
        expected.append(total)
    arguments = [torch.from_numpy(array) for array in (found, directions, weights, mean)]
    np.testing.assert_allclose(objective(*arguments).numpy(), expected, rtol=1e-9)
    without = Objective(2, 8, 0, 0.01)(*arguments).numpy()
    np.testing.assert_allclose(objective(*arguments[:3], None).numpy(), without)


@pytest.mark.parametrize("scale", [-3.0, -0.01, 0.0, 0.01, 3.0])
def test_the_gradient_points_towards_the_direction_from_anywhere(scale: float) -> None:
    direction = torch.tensor([[1.0, 2.0, 0.5]])
    start = scale * torch.tensor([[[1.0, 1.0, 1.0]]])
    found = start.clone().requires_grad_()
    value = Objective()(found, direction, torch.ones(1), None).sum()
    (gradient,) = torch.autograd.grad(value, found)
    assert torch.isfinite(gradient).all()
    assert float((gradient * direction).sum()) > 0


def test_scaling_a_direction_and_what_is_found_changes_nothing() -> None:
    found, direction = torch.rand(1, 4, 5), torch.rand(1, 5)
    weights = window(2, 2)
    torch.testing.assert_close(
        Objective()(found, direction, weights, None), Objective()(found * 1000, direction * 1000, weights, None)
    )


@pytest.mark.parametrize("length", [1e-10, 1e-20])
def test_a_short_direction_asks_for_the_same_angles(length: float) -> None:
    generator = torch.Generator().manual_seed(0)
    found = torch.rand(2, 4, 5, generator=generator)
    unit, _ = with_length(torch.rand(2, 5, generator=generator))
    weights = window(2, 2)
    angle = Objective(strength=0)
    expected = angle.slope(found, unit, weights, None)
    torch.testing.assert_close(angle.slope(found, unit * length, weights, None), expected, rtol=1e-4, atol=1e-6)
    for values in (found, torch.zeros_like(found)):
        assert torch.isfinite(Objective().slope(values, unit * length, weights, torch.full((5,), 0.1))).all()


def test_a_vector_of_zeros_has_no_length_and_stays_zero() -> None:
    unit, lengths = with_length(torch.tensor([[0.0, 0.0], [3e-30, 4e-30]]))
    torch.testing.assert_close(unit, torch.tensor([[0.0, 0.0], [0.6, 0.8]]))
    torch.testing.assert_close(lengths, torch.tensor([[0.0], [5e-30]]), rtol=1e-5, atol=0)


def test_a_cell_that_is_the_layers_mean_asks_for_no_contrast() -> None:
    direction = torch.tensor([[1.0, 2.0, 3.0]])
    found = torch.rand(1, 4, 3).requires_grad_()
    value = Objective()(found, direction, window(2, 2), direction[0])
    (gradient,) = torch.autograd.grad(value.sum(), found)
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(value, Objective()(found, direction, window(2, 2), None))


@pytest.mark.parametrize("with_mean", [False, True])
def test_the_slope_is_the_gradient_of_the_value(with_mean: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    found = torch.randn(3, 6, 5, generator=generator, dtype=torch.float64).requires_grad_()
    directions = torch.rand(3, 5, generator=generator, dtype=torch.float64)
    mean = torch.rand(5, generator=generator, dtype=torch.float64) * 0.3 if with_mean else None
    weights = window(2, 3).double()
    (expected,) = torch.autograd.grad(Objective()(found, directions, weights, mean).sum(), found)
    torch.testing.assert_close(Objective().slope(found.detach(), directions, weights, mean), expected)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 4), (11, 11)])
def test_attention_is_the_window_and_a_share_for_the_centre(height: int, width: int) -> None:
    plain, focused = window(height, width), attention(height, width, 0.25)
    centre = height // 2 * width + width // 2
    assert focused.sum().item() == pytest.approx(1)
    assert focused[centre].item() == pytest.approx(0.75 * plain[centre].item() + 0.25)
    others = torch.arange(height * width) != centre
    torch.testing.assert_close(focused[others], 0.75 * plain[others])
