"""Effects: how much a layer's activation contributes, linearly, to each class's logit."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from atlas.errors import LayerError, ModelError
from atlas.models.capture import Keep, Tap, Watch
from atlas.models.load import Model
from atlas.records import LayerShape

Positions = Mapping[str, torch.Tensor | None]

# Copies of the batch that one pass may carry through the tail at once: beyond this, further passes.
# On a CPU a pass over more rows is no faster per row, and its memory grows.
_COPIES = 8

# Effects below this share of the largest logit are rounding: before a LayerNorm they were 1e-9 to 1e-6 of it.
NEGLIGIBLE = 1e-5


class _Refused(Exception):
    """A way of computing effects does not suit this network; the next one is tried."""


@dataclass(frozen=True)
class Pass:
    """What one batch gave.

    logits: float32 (n, classes), None for an encoder. seen: for each layer what `keep` made of its tensor.
    effects: float32 (n, e, classes) for each layer asked for.
    """

    logits: torch.Tensor | None
    seen: dict[str, Any]
    effects: dict[str, torch.Tensor]


class EffectTracer:
    """Runs batches for logits, activations and effects, in one pass where the network allows it.

    The effect of a position on a class is the directional derivative of the class's logit along the position's own
    activation h, everything else held: J h. Forward-mode differentiation gives it for all classes at once
    (Baydin et al. 2018, "Automatic Differentiation in Machine Learning: a Survey"). From a layer on, the batch is
    carried once more for each further position and layer, with that tangent alone, so what lies before the layer
    runs once. Where that fails (a shortcut leads around the layer) every position takes a pass of its own; where an
    operation has no forward mode, or there are more positions than classes, reverse mode takes a pass per class.
    The tracer remembers what worked.

    Before a normalisation that ignores scale h itself has almost no effect; see `effect_caveat`.
    """

    def __init__(
        self, model: Model, shapes: Mapping[str, LayerShape], *, tap: Tap = "output", keep: Keep | None = None
    ) -> None:
        """shapes: the layers to read, as `layer_shapes` gives them. keep: as for `capture`."""
        self._model = model
        self._shapes = dict(shapes)
        self._tap = tap
        self._keep = keep
        self._joint = True  # all layers in one pass
        with warnings.catch_warnings():
            # torch scripts these on first use and warns that torch.jit is deprecated: no matter of the user's.
            warnings.simplefilter("ignore")
            importlib.import_module("torch._decomp.decompositions_for_jvp")
        self._reverse: set[str] = set()  # layers behind which something has no forward mode

    def __call__(self, batch: torch.Tensor, positions: Positions) -> Pass:
        """Run one batch.

        batch: normalised, (n, channels, h, w), on the model's device. positions: for each layer whose effects are
        wanted, flat grid indices, int64 (n, e), where -prefix ... -1 are the prefix tokens, or None for the pooled
        row (h everywhere). Raises LayerError when the logits do not depend on a layer, ModelError when the model
        has no logits.
        """
        if positions and not self._model.is_classifier:
            raise ModelError(f"{self._model.name} has no class names, so there are no effects: give classes")
        with torch.inference_mode(False), torch.no_grad(), plain_attention():
            batch = batch.clone() if batch.is_inference() else batch
            requests = {layer: self._request(layer, where, len(batch)) for layer, where in positions.items()}
            return self._run(batch, requests)

    def _request(self, layer: str, where: torch.Tensor | None, rows: int) -> torch.Tensor | None:
        shape = self._shapes[layer]
        if where is None:
            return None
        where = where.to(self._model.device)
        if where.ndim != 2 or len(where) != rows or where.shape[1] < 1:
            raise ValueError(f"positions of '{layer}' have shape {tuple(where.shape)}, expected ({rows}, e)")
        if int(where.min()) < -shape.prefix or int(where.max()) >= shape.height * shape.width:
            raise ValueError(f"positions of '{layer}' lie outside its grid of {shape.height} x {shape.width}")
        return where

    def _run(self, batch: torch.Tensor, requests: dict[str, torch.Tensor | None]) -> Pass:
        classes = len(self._model.outputs)
        backward = [
            layer
            for layer, where in requests.items()
            if layer in self._reverse or (where is not None and where.shape[1] > classes)
        ]
        forward = {layer: where for layer, where in requests.items() if layer not in backward}
        # One row cannot carry copies safely: a shortcut around the layer would broadcast them, tangents and all.
        if self._joint and forward and len(batch) > 1:
            try:
                passes = [self._together(batch, some) for some in _portions(forward)]
            except (_Refused, NotImplementedError):
                self._joint = False  # each layer alone will show which one has no forward mode, if any
            else:
                whole = {
                    layer: torch.cat([p.effects[layer] for p in passes if layer in p.effects], 1) for layer in forward
                }
                return self._finish(batch, Pass(passes[0].logits, passes[0].seen, whole), backward, requests)
        plain = self._plain(batch)
        for layer, where in forward.items():
            try:
                plain.effects[layer] = self._alone(batch, layer, where)
            except NotImplementedError:
                self._reverse.add(layer)
                backward.append(layer)
        return self._finish(batch, plain, backward, requests)

    def _finish(
        self, batch: torch.Tensor, found: Pass, backward: list[str], requests: dict[str, torch.Tensor | None]
    ) -> Pass:
        for layer in backward:
            found.effects[layer] = self._backward(batch, layer, requests[layer])
        ordered = {layer: found.effects[layer] for layer in requests}
        return Pass(found.logits, {layer: found.seen[layer] for layer in self._shapes}, ordered)

    def _plain(self, batch: torch.Tensor) -> Pass:
        """A pass without effects."""
        seen: dict[str, Any] = {}

        def see(layer: str, tensor: torch.Tensor) -> None:
            seen[layer] = self._kept(layer, tensor)

        output = self._watched(batch, list(self._shapes), see)
        return Pass(self._model.check_logits(output) if self._model.is_classifier else None, seen, {})

    def _kept(self, layer: str, tensor: torch.Tensor) -> Any:
        return tensor.clone() if self._keep is None else self._keep(layer, tensor)

    def _watched(self, batch: torch.Tensor, layers: list[str], see: Callable[[str, torch.Tensor], Any]) -> Any:
        with Watch(self._model.network, layers, see, tap=self._tap) as watch:
            output = self._model.network(batch)
            watch.check_complete()
        return output

    def _together(self, batch: torch.Tensor, forward: dict[str, torch.Tensor | None]) -> Pass:
        """Logits, activations and the effects of all layers in one pass, its batch growing at each layer."""
        n = len(batch)
        seen: dict[str, Any] = {}
        slots: list[str] = []  # the layer whose tangent each group of n rows carries; group 0 is the batch itself

        def see(layer: str, tensor: torch.Tensor) -> torch.Tensor | None:
            whole, carried = forward_ad.unpack_dual(tensor)
            primal = whole[:n]
            seen[layer] = self._kept(layer, primal)
            if layer not in forward:
                return None
            if len(whole) != n * max(1, len(slots)):
                raise _Refused  # the layers do not follow one another
            tangents = list(self._tangents(layer, primal, forward[layer]))
            new = len(tangents) - (not slots)  # the batch itself carries the very first tangent
            if slots:
                tangents.insert(0, torch.zeros_like(whole) if carried is None else carried)
            slots.extend([layer] * (len(tangents) - bool(slots)))
            grown = torch.cat([whole, *[primal] * new]) if new else whole
            return forward_ad.make_dual(grown, torch.cat(tangents))

        with forward_ad.dual_level():
            try:
                output = self._watched(batch, list(self._shapes), see)
                logits, tangent = forward_ad.unpack_dual(self._model.check_logits(output))
            except (RuntimeError, ValueError, IndexError, ModelError) as error:
                if isinstance(error, NotImplementedError) or len(slots) < 2:
                    raise
                raise _Refused from error  # a shortcut leads around a layer: the numbers of rows differ
            # Copies must have gone through as pictures of their own, not as tokens or channels of others.
            copies = logits.unflatten(0, (len(slots), n)) if len(logits) == len(slots) * n else None
            if copies is None or not torch.allclose(
                copies, copies[:1].expand_as(copies), rtol=1e-3, atol=1e-4, equal_nan=True
            ):
                raise _Refused
            if tangent is None:
                raise _Refused  # one pass for each layer will say which one the logits do not depend on
        effects: dict[str, torch.Tensor] = {}
        parts = tangent.float().unflatten(0, (len(slots), n))
        for layer in forward:
            effects[layer] = torch.stack([parts[g] for g, slot in enumerate(slots) if slot == layer], dim=1)
        return Pass(logits[:n].contiguous(), seen, effects)

    def _tangents(self, layer: str, h: torch.Tensor, where: torch.Tensor | None) -> Iterator[torch.Tensor]:
        if where is None:
            yield h.clone()
        else:
            for index in where.T:
                yield at_position(h, self._shapes[layer], index)

    def _alone(self, batch: torch.Tensor, layer: str, where: torch.Tensor | None) -> torch.Tensor:
        """One layer's effects by forward mode, a whole pass for each position."""
        effects = []
        for index in [None] if where is None else where.T:

            def see(name: str, h: torch.Tensor, index: torch.Tensor | None = index) -> torch.Tensor:
                return forward_ad.make_dual(
                    h, h.clone() if index is None else at_position(h, self._shapes[name], index)
                )

            with forward_ad.dual_level():
                output = self._watched(batch, [layer], see)
                tangent = forward_ad.unpack_dual(self._model.check_logits(output)).tangent
                if tangent is None:
                    raise self._independent(layer)
                effects.append(tangent.float())
        return torch.stack(effects, dim=1)

    def _backward(self, batch: torch.Tensor, layer: str, where: torch.Tensor | None) -> torch.Tensor:
        """One layer's effects by reverse mode: one pass, and one way back for each class."""
        held: list[torch.Tensor] = []

        def see(_: str, h: torch.Tensor) -> torch.Tensor:
            held.append(h.detach().clone().requires_grad_())
            return held[0].clone()  # the network may change it in place

        with torch.enable_grad():
            logits = self._model.check_logits(self._watched(batch, [layer], see))
            if not logits.requires_grad:
                raise self._independent(layer)
            h, shape = held[0].detach(), self._shapes[layer]
            columns = []
            for index in range(logits.shape[1]):
                (slope,) = torch.autograd.grad(logits[:, index].sum(), held[0], retain_graph=True, allow_unused=True)
                if slope is None:
                    raise self._independent(layer)
                product = slope * h
                if where is None:
                    columns.append(product.flatten(1).sum(1, keepdim=True))
                else:
                    columns.append(_flat_positions(product, shape).sum(-1).gather(1, where + shape.prefix))
        return torch.stack(columns, dim=-1).detach().float()

    def _independent(self, layer: str) -> LayerError:
        return LayerError(
            f"{self._model.name}: the logits do not depend on layer '{layer}', so it has no effects: "
            "set effects = 0, or choose a layer on the way to the output"
        )


