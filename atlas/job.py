"""A pipeline file, read, with the dataset and the network that it names opened."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.config import PipelineConfig, expand_path, fingerprint, load_pipeline_config
from atlas.datasets import ImageSource, align_labels, load_manifest, read_class_table, take
from atlas.errors import ConfigError, nearest
from atlas.models import Model, load_model
from atlas.storage import ActivationStore
from atlas.storage.files import hash_file

ENGINE = 2  # raise it when a stage gives another result for the same configuration


@dataclass(frozen=True)
class Job:
    """A pipeline file, read, with its dataset and network opened."""

    path: Path
    config: PipelineConfig
    source: ImageSource
    model: Model
    label_to_output: NDArray[np.int32] | None

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of everything that shapes the atlas: pictures, network, and every setting that changes a result."""
        config = self.config
        sections = {
            name: getattr(config, name).model_dump(mode="json", exclude={"memory"})
            for name in ("extract", "layout", "grid", "icons")
        }
        return fingerprint(
            {
                "engine": ENGINE,
                "source": self.source.fingerprint,
                "weights": self.model.weights_hash,
                "preprocess": self.model.preprocess.fingerprint,
                "outputs": self.model.outputs,
                "labels": None if self.label_to_output is None else self.label_to_output.tolist(),
                "layers": config.model.layers,
                "seed": config.run.seed,
                "deterministic": config.run.deterministic,
                **sections,
            }
        )


def open_job(pipeline: str | Path, overrides: Sequence[str] = ()) -> Job:
    """Read a pipeline file and open what it names. Raises ConfigError, DataError, ModelError or LayerError."""
    path = Path(pipeline)
    config = load_pipeline_config(path, overrides)
    folder = path.resolve().parent
    source = load_manifest(expand_path(config.data.manifest, folder))
    table = None
    if config.model.classes == "folders":
        if not source.classes:
            raise ConfigError(f"{path}: model.classes is 'folders', but {source.name} has no labels: name a class file")
        outputs: tuple[str, ...] | None = source.classes
    elif config.model.classes is not None:
        table = read_class_table(expand_path(config.model.classes, folder))
        outputs = table.names
    else:
        outputs = None
    model = load_model(
        config.model.factory,
        weights=config.model.weights,
        checkpoint=expand_path(config.model.checkpoint, folder) if config.model.checkpoint else None,
        preprocess=config.model.preprocess,
        classes=outputs,
        folder=folder,
    )
    if config.data.limit is not None:
        source = take(source, config.data.limit, seed=config.run.seed)
    _check_chosen(path, config, source, model)
    labels = align_labels(source.classes, table if table is not None else model.outputs)
    return Job(path, config, source, model, labels)


def _check_chosen(path: Path, config: PipelineConfig, source: ImageSource, model: Model) -> None:
    """Refuse classes that are not there before anything is extracted."""
    named = (
        ("layout.between", config.layout.between or (), model.outputs, "output"),
        ("layout.classes", config.layout.classes, model.outputs or source.classes, "class"),
    )
    for key, chosen, known, kind in named:
        for name in chosen:
            if name not in known and not (key == "layout.classes" and name in source.classes):
                raise ConfigError(f"{path}: {key} names '{name}', which is no {kind}{nearest(name, known)}")


def origin_of(job: Job, target: Path) -> dict[str, Any]:
    """Say from which files a store or an atlas was made; paths are relative to it, so that all can move together."""

    def remember(path: Path) -> dict[str, str]:
        return {"path": relative_to(path, target), "sha256": hash_file(path)}

    checkpoint, folder = job.config.model.checkpoint, job.path.resolve().parent
    return {
        "pipeline": remember(job.path) | {"config": job.config.model_dump(mode="json", exclude_none=True)},
        "manifest": remember(expand_path(job.config.data.manifest, folder)),
        "checkpoint": remember(expand_path(checkpoint, folder)) if checkpoint else None,
    }


def relative_to(path: Path, target: Path) -> str:
    """Return a path as seen from a store or an atlas."""
    return Path(os.path.relpath(path.resolve(), target.resolve())).as_posix()


def provenance_of(job: Job, store: ActivationStore, target: Path) -> dict[str, Any]:
    """Say from what an atlas was made, beside the files of `origin_of`."""
    index = store.path / "index.h5"
    return {
        **origin_of(job, target),
        "source": {"name": job.source.name, "fingerprint": job.source.fingerprint},
        "store": {"path": relative_to(index, target), "sha256": hash_file(index), "fingerprint": store.fingerprint},
        "model": {
            "name": job.model.name,
            "weights_hash": job.model.weights_hash,
            "preprocess": job.model.preprocess.fingerprint,
        },
        "seed": job.config.run.seed,
        "deterministic": job.config.run.deterministic,
        "versions": {name: version(name) for name in ("activation-atlas", "torch", "numpy", "numba", "umap-learn")},
    }
