"""Icons by lucent's own `render_vis`: the reference that the batched engine is measured against.

The only file that imports lucent. What it changes behind the scenes is undone: its hooks stay on a copy of the
network, its global random state is put back, its interruptions are raised again.
"""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.errors import LayerError, RenderError
from atlas.models import Model, capture
from atlas.models.capture import Tap
from atlas.records import LayerShape
from atlas.rendering.engine import icon_seed
from atlas.rendering.image import FourierPictures, to_float, to_stored

_LUCENT_DEVIATION = 0.01  # the default of lucent.optvis.param.image


def _lucent() -> ModuleType:
    """Import lucent, without the warnings of what it imports itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lucent import optvis
        from lucent.optvis import objectives, param, render, transform  # noqa: F401 - so that optvis has them
    return optvis


def reference_device(device: str) -> torch.device:
    """The device that lucent fixed when it was imported. Raises RenderError when another one is asked for."""
    fixed = torch.device(_lucent().param.spatial.device)
    asked = fixed if device == "auto" else torch.device(device)
    if asked.type != fixed.type or (asked.index or 0) != (fixed.index or 0):
        raise RenderError(
            f"backend 'lucent' runs on {fixed} alone here, not on {device}: set device to 'auto', or backend to "
            "'batched'"
        )
    return fixed


def check_reference(model: Model, layer: str, shape: LayerShape, tap: Tap, mean: NDArray[np.float32] | None) -> None:
    """Raise RenderError for what lucent cannot do: anything but the output of a convolutional layer that runs once."""
    remedy = "set backend to 'batched'"
    if shape.kind != "map":
        raise RenderError(
            f"backend 'lucent' renders convolutional maps, and layer '{layer}' is '{shape.kind}': {remedy}"
        )
    if tap != "output":
        raise RenderError(f"backend 'lucent' reads a layer's output, not its {tap}: {remedy}")
    if mean is not None:
        raise RenderError(f"backend 'lucent' has no objective with the layer's mean: leave it out, or {remedy}")
    if "#" in layer or _runs_twice(model, layer):
        raise RenderError(f"layer '{layer}' runs several times, and lucent cannot tell its calls apart: {remedy}")


def render_reference(
    model: Model,
    layer: str,
    directions: NDArray[np.float32],
    *,
    size: int,
    steps: int,
    seed: int,
    device: torch.device,
    starts: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Render one batch by `objectives.direction` and lucent's defaults: (n, channels) -> uint8 (n, size, size, 3).

    Each icon starts from its own generator; the transforms, which lucent shares within a batch, depend on the seed
    alone. So no icon depends on its batch's others.
    """
    lucent = _lucent()
    channels = model.preprocess.channels
    fourier = FourierPictures(size, channels, decay=1.0, gain=1.0, device=device)
    begun = _first_spectra(fourier, directions, seed, starts, device)
    wanted = torch.from_numpy(directions).to(device)
    name = layer.replace(".", "_")
    objective = lucent.objectives.Objective.sum(
        [lucent.objectives.direction(name, direction, batch=index) for index, direction in enumerate(wanted)]
    )
    return _run(model, objective, begun, size=size, steps=steps, seed=seed, device=device)


def render_lucent_objective(
    model: Model,
    objective: Any,
    *,
    size: int = 128,
    steps: int = 128,
    seed: int = 0,
    device: str = "auto",
    batch: int = 1,
) -> NDArray[np.uint8]:
    """Render any objective of `lucent.optvis.objectives` by lucent's own loop: uint8 (batch, size, size, 3).

    objective: what lucent takes, an Objective or "layer:channel" with underscores for dots in the layer's name. batch:
    pictures, for objectives that speak of several. Raises RenderError for a device that lucent did not fix at import,
    and what lucent raises for an objective that it cannot evaluate.
    """
    place = reference_device(device)
    fourier = FourierPictures(size, model.preprocess.channels, decay=1.0, gain=1.0, device=place)
    generator = torch.Generator().manual_seed(seed)
    begun = torch.stack([fourier.draw(generator, _LUCENT_DEVIATION) for _ in range(batch)]).to(place)
    return _run(model, objective, begun, size=size, steps=steps, seed=seed, device=place)


