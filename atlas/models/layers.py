"""What a network's layers are: names, shapes, sizes, receptive fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atlas.errors import LayerError, ModelError
from atlas.models.capture import Tap, find_module, first_tensor, split_call
from atlas.models.factories import usual_input_size
from atlas.models.fields import Field, FieldTracker, field_of
from atlas.models.load import Model, load_network
from atlas.models.shapes import Seen, classify
from atlas.records import LayerShape

_FAULTS = (RuntimeError, ValueError, AssertionError, TypeError, IndexError, KeyError, ZeroDivisionError)


@dataclass(frozen=True)
class Call:
    """One call of a layer in a forward pass of two pictures: what went in and came out."""

    layer: str  # with #k where the module runs more than once
    module: nn.Module
    calls: int
    input: Seen | None
    output: Seen | None
    input_field: Field | None  # None: the whole picture, or unknown
    field: Field | None
    bytes: int  # of the output, for one picture


@dataclass(frozen=True)
class LayerInfo:
    """A line of `atlas layers`.

    output: the shape of one picture's output. shape: how it is mapped, None where it cannot be. parameters: of the
    layer and all inside it. field: receptive field (height, width) in pixels of the input, None for the whole
    picture. bytes: of one picture's output. calls: how often the module runs in one pass.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    shape: LayerShape | None
    parameters: int
    kernel: tuple[int, ...] | None
    stride: tuple[int, ...] | None
    padding: tuple[int, ...] | str | None
    field: tuple[int, int] | None
    bytes: int
    calls: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def as_grid(tensor: torch.Tensor, shape: LayerShape) -> torch.Tensor:
    """Bring a layer's output of any kind to positions by channels: (n, height * width, channels).

    The flat index of a position is y * width + x; prefix tokens are dropped. A view where the memory allows it.
    """
    if shape.kind == "map":
        return tensor.flatten(2).transpose(1, 2)
    if shape.kind == "map_last":
        return tensor.flatten(1, 2)
    return tensor[:, shape.prefix :] if shape.kind == "tokens" else tensor[:, None]


def prefix_tokens(tensor: torch.Tensor, shape: LayerShape) -> torch.Tensor:
    """The tokens before the grid, CLS first: (n, prefix, channels); empty where there are none."""
    if shape.kind == "tokens":
        return tensor[:, : shape.prefix]
    return tensor.new_empty((len(tensor), 0, shape.channels))


def layer_shapes(
    model: Model, layers: Sequence[str], input_shape: tuple[int, int, int] | None = None, *, tap: Tap = "output"
) -> dict[str, LayerShape]:
    """How each layer's output (or input) is laid out, by running the network on a grey picture.

    input_shape: (channels, height, width), needed where the preprocessing has no fixed size. Where a shape alone
    does not tell channels from space, the network runs once more on another size. Raises LayerError for a layer
    that does not exist, does not run, or cannot be mapped.
    """
    for layer in layers:
        find_module(model.network, layer, model.name)
    shape = input_shape or model.preprocess.input_shape
    if shape is None:
        raise ModelError(f"{model.name}: its preprocessing fixes no input size: add crop, or give input_shape")
    calls = record_calls(model.network, shape, model.device)
    found = classify_calls(model.network, calls, shape, tap=tap)
    shapes: dict[str, LayerShape] = {}
    for layer in layers:
        call = _call(model, calls, layer)
        mapped = found[call.layer]
        if mapped is None:
            seen = call.input if tap == "input" else call.output
            given = "no tensor" if seen is None else f"shape {seen.shape} for two pictures"
            raise LayerError(
                f"{model.name}: the {tap} of layer '{layer}' ({given}) is neither a map, tokens on a grid, nor a "
                f"vector: choose another layer ('atlas layers {model.name}')"
            )
        shapes[layer] = mapped
    return shapes


def call_of(model: Model, layer: str, input_shape: tuple[int, int, int]) -> Call:
    """One layer's call in a pass of two pictures. Raises LayerError where it does not exist or run."""
    find_module(model.network, layer, model.name)
    return _call(model, record_calls(model.network, input_shape, model.device), layer)


def _call(model: Model, calls: Sequence[Call], layer: str) -> Call:
    module, number = find_module(model.network, layer), split_call(layer)[1]
    own = [call for call in calls if call.module is module]  # a module may go by several names
    if number < len(own):
        return own[number]
    reason = f"runs {len(own)} times in one pass" if own else "does not run in the forward pass"
    raise LayerError(f"{model.name}: layer '{layer}' {reason}: 'atlas layers {model.name}' lists those that do")


def layer_table(model: Model | nn.Module, input_shape: tuple[int, int, int] | int | None = None) -> list[LayerInfo]:
    """List all layers that run, in the order of their names in the network, each call of a reused module apart.

    input_shape: (channels, height, width) or one side; by default the preprocessing's. Raises ModelError when the
    size is not known, or when the network cannot run on it.
    """
    network = model.network if isinstance(model, Model) else model
    if input_shape is None and isinstance(model, Model):
        input_shape = model.preprocess.input_shape
    if input_shape is None:
        raise ModelError("the input's size is not known: give --input-size N")
    if isinstance(input_shape, int):
        input_shape = (input_channels(network), input_shape, input_shape)
    calls = record_calls(network, input_shape, next((p.device for p in network.parameters()), torch.device("cpu")))
    shapes = classify_calls(network, calls, input_shape)
    order = {module: index for index, module in enumerate(network.modules())}
    return [_info(call, shapes[call.layer]) for call in sorted(calls, key=lambda call: order[call.module])]