def effects(
    model: Model,
    batch: torch.Tensor,
    layer: str,
    shape: LayerShape,
    positions: torch.Tensor | None,
    *,
    tap: Tap = "output",
) -> torch.Tensor:
    """The linear contribution of positions to every logit: float32 (n, e, classes).

    positions: flat grid indices int64 (n, e), or None for the pooled row. The simple form of `EffectTracer`.
    """
    return EffectTracer(model, {layer: shape}, tap=tap)(batch, {layer: positions}).effects[layer]


def effect_caveat(layer: str, shape: LayerShape, values: torch.Tensor, logits: torch.Tensor) -> str | None:
    """A sentence for the user when a layer's effects say nothing; else None.

    They are all zero where positions do not reach the logits (patch tokens in a ViT's last block), and next to zero
    before a normalisation of each position, which ignores the length of h. values: effects, of any shape; logits:
    of the same pictures.
    """
    largest = float(values.abs().max()) if values.numel() else 1.0
    if largest > NEGLIGIBLE * float(logits.abs().max()):
        return None
    if largest > 0:
        return (
            f"effects at layer '{layer}' are next to zero: what follows it normalises every position, which ignores "
            "an activation's length; choose a layer after a normalisation, or inside a block"
        )
    if shape.kind == "tokens" and shape.prefix:
        return (
            f"all effects at layer '{layer}' are zero: the head reads the CLS token alone, which its patch tokens "
            "no longer reach; choose an earlier block"
        )
    return f"all effects at layer '{layer}' are zero: its positions do not reach the logits; choose an earlier layer"


