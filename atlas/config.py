"""The schema of pipeline and manifest files, with every default in one place."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from atlas.errors import ConfigError, nearest


class _Schema(BaseModel):
    """Frozen, closed to unknown keys, and strict: a wrong type is refused, never converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_floats(value: Any) -> Any:
    """A person writes 1 for 1.0; the strict schema would refuse it."""
    if isinstance(value, list | tuple):
        return tuple(float(v) if type(v) is int else v for v in value)
    return value


Share = Annotated[float, Field(ge=0, le=1)]
Floats = Annotated[tuple[float, ...], BeforeValidator(_as_floats), Field(min_length=1, max_length=4)]
Strings = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Size = Annotated[int, Field(ge=1, le=4096)]
SizePair = Annotated[tuple[Size, Size], BeforeValidator(_as_tuple)]


class CueConfig(_Schema):
    """A cue planted into the embedded dataset: what, into which classes, how often."""

    kind: Literal["corner", "border", "tint", "texture", "text"]
    classes: Strings
    probability: Annotated[float, Field(ge=0, le=1)]


class ManifestConfig(_Schema):
    """Where a dataset is, its split, classes, checksum and licence."""

    name: str
    source: Literal["folder", "zip", "webdataset", "torchvision", "digits", "shapes"]
    path: str | None = None  # folder, zip, webdataset (glob, braces or URL), torchvision (its root)
    labels: str | None = None  # "folders", "none" or a CSV of id,label; None: the source's own
    split: str | None = None  # torchvision and shapes
    dataset: str | None = None  # torchvision: the class name, such as "CIFAR10"
    download: bool = False  # torchvision
    images: Annotated[int, Field(ge=1)] | None = None  # shapes: pictures in all
    seed: int = 0  # shapes
    cues: tuple[CueConfig, ...] = ()  # shapes
    sha256: str | None = None
    license: str | None = None
    homepage: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _cue_tables(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("cues"), list):
            return {**value, "cues": tuple(value["cues"])}
        return value


class PreprocessConfig(_Schema):
    """How a decoded picture becomes the network's input; order: resize, crop, scale to [0, 1], normalise."""

    resize: Size | SizePair | None = None  # shorter side; [height, width] squashes
    crop: Size | None = None  # centre crop
    mean: Floats
    std: Floats
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    channels: Literal[1, 3] = 3

    @model_validator(mode="after")
    def _consistent(self) -> PreprocessConfig:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name} has {len(values)} values for {self.channels} channels")
        if min(self.std) <= 0:
            raise ValueError("std must be above 0")
        return self


class DataConfig(_Schema):
    """Which images."""

    manifest: str
    limit: Annotated[int, Field(ge=1)] | None = None  # drawn evenly over classes
    max_unreadable: Annotated[float, Field(ge=0, le=1)] = 0.05  # more than this share stops the run


class ModelConfig(_Schema):
    """Which network and layers."""

    factory: str
    weights: str | None = None
    checkpoint: str | None = None
    layers: Strings
    classes: str | None = None  # "folders", a file of names, or a CSV index,name[,folder]
    preprocess: PreprocessConfig | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        if not self.layers:
            raise ValueError("layers is empty: name at least one")
        if len(set(self.layers)) != len(self.layers):
            raise ValueError("layers names a layer twice")
        if self.weights and self.checkpoint:
            raise ValueError("weights and checkpoint exclude each other: give one")
        return self


class ExtractConfig(_Schema):
    """What is kept of each image."""

    positions: Annotated[int, Field(ge=0)] = 1  # sampled per image; 0: pooled vectors alone
    effects: Annotated[int, Field(ge=0)] = 1  # for how many of them; 0: none
    tap: Literal["output", "input"] = "output"
    predictions: bool = True  # False, with effects = 0, ends each pass at the deepest layer
    batch: Annotated[int, Field(ge=1)] = 64
    part: Annotated[int, Field(ge=1)] = 1024  # images of the manifest per HDF5 part


class LayoutConfig(_Schema):
    """How samples are laid out in two dimensions."""

    rows: Literal["positions", "mean", "max", "cls", "center"] = "positions"
    method: Literal["umap", "tsne", "pacmap", "pca"] = "tsne"
    neighbors: Annotated[int, Field(ge=2)] = 15
    metric: Literal["cosine", "euclidean"] = "cosine"
    fit: Annotated[int, Field(ge=100)] = 1_000_000  # t-SNE and UMAP are fitted on so many samples, others placed
    follow: bool = True  # each layer's layout starts from the one before and is turned onto it
    classes: list[str] = []  # only samples of these labels; none: all
    # x is the difference of the effects on these two outputs
    between: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None


class GridConfig(_Schema):
    """The grids over the unit square."""

    levels: Literal["auto"] | Annotated[int, Field(ge=1, le=7)] = "auto"
    min_images: Annotated[int, Field(ge=1)] = 5


class IconsConfig(_Schema):
    """How icons are rendered."""

    size: Annotated[int, Field(ge=16, le=512)] = 96
    steps: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    levels: Annotated[int, Field(ge=0)] = 3  # rendered at build
    backend: Literal["batched", "lucent"] = "batched"
    believe: Share = 0.5  # an icon of a lower robust cosine is marked as not to be believed
    memory: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"  # GB for one batch of icons


