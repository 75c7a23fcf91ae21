"""A layer's rows to places on the map: the one road from activations to a Layout."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from atlas.cores import core_count, one_core
from atlas.errors import LayoutError, nearest
from atlas.layouts.comparing import turn_onto
from atlas.layouts.fitting import ANCHORING, choose_fitted, place_among
from atlas.layouts.gpu import gpu_of, place_on_gpu
from atlas.layouts.neighbors import Neighbors, Vectors, find_neighbors, nearest_part
from atlas.layouts.place import (
    ATTRACTING,
    begin_umap,
    fill_unit_square,
    mark_outliers,
    part_close,
    place_by_pacmap,
    place_by_pca,
    place_by_tsne,
    place_by_umap,
)
from atlas.layouts.reduce import COMPONENTS, Metric, Survey, reduce_rows, survey_rows, vectors_of
from atlas.layouts.rows import Rows, Selected, resident
from atlas.records import PROCESSOR, STATES, Layout, Progress, RowKind, silent

if TYPE_CHECKING:
    from atlas.storage.store import ActivationStore

FIT = 1_000_000
"""Above so many distinct rows t-SNE and UMAP are fitted on a sample, and the rest placed against it."""
METHODS = ("tsne", "umap", "pacmap", "pca")
METRICS = ("cosine", "euclidean")
FITTED, PLACED, OUTLIER, DUPLICATE = (STATES.index(name) for name in ("fitted", "placed", "outlier", "duplicate"))


@dataclass(frozen=True)
class _Recipe:
    """How points come to the plane; gpu is the number of the GPU that cuML may use, None for none."""

    method: str
    neighbors: int
    seed: int
    threads: int
    fit: int
    line: bool
    gpu: int | None
    progress: Progress


def compute_layout(
    rows: ActivationStore | NDArray[Any],
    *,
    layer: str | None = None,
    kind: RowKind | None = None,
    select: NDArray[np.integer[Any]] | None = None,
    method: str = "tsne",
    neighbors: int = 15,
    metric: str = "cosine",
    seed: int = 0,
    deterministic: bool = False,
    device: str = "auto",
    fit: int = FIT,
    start: NDArray[np.floating[Any]] | None = None,
    line: bool = False,
    progress: Progress = silent,
) -> Layout:
    """Lay samples out in the unit square: what lies close together activates the network alike.

    rows: an opened store, of which `layer` and `kind` name the rows (the only layer, the first kind, if left out), or
    an array (rows, channels). select: the indices of the rows to lay out; the Layout then has these rows, in this
    order. Exact copies are laid out once and share a place; rows with NaN or infinity have no place (NaN, state
    "outlier"); points far from all others are outliers and lie where they lie. The default method is t-SNE: at equal
    time it keeps about four times as many true neighbours as UMAP, and fills the square more evenly. Of more than `fit`
    distinct rows t-SNE and UMAP are fitted on so many, rare classes and wrong predictions among them, and the others
    are placed against these (state "placed"); PaCMAP and PCA always take all. start (rows, 2), the places of the
    same samples in another layer say: the layout starts from there and is turned onto them. line: t-SNE in one
    dimension, x. With `deterministic` one core is used, and the same rows and seed give the same bits; otherwise cuML
    does t-SNE and UMAP where `device` ("auto", "cpu", "cuda", "cuda:1") lets it and it finds a GPU, and what comes
    back says so in its `engine`.

    Raises LayoutError for fewer than 3 distinct finite rows, for as many neighbours as rows, for an unknown method
    or metric; StoreError for an unknown layer.
    """
    _check_names(method, metric, neighbors, fit)
    if line and method != "tsne":
        raise LayoutError(f"a layout along a line is made by t-SNE alone, not by {method}: set method to 'tsne'")
    source, where = _rows_of(rows, layer, kind, select)
    if start is not None and start.shape != (source.shape[0], 2):
        raise LayoutError(f"start is {start.shape}, not ({source.shape[0]}, 2): give a place for each row of {where}")
    gpu = None if deterministic or method not in ANCHORING else gpu_of(device)
    recipe = _Recipe(method, neighbors, seed, 1 if deterministic else core_count(), fit, line, gpu, progress)
    with one_core(deterministic):
        survey, points, vectors = _points(source, where, cast(Metric, metric), recipe)
        told = _told(rows, layer, kind, select) if method in ANCHORING and len(points) > fit else (None, None)
        chosen = choose_fitted(survey.distinct, fit if method in ANCHORING else len(points), *told, seed)
        fitted = np.isin(survey.distinct, chosen)
        begin = None if start is None else _whole(start[survey.distinct][fitted])
        plane, engine = np.empty((len(points), 2)), PROCESSOR
        numbers = np.flatnonzero(fitted)
        if vectors is not None:
            vectors = partial(_read, vectors, numbers)
        some = points if fitted.all() else points[fitted]
        found = None if method == "pca" else _find(some, recipe, vectors)
        del vectors  # the rows, which the descent has no use for
        plane[fitted], engine = _place(some, recipe, begin, found)
        if not fitted.all() and np.isfinite(plane[fitted]).all():
            plane[~fitted] = place_among(
                points, fitted, plane[fitted], method, seed=seed, threads=recipe.threads, progress=progress
            )
    if not np.isfinite(plane).all():
        raise LayoutError(f"{method} did not converge on {where}: try another method or seed")
    turned = plane if start is None else turn_onto(plane, start[survey.distinct])
    return _assemble(survey, turned, fitted, engine, recipe)


def _points(
    source: Rows, where: str, metric: Metric, recipe: _Recipe
) -> tuple[Survey, NDArray[np.float32], Vectors | None]:
    """What the rows are, the distinct ones as points of few dimensions, and these points' vectors where it matters.

    Raises LayoutError.
    """
    kept = resident(source)
    survey = survey_rows(kept, recipe.progress)
    _check_enough(survey, where, recipe.neighbors if recipe.method != "pca" else 0)
    points = reduce_rows(
        kept,
        survey,
        metric=metric,
        components=2 if recipe.method == "pca" else COMPONENTS,
        seed=recipe.seed,
        progress=recipe.progress,
    )
    if np.ptp(points, axis=0).max() <= (1e-6 if metric == "cosine" else 0):
        raise LayoutError(f"the rows of {where} differ in length alone, not in direction: try metric='euclidean'")
    whole = points.shape[1] >= survey.alive.sum()
    return survey, points, None if whole else vectors_of(kept, survey, metric=metric, seed=recipe.seed)


def _read(vectors: Vectors, numbers: NDArray[np.int64], some: NDArray[np.int64]) -> NDArray[np.float32]:
    """Vectors of some of the points that are fitted, which are `numbers` among all."""
    return vectors(numbers[some])


def _whole(start: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Places to start from, those without one in the middle."""
    known = np.isfinite(start).all(axis=1)
    middle = start[known].mean(axis=0) if known.any() else np.zeros(2)
    return np.where(known[:, None], start, middle).astype(np.float64)