def _portions(forward: Mapping[str, torch.Tensor | None]) -> Iterator[dict[str, torch.Tensor | None]]:
    """Split a request into passes of at most _COPIES tangents, layers and positions in order."""
    portion: dict[str, torch.Tensor | None] = {}
    room = _COPIES
    for layer, where in forward.items():
        start, count = 0, 1 if where is None else where.shape[1]
        while start < count:
            taken = min(room, count - start)
            portion[layer] = None if where is None else where[:, start : start + taken]
            start, room = start + taken, room - taken
            if room == 0:
                yield portion
                portion, room = {}, _COPIES
    if portion:
        yield portion


def at_position(tensor: torch.Tensor, shape: LayerShape, index: torch.Tensor) -> torch.Tensor:
    """A layer's tensor at one position of each picture, zero elsewhere.

    index: int64 (n,), flat grid indices; -prefix ... -1 are the prefix tokens. The shape stays the tensor's.
    """
    alone = torch.zeros_like(tensor)
    rows = torch.arange(len(tensor), device=tensor.device)
    y, x = index // shape.width, index % shape.width
    if shape.kind == "map":
        alone[rows, :, y, x] = tensor[rows, :, y, x]
    elif shape.kind == "map_last":
        alone[rows, y, x] = tensor[rows, y, x]
    elif shape.kind == "tokens":
        alone[rows, index + shape.prefix] = tensor[rows, index + shape.prefix]
    else:
        alone.copy_(tensor)
    return alone


def _flat_positions(tensor: torch.Tensor, shape: LayerShape) -> torch.Tensor:
    """(n, prefix + height * width, channels)."""
    if shape.kind == "map":
        return tensor.flatten(2).transpose(1, 2)
    if shape.kind == "map_last":
        return tensor.flatten(1, 2)
    return tensor if shape.kind == "tokens" else tensor[:, None]


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention by plain products: its fast paths have no forward mode and no second derivative."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
