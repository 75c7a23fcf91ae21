"""A layer as icons see it: the network cut right after it, fed at a size that it accepts."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor, nn

from atlas.errors import ModelError, RenderError
from atlas.models import Capture, Model, as_grid, capture, layer_shapes
from atlas.models.capture import Tap
from atlas.records import LayerShape
from atlas.rendering.frozen import freeze
from atlas.rendering.image import resized

_COARSE = 2 / 3  # of the side: 45 % of the work
_SMALLEST_COARSE = 48  # pixels: smaller pictures take little time as they are
_FEWEST_POSITIONS = 4  # a side


@dataclass(frozen=True)
class Feed:
    """The input that icons are given to the network as, and the layer's shape for it."""

    size: tuple[int, int]
    shape: LayerShape


class Halted(BaseException):
    """Ends a thread's work on a target; a BaseException, so that no network's own `except` takes it."""


class Target:
    """A layer that pictures can be shown to; made by `open_target`, which removes its hooks.

    size: the icons' side in pixels. feed: the network's input, which icons of another size are resized to. coarse: a
    smaller input for rendering's first steps, None where the layer takes none. channels: of the network's pictures,
    1 or 3. crew: this target and others of the same layer, one for each thread: one network cannot be captured twice at
    once.
    """

    def __init__(
        self,
        model: Model,
        layer: str,
        size: int,
        feed: Feed,
        device: torch.device,
        run: Capture,
        coarse: Feed | None = None,
    ) -> None:
        self.model = model
        self.layer = layer
        self.size = size
        self.feed = feed
        self.coarse = coarse
        self.shape = feed.shape
        self.device = device
        self.channels = model.preprocess.channels
        self.precision = _fast_type(device)
        self.crew: tuple[Target, ...] = (self,)
        self._halted = False
        self._run = run
        self._shift = -torch.tensor(model.preprocess.mean, device=device).view(1, -1, 1, 1)
        self._factor = 1 / torch.tensor(model.preprocess.std, device=device).view(1, -1, 1, 1)

    @property
    def centre(self) -> int:
        """Flat index of the position (height // 2, width // 2)."""
        return self.shape.height // 2 * self.shape.width + self.shape.width // 2

    def show(self, pictures: Tensor, feed: Feed | None = None, *, fast: bool = False) -> Tensor:
        """Run pictures (n, channels, h, w) in [0, 1]; return float32 (n, positions, channels of the layer).

        They are resized to the feed (by default the target's) unless they have its size. fast: in bfloat16 where the
        device has it. Raises Halted after `halt`.
        """
        if self._halted:
            raise Halted
        feed = feed or self.feed
        pictures = (resized(pictures, feed.size) + self._shift) * self._factor
        pictures = pictures.to(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.precision, enabled=fast and self.precision != torch.float32):
            found = self._run(pictures)[self.layer]
        return as_grid(found, feed.shape).float()

    def halt(self) -> None:
        """End what another thread does with this target at its next pass."""
        self._halted = True


@contextmanager
def open_target(
    model: Model, layer: str, *, size: int, width: int, device: torch.device, tap: Tap = "output", crew: int = 1
) -> Iterator[Target]:
    """Prepare a layer for icons of `size` pixels and directions of `width` channels, on a copy of the network.

    The copy keeps the caller's network as it is: its device, its memory format, its hooks. crew: for how many threads
    at a time; their networks share the weights. Raises LayerError for an unknown layer, ModelError for a network that
    cannot run, RenderError for directions of another width.
    """
    network = copy.deepcopy(model.network).to(device).to(memory_format=torch.channels_last)
    own = replace(model, network=network.eval().requires_grad_(False))
    feed = find_feed(own, layer, size=size, width=width, tap=tap)
    coarse = _coarse_feed(own, layer, feed, tap)
    if device.type == "cpu":  # a GPU's own kernels are quicker
        freeze(network)
    twins = [network, *(_with_same_weights(network) for _ in range(crew - 1))]
    with ExitStack() as stack:
        runs = [stack.enter_context(capture(twin, [layer], tap=tap)) for twin in twins]
        targets = tuple(Target(own, layer, size, feed, device, run, coarse) for run in runs)
        targets[0].crew = targets
        yield targets[0]


