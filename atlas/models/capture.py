"""Reading layers while a network runs: hooks that are always removed, passes that stop early."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

from atlas.errors import LayerError, nearest

Tap = Literal["output", "input"]
Keep = Callable[[str, torch.Tensor], Any]
See = Callable[[str, torch.Tensor], torch.Tensor | None]


class _Stop(BaseException):
    """Ends a forward pass from inside a hook; a BaseException, so that no network's own `except` takes it."""


def split_call(layer: str) -> tuple[str, int]:
    """Split a layer's name: "layer3.0.relu#1" -> ("layer3.0.relu", 1), the second call; a bare name is call 0."""
    name, mark, call = layer.partition("#")
    if mark and not call.isdecimal():
        raise LayerError(f"layer '{layer}': what follows # must be the number of a call, from 0")
    return name, int(call or 0)


def find_module(network: nn.Module, layer: str, model: str = "MODEL") -> nn.Module:
    """Look a layer up by name. Raises LayerError with the nearest name; `model` is what the user calls the network."""
    name, _ = split_call(layer)
    modules = dict(network.named_modules(remove_duplicate=False))
    if name and name in modules:
        return modules[name]
    known = [key for key in modules if key]
    who = type(network).__name__ if model == "MODEL" else model
    hint = nearest(name, known) or ":"
    raise LayerError(f"{who} has no layer '{name}'{hint} 'atlas layers {model}' lists its {len(known)} layers")


def first_tensor(value: Any) -> torch.Tensor | None:
    """Find the first tensor in a module's output: itself, or inside a tuple, list, mapping or dataclass."""
    if isinstance(value, torch.Tensor):
        return value
    return next((tensor for item in _items(value) if (tensor := first_tensor(item)) is not None), None)


def replace_first(value: Any, new: torch.Tensor) -> Any:
    """Return the same structure with its first tensor replaced."""
    if isinstance(value, torch.Tensor):
        return new
    if isinstance(value, Mapping):
        key = next(key for key, item in value.items() if first_tensor(item) is not None)
        changed: Any = copy.copy(value)
        changed[key] = replace_first(value[key], new)
        return changed
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        name = next(name for name in names if first_tensor(getattr(value, name)) is not None)
        return dataclasses.replace(value, **{name: replace_first(getattr(value, name), new)})
    index = next(index for index, item in enumerate(value) if first_tensor(item) is not None)
    items = [*value[:index], replace_first(value[index], new), *value[index + 1 :]]
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def _items(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, tuple | list):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return ()


class Watch:
    """Hooks on layers by name and call; `see` gets each layer's tensor once per pass and may return another.

    A context manager: the hooks are removed on leaving it, whatever is raised.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], see: See, *, tap: Tap = "output") -> None:
        self._network = network
        self._see = see
        self._tap = tap
        self._wanted: dict[nn.Module, dict[int, list[str]]] = {}
        for layer in layers:
            calls = self._wanted.setdefault(find_module(network, layer), {})
            calls.setdefault(split_call(layer)[1], []).append(layer)
        self._layers = tuple(layers)
        self._calls: dict[nn.Module, int] = {}
        self._seen: set[str] = set()
        self._handles: list[Any] = []

    def __enter__(self) -> Watch:
        for module in self._wanted:
            if self._tap == "output":
                handle = module.register_forward_hook(self._after)
            else:
                handle = module.register_forward_pre_hook(self._before, with_kwargs=True)
            self._handles.append(handle)
        return self

    def __exit__(self, *_: object) -> None:
        while self._handles:
            self._handles.pop().remove()

    def start(self) -> None:
        """Forget the calls of the last pass."""
        self._calls.clear()
        self._seen.clear()

    @property
    def waiting(self) -> list[str]:
        """Layers that this pass has not yet reached, in the order asked for."""
        return [layer for layer in self._layers if layer not in self._seen]

    def check_complete(self) -> None:
        """Raise LayerError for a layer that the finished pass never reached."""
        for layer in self.waiting:
            name, call = split_call(layer)
            calls = self._calls.get(find_module(self._network, layer), 0)
            if calls:
                raise LayerError(f"layer '{name}' runs {calls} times in one pass, so there is no '{name}#{call}'")
            raise LayerError(
                f"layer '{name}' does not run in this network's forward pass: "
                "choose one that 'atlas layers MODEL' lists"
            )

    def _after(self, module: nn.Module, _args: Any, output: Any) -> Any:
        return self._visit(module, output)

    def _before(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        if first_tensor(args) is not None:
            changed = self._visit(module, args)
            return None if changed is None else (changed, kwargs)
        changed = self._visit(module, kwargs)
        return None if changed is None else (args, changed)

    def _visit(self, module: nn.Module, value: Any) -> Any:
        call = self._calls.get(module, 0)
        self._calls[module] = call + 1
        names = self._wanted[module].get(call)
        if not names:
            return None
        tensor = first_tensor(value)
        if tensor is None:
            raise LayerError(f"layer '{names[0]}' has no tensor as its {self._tap}, so it cannot be mapped")
        now = tensor
        for name in names:
            self._seen.add(name)
            new = self._see(name, now)
            now = now if new is None else new
        return None if now is tensor else replace_first(value, now)


class Capture:
    """One network with its hooks in place; calling it runs a batch. Made by `capture`."""

    def __init__(self, network: nn.Module, layers: Sequence[str], tap: Tap, stop: bool, keep: Keep | None) -> None:
        self.output: Any = None
        self._network = network
        self._layers = tuple(dict.fromkeys(layers))
        self._stop = stop
        self._keep = keep
        self._found: dict[str, Any] = {}
        self._watch = Watch(network, self._layers, self._take, tap=tap)

    def __call__(self, batch: torch.Tensor) -> dict[str, Any]:
        """Run a batch and return each layer's tensor, in the order of `layers`."""
        self.output = None
        self._found.clear()
        self._watch.start()
        try:
            self.output = self._network(batch)
        except _Stop:
            pass
        self._watch.check_complete()
        found = {layer: self._found[layer] for layer in self._layers}
        self._found.clear()  # the caller alone holds them now
        return found

    def _take(self, layer: str, tensor: torch.Tensor) -> None:
        last = self._stop and not self._watch.waiting
        if self._keep is not None:
            self._found[layer] = self._keep(layer, tensor)
        else:
            # What runs later may change the tensor in place (a ReLU); where the pass ends, nothing runs later.
            self._found[layer] = tensor if last else tensor.clone()
        if last:
            raise _Stop


@contextmanager
def capture(
    network: nn.Module, layers: Sequence[str], *, tap: Tap = "output", stop: bool = True, keep: Keep | None = None
) -> Iterator[Capture]:
    """Read layers' outputs (or inputs) while a network runs; the hooks are gone when the block ends.

    with capture(network, ["layer3", "layer3.0.relu#1"]) as run: seen = run(batch)

    stop: end each pass at the last of the layers, else `run.output` holds the network's output. keep(layer, tensor)
    is called inside the pass and its result kept instead of the tensor, for example pooled at once; it must not
    return a view. Works with gradients, under no_grad and under inference_mode. Of an output that is a tuple,
    list, mapping or dataclass the first tensor is taken. Raises LayerError for a layer that does not exist or run.
    """
    run = Capture(network, layers, tap, stop, keep)
    with run._watch:
        yield run