def _find(points: NDArray[np.float32], recipe: _Recipe, vectors: Vectors | None) -> Neighbors:
    recipe.progress("neighbours", 0, 1)
    found = find_neighbors(points, recipe.neighbors, seed=recipe.seed, threads=recipe.threads, vectors=vectors)
    recipe.progress("neighbours", 1, 1)
    return found


def _place(
    points: NDArray[np.float32], recipe: _Recipe, start: NDArray[np.float64] | None, found: Neighbors | None
) -> tuple[NDArray[np.float64], str]:
    """Points in the plane, in the method's own unit, and what put them there; without neighbours by PCA."""
    method, seed = recipe.method, recipe.seed
    if found is None:
        return place_by_pca(points), PROCESSOR
    # cuML's t-SNE begins from the principal components alone.
    if recipe.gpu is not None and not recipe.line and (method == "umap" or start is None):
        begin = begin_umap(points if start is None else start, seed)
        made = place_on_gpu(points, found, method, gpu=recipe.gpu, seed=seed, start=begin)
        if made is not None:
            return made
    told: dict[str, Any] = {"seed": seed, "threads": recipe.threads, "start": start, "progress": recipe.progress}
    if method == "tsne":
        return place_by_tsne(points, nearest_part(found, ATTRACTING), line=recipe.line, **told), PROCESSOR
    return (place_by_pacmap if method == "pacmap" else place_by_umap)(points, found, **told), PROCESSOR