def _with_same_weights(network: nn.Module) -> nn.Module:
    """A copy with modules and hooks of its own, whose tensors are the network's."""
    return copy.deepcopy(network, {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())})


def find_feed(model: Model, layer: str, *, size: int, width: int, tap: Tap = "output") -> Feed:
    """Choose the network's input for icons: their own size, else the preprocessing's.

    Icons smaller than the network's usual input are shown as they are where the layer accepts that: the layer answers
    to the same pixels, only fewer of them. Larger ones are reduced: a network made for 32 px draws recognisable
    things when it is shown 32 px, and mere texture when it is shown 96 (seen on a CIFAR ResNet-20's layer3). A pooled
    or flattened layer may have other channels at another size; then too the preprocessing's is taken.
    """
    native = model.preprocess.input_shape
    own = (model.preprocess.channels, size, size)
    shapes = [own] if native is None else [native] if size >= min(native[1:]) else [own, native]
    for candidate in shapes:
        last = candidate is shapes[-1]
        try:
            shape = _shape_at(model, layer, candidate, tap, native if not last else None)
        except ModelError:
            if last:
                raise
            continue
        if shape.channels == width:
            return Feed(candidate[1:], shape)
    raise RenderError(
        f"the directions have {width} channels but layer '{layer}' of {model.name} has {shape.channels}: "
        "give directions made from this layer"
    )


def _coarse_feed(model: Model, layer: str, feed: Feed, tap: Tap) -> Feed | None:
    """A smaller input where it saves much and the layer still has positions enough; a network's own size is kept."""
    side = round(_COARSE * max(feed.size))
    if feed.shape.kind not in ("map", "map_last") or side < _SMALLEST_COARSE:
        return None
    try:
        shape = _shape_at(model, layer, (model.preprocess.channels, side, side), tap, model.preprocess.input_shape)
    except ModelError:
        return None
    enough = shape.channels == feed.shape.channels and min(shape.height, shape.width) >= _FEWEST_POSITIONS
    return Feed((side, side), shape) if enough and shape.kind == feed.shape.kind else None


def _shape_at(
    model: Model, layer: str, candidate: tuple[int, int, int], tap: Tap, native: tuple[int, int, int] | None
) -> LayerShape:
    """The layer's shape for an input; where only what follows the layer refuses the input, from the layer alone."""
    try:
        return layer_shapes(model, [layer], candidate, tap=tap)[layer]
    except ModelError:
        if native is None:
            raise
    known = layer_shapes(model, [layer], native, tap=tap)[layer]
    if known.kind not in ("map", "map_last"):
        raise ModelError(f"{model.name}: layer '{layer}' takes only its own input size")
    try:
        with torch.no_grad(), capture(model.network, [layer], tap=tap) as run:
            found = run(torch.zeros((1, *candidate), device=model.device))[layer]
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        raise ModelError(f"{model.name}: layer '{layer}' takes only its own input size") from error
    if known.kind == "map":
        return LayerShape("map", *found.shape[1:])
    return LayerShape("map_last", found.shape[3], found.shape[1], found.shape[2])


def _fast_type(device: torch.device) -> torch.dtype:
    """Bfloat16 where the device computes in it, not merely emulates it; else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type != "cpu":
        return torch.float32
    names: Sequence[str] = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # public names do not exist
    tests = [getattr(torch.cpu, name, None) for name in names]
    return torch.bfloat16 if any(test() for test in tests if test is not None) else torch.float32


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch raised this for want of memory, on any device; everything else must be seen."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


def bytes_per_icon(target: Target) -> int:
    """What one icon adds to the peak of a step: what autograd keeps, counted on one pass, and two thirds as much again.

    The rest is gradients on their way back and what scoring holds (half as much, on SqueezeNet's features.10).
    """
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        # Parameters are shared by all icons.
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    grey = torch.full((1, target.channels, *target.feed.size), 0.5, device=target.device, requires_grad=True)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        target.show(grey, fast=True)
    return sum(kept.values()) * 5 // 3 + grey.nbytes * 16  # the spectrum, its moments, the picture and its warp