class RunConfig(_Schema):
    """How the work is done; the seed and `deterministic` change the result, and a GPU on which cuML lays out."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    deterministic: bool = False
    device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"
    workers: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"


class PipelineConfig(_Schema):
    """A whole pipeline file."""

    data: DataConfig
    model: ModelConfig
    extract: ExtractConfig = ExtractConfig()
    layout: LayoutConfig = LayoutConfig()
    grid: GridConfig = GridConfig()
    icons: IconsConfig = IconsConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _consistent(self) -> PipelineConfig:
        if self.layout.between and self.layout.rows != "positions" and self.extract.positions:
            raise ValueError("layout.between needs samples with effects: set layout.rows to 'positions'")
        if self.layout.between and not self.extract.effects:
            raise ValueError("layout.between needs effects: set extract.effects to 1 or more")
        ignored = {"classes", "method", "fit"} & self.layout.model_fields_set
        if self.layout.between and ignored:
            raise ValueError(f"layout.between makes a map of its own kind: leave out layout.{min(ignored)}")
        if self.layout.rows == "positions" and self.extract.positions == 0:
            raise ValueError(
                "layout.rows is 'positions' but extract.positions is 0: set rows to 'mean', or positions to 1"
            )
        return self


S = TypeVar("S", bound=_Schema)


def expand_path(text: str, folder: Path) -> Path:
    """Expand `~` and `${VARIABLE}`; a relative path is relative to `folder`. Raises ConfigError if unset."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise ConfigError(f"'{text}' uses ${{{name}}}, which is not set: export {name}=...")
        return os.environ[name]

    expanded = Path(re.sub(r"\$\{(\w+)\}", value, text)).expanduser()
    return expanded if expanded.is_absolute() else folder / expanded


def load_manifest_config(path: str | Path) -> ManifestConfig:
    """Read and check a manifest file. Raises ConfigError that names file, key and nearest key."""
    return _validate(ManifestConfig, _read_toml(Path(path)), str(path))


def load_pipeline_config(path: str | Path, overrides: Sequence[str] = ()) -> PipelineConfig:
    """Read and check a pipeline file; overrides are "section.key=value", the value as in TOML.

    Raises ConfigError that names the file, the key and the nearest valid key.
    """
    content = _read_toml(Path(path))
    for override in overrides:
        _apply_override(content, override)
    return _validate(PipelineConfig, content, str(path))


def fingerprint(value: BaseModel | Mapping[str, Any] | Sequence[Any]) -> str:
    """Hash a configuration: the first 32 hex digits of the SHA-256 of its canonical JSON.

    Every field counts; what is to be left out must be left out by the caller.
    """
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: check the path") from None
    except (IsADirectoryError, PermissionError) as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): name a TOML file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text: name a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def _apply_override(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override!r} is not of the form KEY=VALUE, such as layout.method=umap")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *parents, last = key.strip().split(".")
    table = content
    for parent in parents:
        inner = table.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override!r}: '{parent}' is not a section of the pipeline")
        table = inner
    table[last] = value


def _validate(schema: type[S], content: dict[str, Any], where: str) -> S:
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(schema, error)}") from None


def _explain(schema: type[BaseModel], error: ValidationError) -> str:
    """Turn pydantic's first complaint into one sentence with the key and the nearest valid one."""
    first = error.errors()[0]
    # The branches of a union appear in the location as type names: keep the keys alone.
    keys: list[str] = []
    owner: type[BaseModel] | None = schema
    for part in first["loc"]:
        if isinstance(part, int):
            keys.append(str(part))
        elif owner is None:
            break
        else:
            keys.append(part)
            field = owner.model_fields.get(part)
            if field is None:
                break
            owner = _schema_of(field.annotation)
    key = ".".join(keys)
    if first["type"] == "extra_forbidden":
        known = _fields_at(schema, keys[:-1])
        return f"unknown key '{key}'{nearest(keys[-1], known)} (known: {', '.join(known)})"
    if first["type"] == "missing":
        return f"'{key}' is missing: add it"
    complaint = first["msg"].removeprefix("Value error, ")
    if not key:
        return complaint
    given = first.get("input")
    choices = {
        e["ctx"]["expected"]
        for e in error.errors()
        if e["type"] == "literal_error" and e["loc"][: len(keys)] == first["loc"][: len(keys)]
    }
    if choices:
        listed = " or ".join(sorted(choices))
        hint = nearest(given, re.findall(r"'([^']*)'", listed)) if isinstance(given, str) else ""
        return f"'{key}' is {given!r}{hint} (allowed: {listed})"
    if first["type"] in ("tuple_type", "list_type"):
        complaint = f"Write a list, such as {json.dumps([given] if isinstance(given, str) else ['...'])}"
    shown = "" if isinstance(given, dict) else f" is {given!r}"
    return f"'{key}'{shown}: {complaint[0].lower() + complaint[1:]}"


def _schema_of(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _fields_at(schema: type[BaseModel], keys: Sequence[str]) -> list[str]:
    owner: type[BaseModel] | None = schema
    for key in keys:
        if owner is not None and key in owner.model_fields:
            owner = _schema_of(owner.model_fields[key].annotation)
    return list(owner.model_fields) if owner else []
