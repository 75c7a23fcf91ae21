from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atlas.errors import LayerError
from atlas.models import capture
from atlas.models.capture import first_tensor, replace_first


class Reusing(nn.Module):
    """One in-place ReLU three times, a layer that never runs, a layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.idle = nn.Linear(1, 1)
        self.head = nn.Linear(4, 5)
        self.alias = self.head
        self.ran: list[str] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.conv1(x))
        x = self.relu(x + self.conv2(x))
        self.ran.append("second")
        return self.relu(self.head(x.mean((2, 3))))


class Attention(nn.Module):
    def __init__(self, wrap) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.wrap = wrap

    def forward(self, *, x: torch.Tensor):
        return self.wrap(self.inner(x))


Pair = namedtuple("Pair", ["x", "weights"])


@dataclass
class Record:
    note: str
    x: torch.Tensor


WRAPS = {
    "tuple": lambda x: (x, x + 1),
    "list": lambda x: [None, x],
    "namedtuple": lambda x: Pair(x, None),
    "dict": lambda x: OrderedDict(none=None, x=x),
    "dataclass": lambda x: Record("a", x),
    "nested": lambda x: ({"x": (x,)}, 3),
}


class Wrapping(nn.Module):
    def __init__(self, wrap) -> None:
        super().__init__()
        self.attention = Attention(wrap)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return first_tensor(self.attention(x=x)) * 2


def network() -> Reusing:
    torch.manual_seed(0)
    return Reusing().eval()


def batch() -> torch.Tensor:
    return torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(1))


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def expected(net: Reusing, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every layer by hand, without anything in place."""
    conv1 = F.conv2d(x, net.conv1.weight, net.conv1.bias, padding=1)
    first = conv1.clamp(min=0)
    conv2 = F.conv2d(first, net.conv2.weight, net.conv2.bias, padding=1)
    second = (first + conv2).clamp(min=0)
    head = F.linear(second.mean((2, 3)), net.head.weight, net.head.bias)
    return {
        "conv1": conv1, "relu": first, "conv2": conv2, "relu#1": second, "head": head, "relu#2": head.clamp(min=0),
        "relu#0": first, "alias": head,
    }  # fmt: skip


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("stop", [True, False])
def test_captures_what_each_call_gave_before_anything_changed_it(mode, stop) -> None:
    net, x = network(), batch()
    names = ["relu#2", "conv2", "alias", "conv1", "relu", "relu#0", "relu#1", "head"]
    with mode(), capture(net, names, stop=stop) as run:
        seen = run(x)
        again = run(x)
    truth = expected(net, x)
    assert list(seen) == names
    for name in names:
        assert torch.allclose(seen[name], truth[name], atol=1e-6), name
        assert torch.equal(seen[name], again[name])
    assert (run.output is None) == stop
    if not stop:
        assert torch.allclose(run.output, truth["relu#2"], atol=1e-6)


def test_input_tap_sees_what_goes_into_a_layer() -> None:
    net, x = network(), batch()
    truth = expected(net, x)
    with torch.no_grad(), capture(net, ["relu", "conv1", "relu#2"], tap="input") as run:
        seen = run(x)
    assert torch.allclose(seen["relu"], truth["conv1"], atol=1e-6)
    assert torch.equal(seen["conv1"], x)
    assert torch.allclose(seen["relu#2"], truth["head"], atol=1e-6)


def test_stops_after_the_deepest_layer_only() -> None:
    net, x = network(), batch()
    with torch.no_grad(), capture(net, ["conv2", "conv1"]) as run:
        run(x)
        assert net.ran == []
    with torch.no_grad(), capture(net, ["conv2", "relu#2"]) as run:
        run(x)
        assert net.ran == ["second"]


def test_gradients_flow_through_what_is_captured() -> None:
    net, x = network(), batch().requires_grad_()
    with capture(net, ["conv2"]) as run:
        (slope,) = torch.autograd.grad(run(x)["conv2"].sum(), x)
    (truth,) = torch.autograd.grad(expected(net, x)["conv2"].sum(), x)
    assert torch.allclose(slope, truth, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(WRAPS))
@pytest.mark.parametrize("tap", ["output", "input"])
def test_finds_the_first_tensor_whatever_it_is_wrapped_in(kind, tap) -> None:
    net, x = Wrapping(WRAPS[kind]).eval(), torch.randn(2, 4)
    with torch.no_grad(), capture(net, ["attention"], tap=tap) as run:
        seen = run(x)["attention"]
    assert torch.equal(seen, x if tap == "input" else F.linear(x, net.attention.inner.weight, net.attention.inner.bias))
    wrapped = WRAPS[kind](x)
    swapped = replace_first(wrapped, x + 5)
    assert type(swapped) is type(wrapped)
    assert torch.equal(first_tensor(swapped), x + 5)
    assert torch.equal(first_tensor(wrapped), x)


def test_keep_reduces_inside_the_pass() -> None:
    net, x = network(), batch()
    with torch.no_grad(), capture(net, ["conv1", "conv2"], keep=lambda name, h: (name, h.mean((2, 3)))) as run:
        seen = run(x)
    assert seen["conv1"][0] == "conv1"
    assert torch.allclose(seen["conv1"][1], expected(net, x)["conv1"].mean((2, 3)), atol=1e-6)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_hooks_are_removed_whatever_happens(raised) -> None:
    net, x = network(), batch()

    def keep(name, tensor):
        raise raised

    with pytest.raises(raised), capture(net, ["conv1"], keep=keep) as run:  # noqa: PT012 - the count is the point
        assert hooks(net) == 1
        run(x)
    assert hooks(net) == 0
    with pytest.raises(LayerError), capture(net, ["conv1", "nowhere"]):
        pass
    assert hooks(net) == 0


def test_a_network_that_swallows_exceptions_still_stops() -> None:
    class Swallowing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            try:
                return self.inner(x)
            except Exception:  # noqa: BLE001 - a stranger's network may
                raise AssertionError("the network's own except was entered") from None

    with torch.no_grad(), capture(Swallowing(), ["inner"]) as run:
        assert run(torch.ones(1, 4))["inner"].shape == (1, 4)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("conv3", r"Reusing has no layer 'conv3'; did you mean 'conv\d'\? 'atlas layers MODEL' lists"),
        ("", "has no layer ''"),
        ("relu#3", r"'relu' runs 3 times in one pass, so there is no 'relu#3'"),
        ("relu#x", "must be the number of a call"),
        ("idle", "'idle' does not run in this network's forward pass"),
    ],
)
def test_wrong_layers_are_explained(layer, message) -> None:
    with pytest.raises(LayerError, match=message), torch.no_grad(), capture(network(), ["conv1", layer]) as run:
        run(batch())