def _told(
    rows: ActivationStore | NDArray[Any],
    layer: str | None,
    kind: RowKind | None,
    select: NDArray[np.integer[Any]] | None,
) -> tuple[NDArray[np.int64] | None, NDArray[np.bool_] | None]:
    """Each row's label and whether its image was predicted wrongly; None for an array, which tells neither."""
    if isinstance(rows, np.ndarray) or not hasattr(rows, "layer"):
        return None, None
    image_of = rows.layer(layer).image_of(kind)
    image = image_of if select is None else image_of[np.asarray(select)]
    label, prediction = rows.images.label[image].astype(np.int64), rows.images.prediction[image]
    return label, (label >= 0) & (prediction >= 0) & (label != prediction) if rows.aligned else None


def _assemble(
    survey: Survey, plane: NDArray[np.float64], fitted: NDArray[np.bool_], engine: str, recipe: _Recipe
) -> Layout:
    """Scale the distinct rows' places and hand them on to their copies."""
    distinct = survey.distinct
    outlier = mark_outliers(plane)
    positions = np.full((len(survey.first), 2), np.nan, np.float32)
    state = np.full(len(survey.first), OUTLIER, np.uint8)
    places = fill_unit_square(plane, outlier)
    if recipe.method != "pca" and not recipe.line:  # there x and y are values of their own
        places[~outlier] = part_close(places[~outlier], seed=recipe.seed, threads=recipe.threads)
    positions[distinct] = places
    state[distinct] = np.where(outlier, OUTLIER, np.where(fitted, FITTED, PLACED))
    copies = np.flatnonzero((survey.first >= 0) & (survey.first != np.arange(len(survey.first))))
    first = survey.first[copies]
    positions[copies] = positions[first]
    state[copies] = np.where(state[first] == OUTLIER, OUTLIER, DUPLICATE)
    return Layout(positions, state, engine)


def _rows_of(
    rows: ActivationStore | NDArray[Any],
    layer: str | None,
    kind: RowKind | None,
    select: NDArray[np.integer[Any]] | None,
) -> tuple[Rows, str]:
    """The matrix to lay out, and how to name it in a message."""
    source: Rows
    if isinstance(rows, np.ndarray) or not hasattr(rows, "layer"):
        array = np.asarray(rows)
        if array.ndim != 2 or not (np.issubdtype(array.dtype, np.number) and not np.iscomplexobj(array)):
            raise LayoutError(f"the array is {array.dtype} {array.shape}: give real numbers (rows, channels)")
        source, where = array, "the array"
    else:
        stored = rows.layer(layer)
        source, where = stored.rows(kind), f"layer '{stored.name}' of {rows.path}"
    if select is None:
        return source, where
    chosen = np.asarray(select, np.int64)
    if chosen.size and not (chosen.min() >= 0 and chosen.max() < source.shape[0]):
        raise LayoutError(f"select names rows outside 0 to {source.shape[0] - 1} of {where}")
    return Selected(source, chosen), where


def _check_names(method: str, metric: str, neighbors: int, fit: int) -> None:
    for what, name, known in (("method", method, METHODS), ("metric", metric, METRICS)):
        if name not in known:
            hint = nearest(name, known)
            raise LayoutError(f"there is no layout {what} '{name}'{hint} (known: {', '.join(known)})")
    if neighbors < 2:
        raise LayoutError(f"neighbors is {neighbors}: a layout needs at least 2")
    if fit <= neighbors:
        raise LayoutError(f"fit is {fit}: a layout of {neighbors} neighbours is fitted on more rows than these")


def _check_enough(survey: Survey, where: str, neighbors: int) -> None:
    """Raise LayoutError when the rows are too few, too alike, or fewer than the neighbours asked for."""
    total, finite, distinct = len(survey.first), int((survey.first >= 0).sum()), len(survey.distinct)
    if not total:
        raise LayoutError(f"{where} has no rows to lay out")
    if not finite:
        raise LayoutError(f"all {total} rows of {where} hold NaN or infinity: check the checkpoint and preprocessing")
    if not survey.alive.any() and finite > 1:
        raise LayoutError(f"all {finite} rows of {where} are equal: the layer is dead, choose another one")
    if distinct < 3:
        raise LayoutError(f"{where} has {distinct} distinct rows: a layout needs at least 3, take more images")
    if distinct <= neighbors:
        raise LayoutError(
            f"{where} has {distinct} distinct rows, too few for {neighbors} neighbours: "
            f"set neighbors to at most {distinct - 1}, or take more images"
        )
