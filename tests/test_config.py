"""Pipeline and manifest files: what is read, what is refused, and in which words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from atlas.config import (
    PipelineConfig,
    PreprocessConfig,
    expand_path,
    fingerprint,
    load_manifest_config,
    load_pipeline_config,
)
from atlas.errors import AtlasError, ConfigError

MINIMAL = """
[data]
manifest = "data.toml"
[model]
factory = "torchvision:resnet18"
layers = ["layer3"]
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.toml"
    path.write_text(MINIMAL)
    return path


def test_defaults(pipeline: Path) -> None:
    config = load_pipeline_config(pipeline)
    assert (config.extract.positions, config.extract.effects, config.extract.tap) == (1, 1, "output")
    assert (config.layout.method, config.layout.neighbors, config.layout.metric) == ("tsne", 15, "cosine")
    assert (config.grid.levels, config.grid.min_images) == ("auto", 5)
    assert (config.icons.size, config.icons.steps, config.icons.levels, config.icons.backend) == (
        96,
        "auto",
        3,
        "batched",
    )
    assert (config.run.seed, config.run.deterministic, config.run.device) == (0, False, "auto")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("layout.methd=tsne", "unknown key 'layout.methd'; did you mean 'method'?"),
        ("laout.method=tsne", "unknown key 'laout'; did you mean 'layout'?"),
        (
            "layout.method=umapp",
            "'layout.method' is 'umapp'; did you mean 'umap'? (allowed: 'umap', 'tsne', 'pacmap' or 'pca')",
        ),
        ("grid.levels=autoo", "'grid.levels' is 'autoo'; did you mean 'auto'?"),
        ("grid.levels=99", "'grid.levels' is 99"),
        ("icons.size=big", "'icons.size' is 'big': input should be a valid integer"),
        ("icons.size=2.5", "'icons.size' is 2.5"),
        ("extract.positions=0", "layout.rows is 'positions' but extract.positions is 0"),
        ("model.preprocess={resize=32}", "'model.preprocess.mean' is missing"),
        ("model.preprocess={mean=[1,2],std=[0.1]}", "mean has 2 values for 3 channels"),
        ("model.preprocess={mean=[0.5],std=[0]}", "std must be above 0"),
        ("model.layers=[]", "name at least one"),
        ("model.layers=block3", 'write a list, such as ["block3"]'),
        ('model.layers=["a","a"]', "names a layer twice"),
        ("run.workers=-1", "'run.workers' is -1"),
        ("run.deterministic=1", "'run.deterministic' is 1"),
        ("data=3", "'data' is 3"),
        ("data.limit=0", "'data.limit' is 0"),
        ("nonsense", "not of the form KEY=VALUE"),
        ("model.factory.x=1", "'factory' is not a section"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(pipeline: Path, override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_pipeline_config(pipeline, [override])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overrides_take_toml_values_and_bare_words(pipeline: Path) -> None:
    config = load_pipeline_config(
        pipeline,
        ["layout.method=umap", "run.seed=7", 'model.layers=["a.b", "c#1"]', "model.checkpoint=a/b.pt", "grid.levels=2"],
    )
    assert config.layout.method == "umap"
    assert config.run.seed == 7
    assert config.model.layers == ("a.b", "c#1")
    assert config.model.checkpoint == "a/b.pt"
    assert config.grid.levels == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "does not exist"), (b"\xff\xfe", "not UTF-8"), (b"a = [", "not valid TOML"), (b"", "'data' is missing")],
)
def test_an_unreadable_file_is_one_sentence(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "p.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AtlasError, match=words):
        load_pipeline_config(path)


def test_a_folder_is_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_pipeline_config(tmp_path)


def test_manifest_with_cues(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text('name="s"\nsource="shapes"\n[[cues]]\nkind="corner"\nclasses=["boat"]\nprobability=0.9\n')
    config = load_manifest_config(path)
    assert config.cues[0].classes == ("boat",)
    path.write_text('name="s"\nsource="shape"\n')
    with pytest.raises(ConfigError, match="did you mean 'shapes'"):
        load_manifest_config(path)


def test_paths_expand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "/data")
    assert expand_path("${PLACE}/x.zip", tmp_path) == Path("/data/x.zip")
    assert expand_path("../x", tmp_path / "a") == tmp_path / "a" / "../x"
    assert expand_path("~/x", tmp_path) == Path("~/x").expanduser()
    monkeypatch.delenv("PLACE")
    with pytest.raises(ConfigError, match="PLACE"):
        expand_path("${PLACE}/x.zip", tmp_path)


def test_every_field_counts_in_the_fingerprint(pipeline: Path) -> None:
    config = load_pipeline_config(pipeline)
    changes = [
        "data.limit=3",
        "data.max_unreadable=0.5",
        "model.weights=w",
        "model.classes=folders",
        "extract.positions=2",
        "extract.effects=0",
        "extract.tap=input",
        "extract.predictions=false",
        "extract.batch=2",
        "extract.part=5",
        "layout.rows=mean",
        "layout.method=pca",
        "layout.neighbors=3",
        "layout.metric=euclidean",
        "grid.levels=1",
        "grid.min_images=1",
        "icons.size=32",
        "icons.steps=2",
        "icons.levels=1",
        "icons.backend=lucent",
        "run.seed=1",
        "run.deterministic=true",
        "run.device=cpu",
        "run.workers=1",
    ]
    prints = {fingerprint(load_pipeline_config(pipeline, [change])) for change in changes}
    assert len(prints | {fingerprint(config)}) == len(changes) + 1


@given(
    st.dictionaries(
        st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=5), st.none(), st.booleans()), max_size=5
    )
)
def test_a_fingerprint_ignores_the_order_of_keys(content: dict[str, object]) -> None:
    assert fingerprint(content) == fingerprint(dict(reversed(list(content.items()))))


def test_configuration_is_frozen(pipeline: Path) -> None:
    config = load_pipeline_config(pipeline)
    with pytest.raises(ValueError, match="frozen"):
        config.run.seed = 3  # type: ignore[misc]
    assert isinstance(config, PipelineConfig)


def test_the_docs_list_every_key_with_its_default(repository: Path) -> None:
    text = (repository / "docs" / "pipeline.md").read_text()
    sections: dict[str, type[BaseModel]] = {"model.preprocess": PreprocessConfig}
    for name, field in PipelineConfig.model_fields.items():
        assert isinstance(field.annotation, type)
        sections[name] = field.annotation
    for name, schema in sections.items():
        listed = text.split(f"## `[{name}]`\n", 1)[1].split("\n## ", 1)[0]
        rows = dict(re.findall(r"^\| `(\w+)` \|\s*(.*?)\s*\|", listed, re.MULTILINE))
        assert set(rows) == set(schema.model_fields)
        for key, field in schema.model_fields.items():
            if field.is_required():
                assert rows[key] == "", f"{name}.{key}"
            else:
                assert rows[key] == ("none" if field.default is None else json.dumps(field.default)), f"{name}.{key}"
