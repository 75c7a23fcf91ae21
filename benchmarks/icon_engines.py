"""The engines that draw icons for the same directions, each result kept on disk, batch by batch.

lucent and dreamlens run as their own documentation shows them, with the network's normalisation; from `pip install
'.[peers]'`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from icon_cells import Case
from numpy.typing import NDArray

BATCH = 16
Draw = Callable[[Any, str, NDArray[np.float32], NDArray[np.float32]], NDArray[np.uint8]]


@dataclass(frozen=True)
class Engine:
    """A way to draw icons: draw(model, layer, directions, the layer's mean) -> uint8 (n, size, size, 3).

    size: pixels a side. settings: what decides the result, for the cache. share: of the directions, that a slow
    engine draws; 4 for every fourth.
    """

    name: str
    size: int
    draw: Draw
    settings: dict[str, Any] = field(default_factory=dict)
    share: int = 1
    batch: int = BATCH


@dataclass(frozen=True)
class Drawn:
    """Icons of some of the cells, and what one took: seconds on the clock, seconds of all processors."""

    images: NDArray[np.uint8]
    cells: NDArray[np.int64]
    clock: float
    processor: float


def ours(size: int, *, steps: int | str = "auto", name: str | None = None) -> Engine:
    from atlas.rendering import render_icons
    from atlas.rendering.engine import ENGINE_VERSION

    def draw(model: Any, layer: str, directions: Any, mean: Any) -> Any:
        return render_icons(model, layer, directions, size=size, steps=steps, mean=mean, device="cpu").images

    settings = {"version": ENGINE_VERSION, "steps": steps, "defaults": _source_hash()}
    return Engine(name or f"atlas, {size} px", size, draw, settings, batch=64)


def dreamlens(size: int, share: int = 1) -> Engine:
    def draw(model: Any, layer: str, directions: Any, _: Any) -> Any:
        from dreamlens.render import render_icons

        np.random.seed(0)  # noqa: NPY002 - its start is drawn from numpy's global state
        torch.manual_seed(0)
        pictures, _ = render_icons(
            directions,
            model.network,
            layer,
            size=size,
            num_attempts=1,
            preprocess=_normalise(model),
        )
        return _stored(np.stack(pictures))

    return Engine(f"dreamlens, {size} px", size, draw, {"steps": 128}, share)


def lucent(size: int, fixed: int | None, share: int = 1) -> Engine:
    def draw(model: Any, layer: str, directions: Any, _: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from lucent.optvis import objectives, param, render, transform

            np.random.seed(0)  # noqa: NPY002 - its transforms draw from numpy's and torch's global states
            torch.manual_seed(0)
            network = _copy(model.network)
            wanted = [torch.from_numpy(direction) for direction in directions]
            objective = objectives.Objective.sum(
                [objectives.direction(layer.replace(".", "_"), v, batch=i) for i, v in enumerate(wanted)]
            )
            with contextlib.redirect_stdout(io.StringIO()):
                pictures = render.render_vis(
                    network,
                    objective,
                    lambda: param.image(size, batch=len(directions)),
                    transforms=[*transform.standard_transforms, _normalise(model)],
                    thresholds=(128,),
                    preprocess=False,
                    progress=False,
                    show_image=False,
                    fixed_image_size=fixed,
                )
        return _stored(pictures[-1])

    name = f"lucent, {size} px" + (", run at 224" if fixed is None else "")
    return Engine(name, size, draw, {"steps": 128, "fixed": fixed}, share)


def drawn(engine: Engine, case: Case, directions: NDArray[np.float32], cache: Path) -> Drawn:
    """Icons of an engine, from the cache or drawn now."""
    cells = np.arange(0, len(directions), engine.share)
    parts = list(_parts(engine, case, directions, cells, cache))
    model = None
    for path, members in parts:
        if path.is_file():
            continue
        if model is None:  # no engine is timed at its first call
            model = case.model()
            engine.draw(model, case.layer, directions[members[:1]], directions.mean(0))
        clock, processor = time.perf_counter(), time.process_time()
        images = engine.draw(model, case.layer, directions[members], directions.mean(0))
        spent = (time.perf_counter() - clock, time.process_time() - processor)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, images=images, spent=np.array(spent))
        print(f"{engine.name}: {len(members)} icons of {case.name}, {spent[0] / len(members):.2f} s each", flush=True)
    found = [_read(path) for path, _ in parts]
    # The quickest batch: what else the machine did while another one was drawn is not the engine's.
    clock, processor = np.min([spent / len(images) for images, spent in found], 0)
    return Drawn(np.concatenate([images for images, _ in found]), cells, float(clock), float(processor))


def _parts(
    engine: Engine, case: Case, directions: NDArray[np.float32], cells: NDArray[np.int64], cache: Path
) -> Iterator[tuple[Path, NDArray[np.int64]]]:
    for start in range(0, len(cells), engine.batch):
        members = cells[start : start + engine.batch]
        content = directions[members].tobytes() + json.dumps(engine.settings, sort_keys=True).encode()
        digest = hashlib.sha256(content + directions.mean(0).tobytes()).hexdigest()[:16]
        plain = "".join(c if c.isalnum() else "_" for c in engine.name)
        yield cache / f"{plain}-{case.name}-{digest}.npz", members


def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    with np.load(path, allow_pickle=False) as stored:
        return stored["images"], stored["spent"]


def _stored(pictures: NDArray[np.float32]) -> NDArray[np.uint8]:
    return (np.clip(pictures, 0, 1) * 255).round().astype(np.uint8)


def _normalise(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    mean = torch.tensor(model.preprocess.mean).view(-1, 1, 1)
    std = torch.tensor(model.preprocess.std).view(-1, 1, 1)
    return lambda pictures: (pictures - mean) / std


def _copy(network: torch.nn.Module) -> torch.nn.Module:
    """A copy without in-place modules: lucent's hooks hand out tensors that those would change."""
    import copy

    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return network


def _source_hash() -> str:
    """The rendering room's files: another engine, another result."""
    import atlas.rendering

    folder = Path(atlas.rendering.__file__).parent
    names: Sequence[str] = ("engine", "image", "objective", "transforms", "target", "frozen", "icons")
    content = b"".join((folder / f"{name}.py").read_bytes() for name in names if (folder / f"{name}.py").is_file())
    return hashlib.sha256(content).hexdigest()[:16]
