"""Other gradients for the same network: rules laid over the functions it calls, not over its modules.

Hooks on modules miss `F.relu` and mix up a module that runs twice. A `TorchFunctionMode` sees every call, so that the
rules hold for networks as they are written. A rule never changes a value, only what flows back: it returns an
expression in its inputs whose value is the function's own and whose derivative is the rule's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

RECTIFIERS = frozenset(("relu",))
GATES = frozenset(
    ("gelu", "silu", "hardswish", "hardtanh", "relu6", "leaky_relu", "elu", "tanh", "mish", "celu", "selu")
)
SQUASHERS = frozenset(("sigmoid", "hardsigmoid", "softplus"))  # not 0 at 0: relevance cannot simply pass
WEIGHTED = frozenset(("conv1d", "conv2d", "conv3d", "linear"))
# Functions that none of these rules is made for; named in a refusal, where the sums say that it must be one.
STRANGE = {
    "layer_norm": "layer normalisation",
    "group_norm": "group normalisation",
    "instance_norm": "instance normalisation",
    "softmax": "softmax",
    "scaled_dot_product_attention": "attention",
    "multi_head_attention_forward": "attention",
    "mul": "products of activations",
    "sigmoid": "sigmoid gates",
    "hardsigmoid": "sigmoid gates",
}
_Bare = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_TINY = 1e-9  # of a layer's mean |value|: what a divisor is kept away from 0 by


class Rules(TorchFunctionMode):
    """Intercepts the functions of a forward pass by name; children say what flows back instead.

    seen: the names of the functions called. In-place variants are run out of place: a rule must not lose its input.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one function, by its rule where it has one."""
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        bare = name.rstrip("_") if not name.startswith("__") else name
        if bare in STRANGE and not (bare == "mul" and not all(isinstance(a, torch.Tensor) for a in args[:2])):
            self.seen.add(bare)
        rule = self._rule(bare)
        if rule is None or not args or not isinstance(args[0], torch.Tensor):
            return func(*args, **kwargs)
        self.seen.add(bare)
        if "inplace" in kwargs:
            kwargs["inplace"] = False
        run = getattr(torch.Tensor, bare) if bare != name else func  # relu_ -> relu
        return rule(run, args, kwargs)

    def _rule(self, name: str) -> Callable[..., Any] | None:
        raise NotImplementedError

    @property
    def strange(self) -> list[str]:
        """What ran that the rules are not made for, in words."""
        return sorted({STRANGE[name] for name in self.seen & STRANGE.keys()})


class Guided(Rules):
    """Guided back-propagation: a ReLU passes back only what is positive. Springenberg et al. 2015, section 3.4."""

    def _rule(self, name: str) -> Callable[..., Any] | None:
        if name in RECTIFIERS:
            return self._rectified
        return self._noted if name in GATES else None

    def _rectified(self, run: Callable[..., Any], args: Any, kwargs: Any) -> torch.Tensor:
        out: torch.Tensor = run(*args, **kwargs)
        if out.requires_grad:
            out = out.view_as(out)
            out.register_hook(lambda gradient: gradient.clamp(min=0))
        return out

    def _noted(self, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return run(*args, **kwargs)


class Lift(Rules):
    """DeepLIFT's rescale rule for a batch of pictures followed by its baselines. Shrikumar et al. 2017, section 3.5.

    A nonlinearity passes back Δout / Δin instead of its slope; a maximum gives its difference to the winner among
    the picture's values and the winner among the baseline's, as captum does, so that the contributions add up.
    """

    def _rule(self, name: str) -> Callable[..., Any] | None:
        if name in RECTIFIERS | GATES | SQUASHERS:
            return self._rescaled
        return self._pooled if name in ("max_pool2d", "max_pool2d_with_indices", "adaptive_max_pool2d") else None

    def _rescaled(self, run: Callable[..., Any], args: Any, kwargs: Any) -> torch.Tensor:
        x = args[0]
        out: torch.Tensor = run(*args, **kwargs)
        if not x.requires_grad:
            return out
        with torch.no_grad():
            here, there = x.chunk(2)
            change = here - there
            small = change.abs() < 1e-7 * (here.abs() + there.abs() + 1)
            ratio = torch.where(small, 0.0, (out[: len(here)] - out[len(here) :]) / torch.where(small, 1.0, change))
            ratio = torch.where(small, self._slope(run, args, kwargs)[: len(here)], ratio)
            ratio = torch.cat([ratio, ratio])
        return _as(out, x * ratio)

    def _slope(self, run: Callable[..., Any], args: Any, kwargs: Any) -> torch.Tensor:
        with torch.enable_grad():
            alone = args[0].detach().requires_grad_()
            return torch.autograd.grad(run(alone, *args[1:], **kwargs).sum(), alone)[0]

    def _pooled(self, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        x = args[0]
        wanted = bool(kwargs.pop("return_indices", False))
        pool = functional.adaptive_max_pool2d if "adaptive" in run.__name__ else functional.max_pool2d
        out, winners = pool(*args, return_indices=True, **kwargs)
        if not x.requires_grad:
            return (out, winners) if wanted else out
        half = len(x) // 2
        flat = x.flatten(2)
        won, lost = winners[:half].flatten(2), winners[half:].flatten(2)
        here, there = flat[:half], flat[half:]
        with torch.no_grad():
            value, base = out[:half].flatten(2), out[half:].flatten(2)
            top = torch.maximum(value, base)
            gained = _share(top - base, here.gather(2, won) - there.gather(2, won))
            given = _share(value - top, here.gather(2, lost) - there.gather(2, lost))
        linear = here.gather(2, won) * gained + here.gather(2, lost) * given
        pooled = torch.cat([_as(out[:half], linear.view_as(out[:half])), out[half:].detach()])
        return (pooled, winners) if wanted else pooled


class Relevance(Rules):
    """Layer-wise relevance propagation, written as gradient × activation. Bach et al. 2015; Montavon et al. 2019.

    What flows back at an activation a is R / a. Then sums, averages, maxima, paddings and ReLUs need no rule of
    their own: their ordinary gradient already splits relevance in proportion. Convolutions take z+, linear layers
    and the last weighted call take epsilon (zennit's EpsilonPlus), all without their bias, which would swallow
    relevance. Batch normalisation is folded into the convolution before it (its sign decides what z+ keeps).
    """

    def __init__(self, weighted_calls: int) -> None:
        """weighted_calls: how many convolutions and linear layers one pass runs, see `count_weighted`."""
        super().__init__()
        self._left = weighted_calls
        self._made: dict[int, tuple[torch.Tensor, _Bare, torch.Tensor, torch.Tensor, bool]] = {}

    def _rule(self, name: str) -> Callable[..., Any] | None:
        if name in WEIGHTED:
            return self._weighted
        if name == "batch_norm":
            return self._normed
        return self._passed if name in GATES else None

    def _weighted(self, run: Callable[..., Any], args: Any, kwargs: Any) -> torch.Tensor:
        self._left -= 1
        out: torch.Tensor = run(*args, **kwargs)
        if not args[0].requires_grad:
            return out
        # Some call linear(input, weight, bias), others name the weight.
        named = {"weight": args[1], **kwargs} if len(args) > 1 else dict(kwargs)
        rest = args[3:]
        plus = "conv" in run.__name__ and self._left > 0
        weight = named.pop("weight")
        named.pop("bias", None)

        def bare(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = run(x, w, None, *rest, **named)
            return found

        ruled = _weighted_rule(bare, args[0], weight, out, plus)
        self._made[id(ruled)] = (ruled, bare, args[0], weight, plus)  # held, so that its id stays its own
        return ruled

    def _normed(self, run: Callable[..., Any], args: Any, kwargs: Any) -> torch.Tensor:
        x = args[0]
        out: torch.Tensor = run(*args, **kwargs)
        if not x.requires_grad:
            return out
        made = self._made.get(id(x))
        if made is None:  # nothing to fold it into: what the scale does passes, the shift is left out
            return _as(out, x * (out / _off_zero(x)).detach())
        _, bare, before, weight, plus = made
        names = ("running_mean", "running_var", "weight", "bias")
        given = dict(zip(names, args[1:], strict=False)) | kwargs
        scale = torch.rsqrt(given["running_var"] + kwargs.get("eps", 1e-5))
        if given.get("weight") is not None:
            scale = scale * given["weight"]
        return _weighted_rule(bare, before, weight * scale.view(-1, *(1,) * (weight.ndim - 1)), out, plus)

    def _passed(self, run: Callable[..., Any], args: Any, kwargs: Any) -> torch.Tensor:
        out: torch.Tensor = run(*args, **kwargs)
        return _as(out, args[0] * (out / _off_zero(args[0])).detach()) if args[0].requires_grad else out


class _Count(Rules):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def _rule(self, name: str) -> Callable[..., Any] | None:
        return self._counted if name in WEIGHTED else None

    def _counted(self, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        self.calls += 1
        return run(*args, **kwargs)


def count_weighted(network: torch.nn.Module, batch: torch.Tensor) -> int:
    """How many convolutions and linear layers run in one pass."""
    with torch.no_grad(), _Count() as count:
        network(batch[:1])
    return count.calls


def _weighted_rule(
    bare: _Bare,
    x: torch.Tensor,
    weight: torch.Tensor,
    out: torch.Tensor,
    plus: bool,
) -> torch.Tensor:
    """z+ (what raises the output gets the relevance) or epsilon (all shares, signed), without the bias."""
    if plus:
        found = bare(x.clamp(min=0), weight.clamp(min=0)) + bare(x.clamp(max=0), weight.clamp(max=0))
    else:
        found = bare(x, weight)
    return _as(out, found * (out / _off_zero(found)).detach())


def _off_zero(values: torch.Tensor) -> torch.Tensor:
    """The same values, kept away from 0 by a billionth of their mean size; those that are 0 stay harmless."""
    values = values.detach()
    least = _TINY * values.abs().mean() + torch.finfo(values.dtype).tiny
    return torch.where(values < 0, values - least, values + least)


def _as(value: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """A tensor with the one's value and the other's derivative."""
    return flow + (value - flow).detach()


def _share(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    return torch.where(whole == 0, 0.0, part / torch.where(whole == 0, 1.0, whole))
