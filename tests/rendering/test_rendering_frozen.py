from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from atlas.rendering.frozen import freeze


def answers(network: nn.Module, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A network's output, and the gradient of its square for the pictures."""
    leaf = pictures.clone().requires_grad_()
    found = network(leaf)
    (gradient,) = torch.autograd.grad(found.square().sum(), leaf)
    return found.detach(), gradient


@pytest.mark.parametrize("kernel", [1, 3, (5, 4), 7])
@pytest.mark.parametrize("stride", [2, 3, 4])
@pytest.mark.parametrize("padding", [0, 1, (0, 2)])
@pytest.mark.parametrize("size", [(31, 32), (24, 25)])
def test_a_strided_convolution_keeps_its_values_and_gradients(
    kernel: int | tuple[int, int], stride: int, padding: int | tuple[int, int], size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 6, kernel, stride, padding).double().requires_grad_(False)
    quick = freeze(copy.deepcopy(plain))
    assert type(quick) is not type(plain)
    pictures = torch.randn(2, 3, *size, dtype=torch.float64)
    for expected, found in zip(answers(plain, pictures), answers(quick, pictures), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("affine", [True, False])
def test_a_fixed_norm_keeps_its_values_and_gradients(affine: bool) -> None:
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(5, affine=affine).double()
    plain(torch.randn(8, 5, 4, 4, dtype=torch.float64) * 3 + 1)
    if affine:
        nn.init.normal_(plain.weight)
        nn.init.normal_(plain.bias)
    plain.eval().requires_grad_(False)
    quick = freeze(copy.deepcopy(plain))
    pictures = torch.randn(2, 5, 4, 4, dtype=torch.float64)
    for expected, found in zip(answers(plain, pictures), answers(quick, pictures), strict=True):
        torch.testing.assert_close(found, expected)


def test_names_hooks_and_parameters_stay_and_what_is_special_is_left_alone() -> None:
    class Own(nn.Conv2d):
        pass

    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), Own(4, 4, 3, 2), nn.Conv2d(4, 4, 3, 2, padding_mode="reflect")
    )
    seen: list[int] = []
    network[0].register_forward_hook(lambda *_: seen.append(1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    frozen = freeze(network.eval())
    frozen(torch.zeros(1, 3, 32, 32))
    assert seen == [1]
    assert list(frozen.state_dict()) == list(before)
    assert isinstance(frozen[0], nn.Conv2d)
    assert type(frozen[2]) is Own
    assert type(frozen[3]) is nn.Conv2d


def test_statistics_that_follow_the_batch_are_left_to_follow_it() -> None:
    plain = nn.BatchNorm2d(3, track_running_stats=False)
    assert type(freeze(plain)) is nn.BatchNorm2d


def test_a_strided_convolution_works_under_autocast() -> None:
    network = freeze(nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU()).eval().requires_grad_(False))
    pictures = torch.rand(2, 3, 16, 16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        network(pictures).float().sum().backward()
    assert pictures.grad is not None
    plain = nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU())
    plain.load_state_dict(network.state_dict())
    again = pictures.detach().clone().requires_grad_()
    plain(again).sum().backward()
    assert again.grad is not None
    near = nn.functional.cosine_similarity(pictures.grad.flatten(), again.grad.flatten(), dim=0)
    assert float(near) > 0.98
