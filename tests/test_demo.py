"""What the demo needs comes with the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.config import load_manifest_config, load_pipeline_config
from atlas.demo import NAMES, demo_pipelines, shipped


@pytest.mark.parametrize("name", NAMES)
def test_the_demo_s_files_are_there(name: str) -> None:
    pipeline = shipped(f"pipelines/shapes_{name}.toml")
    config = load_pipeline_config(pipeline)
    assert config.model.checkpoint is not None
    checkpoint = pipeline.parent / config.model.checkpoint
    assert checkpoint.is_file()
    assert checkpoint.stat().st_size < 1_000_000
    assert load_manifest_config(pipeline.parent / config.data.manifest).source == "shapes"


def test_the_demo_shows_its_networks_at_hand() -> None:
    honest, shortcut, compared = demo_pipelines()
    assert (honest, shortcut) == tuple(shipped(f"pipelines/shapes_{name}.toml") for name in NAMES)
    assert compared in (honest, shortcut)


def test_every_pipeline_and_manifest_is_valid(repository: Path) -> None:
    for path in sorted((repository / "pipelines").glob("*.toml")):
        manifest = path.parent / load_pipeline_config(path).data.manifest
        assert manifest.is_file(), path
    for path in sorted((repository / "data_manifests").glob("*.toml")):
        assert load_manifest_config(path).name