def _run(
    model: Model, objective: Any, begun: Tensor, *, size: int, steps: int, seed: int, device: torch.device
) -> NDArray[np.uint8]:
    """Lucent's loop from given spectra, for pictures of the network's own channels and normalisation."""
    lucent = _lucent()
    taken: list[Any] = []
    drawn: list[Any] = []

    def image() -> tuple[list[Tensor], Any]:
        channels = 1 if model.preprocess.channels == 1 else None
        tensors, image_f = lucent.param.image(size, batch=len(begun), channels=channels)
        tensors[0].data.copy_(begun)
        drawn.append(image_f)
        return tensors, image_f

    def adam(tensors: list[Tensor]) -> torch.optim.Optimizer:
        optimizer = torch.optim.Adam(tensors, lr=5e-2)
        optimizer.register_step_post_hook(lambda *_: taken.append(None))
        return optimizer

    native = model.preprocess.input_shape
    with _lucent_alone(seed, device):
        lucent.render.render_vis(
            _prepared(model, device),
            objective,
            image,
            optimizer=adam,
            transforms=[*lucent.transform.standard_transforms, _normalise(model, device)],
            thresholds=(steps,),
            preprocess=False,  # lucent's own is ImageNet's, whatever the network
            progress=False,
            show_image=False,
            fixed_image_size=None if native is None else max(native[1:]),
        )
    if len(taken) < steps:  # lucent swallows Ctrl-C and returns what it has
        raise KeyboardInterrupt
    with torch.no_grad():
        return to_stored(drawn[-1]()).cpu().numpy()


@contextlib.contextmanager
def _lucent_alone(seed: int, device: torch.device) -> Any:
    """Seed the global generators that lucent draws from, and put everything back; let no failed pass go unseen."""
    numpy_state = np.random.get_state()  # noqa: NPY002 - lucent's transforms draw from it
    try:
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
            torch.enable_grad(),
        ):
            warnings.filterwarnings("error", message="Some layers could not be computed")
            np.random.seed(seed % 2**32)  # noqa: NPY002
            torch.manual_seed(seed)
            yield
    except UserWarning as warning:
        cause = warning.__context__
        if isinstance(cause, torch.OutOfMemoryError):
            raise cause from None
        raise RenderError(
            f"lucent cannot run this network ({str(cause).splitlines()[0]}): set backend to 'batched'"
        ) from cause
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002


def _prepared(model: Model, device: torch.device) -> torch.nn.Module:
    network = copy.deepcopy(model.network).to(device).eval()
    for module in network.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010 - lucent's hooks hand out tensors that a later in-place ReLU would change
    return network


def _first_spectra(
    fourier: FourierPictures,
    directions: NDArray[np.float32],
    seed: int,
    starts: NDArray[np.uint8] | None,
    device: torch.device,
) -> Tensor:
    if starts is not None:
        return fourier.spectra(to_float(torch.from_numpy(starts).to(device), fourier.channels))
    generators = [torch.Generator().manual_seed(icon_seed(seed, direction)) for direction in directions]
    return torch.stack([fourier.draw(generator, _LUCENT_DEVIATION) for generator in generators]).to(device)


def _normalise(model: Model, device: torch.device) -> Any:
    mean = torch.tensor(model.preprocess.mean, device=device).view(-1, 1, 1)
    std = torch.tensor(model.preprocess.std, device=device).view(-1, 1, 1)
    return lambda pictures: (pictures - mean) / std


def _runs_twice(model: Model, layer: str) -> bool:
    size = model.preprocess.input_shape
    if size is None:
        return False
    try:
        with torch.no_grad(), capture(model.network, [f"{layer}#1"]) as run:
            run(torch.zeros((1, *size), device=model.device))
    except LayerError:
        return False
    return True
