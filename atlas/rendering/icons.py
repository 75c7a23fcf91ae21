"""Directions in, icons out: batches, cache, resumption and back-off, whichever engine renders."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from atlas.errors import RenderError, nearest
from atlas.models import Model, resolve_device
from atlas.models.capture import Tap
from atlas.records import Icons, Progress, silent
from atlas.rendering.cache import SCORE_NAMES, IconCache, icon_key
from atlas.rendering.crew import crew
from atlas.rendering.engine import ENGINE_VERSION, Recipe, optimise
from atlas.rendering.reference import check_reference, reference_device, render_reference
from atlas.rendering.score import Scores, rank_directions, score_pictures
from atlas.rendering.target import Target, bytes_per_icon, is_out_of_memory, open_target

Backend = Literal["batched", "lucent"]
Rendered = tuple[NDArray[np.uint8], Scores]
BACKENDS: tuple[Backend, ...] = ("batched", "lucent")
DEFAULT_STEPS = {"batched": 24, "lucent": 128}
DETERMINISTIC_BATCH = 16
_LARGEST_BATCH = {"cpu": 32, "cuda": 512}
_LUCENT_BATCH = 16
_SCORED_TOGETHER = 64
_CPU_MEMORY = 5 * 10**8  # bytes for each core's batch on a processor
_FEWEST_EACH = 4  # icons for each core: fewer are drawn sooner by all cores together


def render_icons(
    model: Model,
    layer: str,
    directions: ArrayLike,
    *,
    size: int = 96,
    steps: int | Literal["auto"] = "auto",
    device: str = "auto",
    seed: int = 0,
    deterministic: bool = False,
    backend: Backend = "batched",
    cache: Path | None = None,
    starts: NDArray[np.uint8] | None = None,
    tap: Tap = "output",
    mean: ArrayLike | None = None,
    batch: int | Literal["auto"] = "auto",
    memory: float | Literal["auto"] = "auto",
    progress: Progress = silent,
) -> Icons:
    """Render the feature visualisation of each direction of a layer, and score it.

    directions: (n, channels), such as cells' mean activations, on the activations' own scale. size: pixels a side.
    steps: "auto" is 24 for "batched" and 128 for "lucent", with `starts` a third of that, 8 and 42; a number is taken
    as it is, with `starts` too. starts: uint8 (n, s, s, 3), pictures to start from, such as the icons of the cells
    above, `faded`. mean: (channels,), the layer's mean activation; with it an icon shows what sets its cell apart from
    the others ("batched" only). tap: which side of the layer the directions are of. batch: icons at a time; "auto"
    measures what fits into `memory` (GB for all that is drawn at once; "auto" is 0.5 for each of torch's threads on a
    processor, where each draws its own batch, and half of what is free on a GPU), and either is halved when memory runs
    out.
    deterministic: the same bits for the same call on the same machine, however often it was interrupted; on the CPU.
    cache: a folder where each finished icon is kept and looked up by a hash of all that made it. progress is called as
    ("icons", done, n). An icon depends on its direction and the seed, not on the others.

    Olah et al. 2017, "Feature Visualization"; Carter et al. 2019, "Activation Atlas". Raises RenderError for
    directions or options that cannot be rendered, LayerError and ModelError for the layer and the network.
    """
    vectors = _checked_directions(directions)
    options = _Options(
        size=_checked_count(size, "size", 16),
        steps=_steps(steps, backend, starts is not None),
        seed=seed,
        deterministic=deterministic,
        backend=_checked_backend(backend),
        batch=None if batch == "auto" else _checked_count(batch, "batch", 1),
        memory=_checked_memory(memory),
        tap=tap,
        mean=_checked_mean(mean, vectors.shape[1]),
        starts=_checked_starts(starts, len(vectors)),
    )
    place = _place(device, options)
    hands = _hands(place, options, len(vectors))
    with open_target(model, layer, size=size, width=vectors.shape[1], device=place, tap=tap, crew=hands) as target:
        if options.backend == "lucent":
            check_reference(model, layer, target.shape, tap, options.mean)
        job = _Job(model, target, vectors, options, IconCache(cache) if cache is not None else None, progress)
        job.run()
    centre, robust, windowed, strength = job.scores.T.copy()
    return Icons(job.images, centre, robust, windowed, strength, _nearest(job.pooled, vectors))


def score_icons(
    model: Model,
    layer: str,
    directions: ArrayLike,
    images: NDArray[np.uint8],
    *,
    device: str = "auto",
    tap: Tap = "output",
) -> Icons:
    """Score stored pictures uint8 (n, size, size, 3), however made, against directions (n, channels) of a layer.

    The scores are defined in `atlas.records.Icons`. Pictures are shown to the network at their own size where it
    accepts that, else at its fixed size. Raises as `render_icons` does.
    """
    vectors = _checked_directions(directions)
    pictures = _checked_starts(images, len(vectors), "images")
    assert pictures is not None
    place = resolve_device(device)
    with open_target(model, layer, size=pictures.shape[1], width=vectors.shape[1], device=place, tap=tap) as target:
        parts = range(0, len(vectors), _SCORED_TOGETHER)
        some = [
            score_pictures(target, vectors[i : i + _SCORED_TOGETHER], pictures[i : i + _SCORED_TOGETHER]) for i in parts
        ]
    found = Scores(*(np.concatenate([getattr(part, name.name) for part in some]) for name in fields(Scores)))
    nearest = _nearest(found.pooled, vectors)
    return Icons(pictures, found.centre, found.robust, found.windowed, found.strength, nearest)


@dataclass(frozen=True)
class _Options:
    """The checked arguments of one call."""

    size: int
    steps: int
    seed: int
    deterministic: bool
    backend: Backend
    batch: int | None
    memory: float | None
    tap: Tap
    mean: NDArray[np.float32] | None
    starts: NDArray[np.uint8] | None


class _Job:
    """One call of render_icons: what is finished, what is left, and where it goes."""

    def __init__(
        self,
        model: Model,
        target: Target,
        vectors: NDArray[np.float32],
        options: _Options,
        cache: IconCache | None,
        progress: Progress,
    ) -> None:
        self.images = np.zeros((len(vectors), options.size, options.size, 3), np.uint8)
        self.scores = np.full((len(vectors), len(SCORE_NAMES)), np.nan, np.float32)
        self.pooled = np.zeros_like(vectors)
        self._model, self._target, self._vectors, self._options = model, target, vectors, options
        self._cache, self._progress = cache, progress
        self._recipe = Recipe(options.steps) if options.starts is None else Recipe.started(options.steps)
        self._alone = options.deterministic or len(target.crew) > 1
        self._batch = options.batch or (DETERMINISTIC_BATCH if options.deterministic else self._fitting_batch())
        self._keys = self._icon_keys()
        self._done = 0

    def run(self) -> None:
        """Take what the cache has and render the rest, batch by batch."""
        everything = np.arange(len(self._vectors))
        here = np.fromiter((self._from_cache(index) for index in range(len(everything))), np.bool_, len(everything))
        if self._options.deterministic:  # a batch that lacks one icon is rendered whole: others give other bits
            fixed = list(_split(everything, self._batch))
            queue = [members for members in fixed if not here[members].all()]
        else:
            queue = list(_split(everything[np.logical_not(here)], self._batch))
        self._done = len(everything) - sum(map(len, queue))
        self._progress("icons", self._done, len(everything))
        with crew(self._target.crew, alone=self._alone) as submit:
            running: dict[Future[Rendered], NDArray[np.int64]] = {}
            while queue or running:
                while queue and len(running) < len(self._target.crew):
                    members = queue.pop(0)
                    running[submit(partial(self._draw, members))] = members
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    members = running.pop(future)
                    if self._keep(members, future):
                        self._progress("icons", self._done, len(everything))
                        continue
                    self._batch = min(self._batch, len(members) // 2)
                    queue = list(_split(np.concatenate([members, *queue]), self._batch))

    def _keep(self, members: NDArray[np.int64], future: Future[Rendered]) -> bool:
        """Take a batch over; False when memory ran out and a smaller one can be tried."""
        try:
            images, scores = future.result()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if self._options.deterministic or len(members) == 1:
                raise RenderError(
                    f"memory ran out on {self._target.device} with {len(members)} icons of {self._options.size} px at "
                    "a time: give a smaller batch or size"
                ) from error
        else:
            self.images[members] = images
            self.scores[members] = _columns(scores)
            self.pooled[members] = scores.pooled
            self._done += len(members)
            return True
        if self._target.device.type == "cuda":
            torch.cuda.empty_cache()
        return False

    def _draw(self, members: NDArray[np.int64], target: Target) -> Rendered:
        """Render, score and cache one batch; on a thread of its own, it touches nothing but files."""
        images = self._render(members, target)
        scores = score_pictures(target, self._vectors[members], images)
        if self._cache is not None:
            for index, image, row, pooled in zip(members, images, _columns(scores), scores.pooled, strict=True):
                self._cache.write(self._keys[index], image, row, pooled)
        return images, scores

    def _render(self, members: NDArray[np.int64], target: Target) -> NDArray[np.uint8]:
        options = self._options
        starts = None if options.starts is None else options.starts[members]
        if options.backend == "batched":
            return optimise(
                target, self._vectors[members], self._recipe, seed=options.seed, mean=options.mean, starts=starts
            )
        return render_reference(
            self._model,
            target.layer,
            self._vectors[members],
            size=options.size,
            steps=options.steps,
            seed=options.seed,
            device=target.device,
            starts=starts,
        )

    def _from_cache(self, index: int) -> bool:
        if self._cache is None:
            return False
        found = self._cache.read(self._keys[index], self._options.size, self._vectors.shape[1])
        if found is None:
            return False
        self.images[index], self.scores[index], self.pooled[index] = found
        return True

    def _icon_keys(self) -> list[str]:
        """One key per icon; with `deterministic` also over its batch, its place in it, and the device."""
        if self._cache is None:
            return []
        options, target = self._options, self._target
        settings: dict[str, Any] = {
            "engine": ENGINE_VERSION,
            "backend": options.backend,
            "recipe": self._recipe.to_dict() if options.backend == "batched" else {"steps": options.steps},
            "model": self._model.name,
            "weights": self._model.weights_hash,
            "preprocess": self._model.preprocess.fingerprint,
            "layer": target.layer,
            "tap": options.tap,
            "size": options.size,
            "feed": target.feed.size,
            "precision": str(target.precision),
            "seed": options.seed,
            "deterministic": options.deterministic,
        }
        starts = options.starts
        keys = [
            icon_key(settings, vector, options.mean, None if starts is None else starts[index])
            for index, vector in enumerate(self._vectors)
        ]
        if not options.deterministic:
            return keys
        whole = [keys[members[0] : members[-1] + 1] for members in _split(np.arange(len(keys)), self._batch)]
        place = {"device": str(target.device)}
        return [
            icon_key({"batch": together, "slot": slot, **place}) for together in whole for slot in range(len(together))
        ]

    def _fitting_batch(self) -> int:
        """How many icons at a time fit into the memory that is allowed, or what the device has use for."""
        if self._options.backend == "lucent":
            return _LUCENT_BATCH
        device, hands = self._target.device, len(self._target.crew)
        try:
            needed = bytes_per_icon(self._target)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return 1
        allowed = self._options.memory
        if allowed is None:
            allowed = torch.cuda.mem_get_info(device)[0] / 2 if device.type == "cuda" else _CPU_MEMORY * hands
        fitting = int(np.clip(allowed / hands // needed, 1, _LARGEST_BATCH.get(device.type, 32)))
        rounds = -(-len(self._vectors) // (hands * fitting))  # batches alike: no core waits for another's last
        return fitting if hands == 1 else -(-len(self._vectors) // (hands * rounds))


def _nearest(pooled: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.int32] | None:
    """Which direction each icon is nearest to; one alone is compared with nothing."""
    return rank_directions(pooled, vectors)[0] if len(vectors) > 1 else None


def _split(indices: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def _columns(scores: Scores) -> NDArray[np.float32]:
    return np.stack([getattr(scores, name) for name in SCORE_NAMES], 1)


def _hands(place: torch.device, options: _Options, count: int) -> int:
    """How many batches are drawn at once: on a processor one for each of torch's threads, with enough to do for it."""
    if place.type != "cpu" or options.backend == "lucent":
        return 1
    each = options.batch or (DETERMINISTIC_BATCH if options.deterministic else _FEWEST_EACH)
    return max(1, min(torch.get_num_threads(), -(-count // each)))


def _place(device: str, options: _Options) -> torch.device:
    if options.backend == "lucent":
        place = reference_device(device)
    elif options.deterministic and device == "auto":
        place = torch.device("cpu")
    else:
        place = resolve_device(device)
    if options.deterministic and place.type != "cpu":
        raise RenderError(
            f"icons cannot be rendered the same bit for bit on {place}, where gradients add up in any order: set "
            "device to 'cpu', or deterministic to false"
        )
    return place


def _checked_directions(directions: ArrayLike) -> NDArray[np.float32]:
    vectors = np.ascontiguousarray(directions, dtype=np.float32)
    if vectors.ndim != 2:
        raise RenderError(f"directions have shape {vectors.shape}: give one row per icon, (n, channels)")
    infinite = ~np.isfinite(vectors).all(1)
    if infinite.any():
        raise RenderError(f"direction {int(infinite.argmax())} holds NaN or infinity: leave it out")
    zero = ~vectors.any(1)
    if zero.any():
        raise RenderError(f"direction {int(zero.argmax())} is all zero, so no picture points along it: leave it out")
    return vectors


def _checked_mean(mean: ArrayLike | None, width: int) -> NDArray[np.float32] | None:
    if mean is None:
        return None
    vector = np.ascontiguousarray(mean, dtype=np.float32)
    if vector.shape != (width,) or not np.isfinite(vector).all():
        raise RenderError(f"mean has shape {vector.shape}: give one finite value for each of the {width} channels")
    return vector


def _checked_starts(starts: NDArray[np.uint8] | None, count: int, name: str = "starts") -> NDArray[np.uint8] | None:
    if starts is None:
        return None
    pictures = np.ascontiguousarray(starts)
    square = pictures.ndim == 4 and pictures.shape[1] == pictures.shape[2] and pictures.shape[3] == 3
    if pictures.dtype != np.uint8 or not square or len(pictures) != count:
        raise RenderError(
            f"{name} are {pictures.dtype} of shape {pictures.shape}: give uint8 ({count}, size, size, 3), one picture "
            "per direction"
        )
    return pictures


def _checked_backend(backend: str) -> Backend:
    for known in BACKENDS:
        if backend == known:
            return known
    raise RenderError(f"backend '{backend}' is not known{nearest(backend, BACKENDS)} (known: {', '.join(BACKENDS)})")


def _checked_count(value: Any, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise RenderError(f"{name} is {value!r}: give a whole number of {least} or more")
    return int(value)


def _checked_memory(memory: float | str) -> float | None:
    """Gigabytes -> bytes; None for "auto"."""
    if memory == "auto":
        return None
    if isinstance(memory, bool | str) or not 0 < memory < float("inf"):
        raise RenderError(f"memory is {memory!r}: give gigabytes above 0, or 'auto'")
    return memory * 1e9


def _steps(steps: int | str, backend: Backend, started: bool) -> int:
    if steps != "auto":
        return _checked_count(steps, "steps", 1)
    whole = DEFAULT_STEPS[_checked_backend(backend)]
    return whole // 3 if started else whole