def describe_layers(
    name: str,
    *,
    weights: str | None = None,
    checkpoint: str | Path | None = None,
    input_size: int | None = None,
    folder: Path | None = None,
) -> list[LayerInfo]:
    """List the layers of a network by its name, as `atlas layers` does; no preprocessing is needed.

    input_size: one side in pixels; by default the size of the library's own weights.
    """
    if weights is None and checkpoint is None and not name.startswith("python:"):
        weights = "random"  # layers have the same shapes whatever the weights
    network = load_network(name, weights=weights, checkpoint=checkpoint, folder=folder)
    size = input_size or usual_input_size(name, network)
    if size is None:
        raise ModelError(f"{name}: the input's size is not known: give --input-size N")
    return layer_table(network, size)


def input_channels(network: nn.Module) -> int:
    """How many channels the network's first convolution reads; 3 for a network without any."""
    return next((module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d)), 3)


def record_calls(network: nn.Module, input_shape: tuple[int, int, int], device: torch.device) -> list[Call]:
    """Run two grey pictures and record every call of every module, in the order in which they end."""
    names = {module: name for name, module in network.named_modules() if name}
    made: list[Call] = []
    counts: dict[nn.Module, int] = {}
    entered: dict[nn.Module, list[tuple[Seen | None, Field | None]]] = {}
    tracker = FieldTracker()

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        tensor = first_tensor(args)
        entered.setdefault(module, []).append(_seen(first_tensor(kwargs) if tensor is None else tensor))

    def after(module: nn.Module, _args: Any, output: Any) -> None:
        tensor = first_tensor(output)
        size = 0 if tensor is None else tensor.numel() * tensor.element_size() // max(1, len(tensor))
        entry, entry_field = entered[module].pop()
        seen, field = _seen(tensor)
        made.append(Call(names[module], module, 1, entry, seen, entry_field, field, size))
        counts[module] = counts.get(module, 0) + 1

    handles = [module.register_forward_pre_hook(before, with_kwargs=True) for module in names]
    handles += [module.register_forward_hook(after) for module in names]
    try:
        with torch.no_grad():
            batch = torch.zeros((2, *input_shape), device=device, dtype=_precision(network))
            with tracker:
                network(tracker.mark(batch))
    except _FAULTS as error:
        size = "x".join(map(str, input_shape))
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{type(network).__name__} cannot run on an input of {size} ({reason}): give the size it was made for"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return _numbered(made, counts)


def _precision(network: nn.Module) -> torch.dtype:
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)


def _numbered(calls: Sequence[Call], counts: Mapping[nn.Module, int]) -> list[Call]:
    """Name the calls of a module that runs more than once name#0, name#1, ..."""
    numbers = dict.fromkeys(counts, 0)
    numbered = []
    for call in calls:
        count, number = counts[call.module], numbers[call.module]
        numbers[call.module] += 1
        numbered.append(replace(call, calls=count, layer=call.layer if count == 1 else f"{call.layer}#{number}"))
    return numbered


def _seen(tensor: torch.Tensor | None) -> tuple[Seen | None, Field | None]:
    return (None, None) if tensor is None else (Seen(tuple(tensor.shape)), field_of(tensor))


def classify_calls(
    network: nn.Module, calls: Sequence[Call], input_shape: tuple[int, int, int], *, tap: Tap = "output"
) -> dict[str, LayerShape | None]:
    """Tell how each call's output (or input) is laid out; None where it cannot be mapped."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    try:
        second = {call.layer: call for call in record_calls(network, _other_size(input_shape), device)}
    except ModelError:
        second = {}  # a network of one size (ViT): shapes and modules must tell
    return classify(calls, second, input_shape, tap)


def _other_size(input_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Another size, not square, that strides of 32 divide where they divide the first."""
    channels, height, width = input_shape
    if min(height, width) >= 128:
        return channels, height - 32, width - 64 if height == width else width - 32
    return channels, 2 * height, 3 * width


def _info(call: Call, shape: LayerShape | None) -> LayerInfo:
    padding = getattr(call.module, "padding", None)
    return LayerInfo(
        name=call.layer,
        kind=type(call.module).__name__,
        output=() if call.output is None else call.output.shape[1:],
        shape=shape,
        parameters=sum(parameter.numel() for parameter in call.module.parameters()),
        kernel=_sizes(getattr(call.module, "kernel_size", None)),
        stride=_sizes(getattr(call.module, "stride", None)),
        padding=padding if isinstance(padding, str) else _sizes(padding),
        field=None if call.field is None else call.field.size,
        bytes=call.bytes,
        calls=call.calls,
    )


def _sizes(value: Any) -> tuple[int, ...] | None:
    if isinstance(value, int):
        return value, value
    if isinstance(value, tuple | list) and all(isinstance(size, int) for size in value):
        return tuple(value)
    return None
