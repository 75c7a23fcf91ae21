"""Networks by name: torchvision's, timm's, or any factory of one's own."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from atlas.config import PreprocessConfig
from atlas.errors import ModelError, nearest
from atlas.models.preprocess import Preprocess

RANDOM = "random"  # as a weights' name: parameters drawn from seed 0

# What a stranger's code may raise; it becomes one sentence. Errors of other families keep their traceback.
_FACTORY_FAULTS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError,
    SyntaxError, TypeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class Built:
    """A network as its maker returns it, with what came along: preprocessing and class names, if any."""

    network: nn.Module
    preprocess: Preprocess | None = None
    categories: tuple[str, ...] = ()
    hint: str = ""  # the preprocessing of the published weights, told when none is given


def build_network(
    name: str, *, weights: str | None, trained_elsewhere: bool, classes: int | None, folder: Path | None
) -> Built:
    """Build `torchvision:NAME`, `timm:NAME` or `python:package.module:factory`.

    weights: a name of that library's, "random", or None. trained_elsewhere: a checkpoint follows. classes: the
    number of outputs of a network built without weights (None: the library's own number). folder: where a factory
    is looked up first, before its parent. Raises ModelError in one sentence.
    """
    library, _, rest = name.partition(":")
    if library == "python" and rest:
        if weights is not None:
            raise ModelError(f"{name} takes no weights name: load them in the factory, or give a checkpoint")
        return _from_factory(name, rest, folder)
    if library not in ("torchvision", "timm") or not rest:
        raise ModelError(
            f"model '{name}' is not of the form torchvision:NAME, timm:NAME or python:package.module:factory"
        )
    make = _from_torchvision if library == "torchvision" else _from_timm
    outputs = classes if trained_elsewhere or weights in (None, RANDOM) else None  # published weights have their own
    with torch.random.fork_rng(devices=[]):
        # A network without weights is the same each time, so that a store made from it can be resumed.
        torch.manual_seed(0)
        built, untrained = make(name, rest, weights, trained_elsewhere, outputs)
        if untrained and not trained_elsewhere:
            draw_zero_head(built.network)
    if weights is None and untrained and not trained_elsewhere:
        warnings.warn(f"{name} has no weights: its parameters are random (weights = 'random' says so)", stacklevel=3)
    return built


def usual_input_size(name: str, network: nn.Module) -> int | None:
    """The side of the input of a library's own weights, or None for a network of one's own."""
    library, _, key = name.partition(":")
    if library == "torchvision":
        from torchvision import models

        crop = Preprocess.from_transforms(models.get_model_weights(key).DEFAULT.transforms()).crop
        return None if crop is None else crop[0]
    config = getattr(network, "pretrained_cfg", None) or {}
    if library == "timm" and "input_size" in config:
        return int(config["input_size"][-1])
    own = _brought_along(network)
    return own.input_shape[1] if own is not None and own.input_shape is not None else None


def draw_zero_head(network: nn.Module) -> None:
    """Draw a last linear layer that was initialised to zero (torchvision's ViT): its logits would all be 0."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if linear and not linear[-1].weight.any():
        nn.init.normal_(linear[-1].weight, std=linear[-1].in_features ** -0.5)


def _from_torchvision(
    name: str, key: str, weights: str | None, trained_elsewhere: bool, outputs: int | None
) -> tuple[Built, bool]:
    from torchvision import models

    known = models.list_models(module=models)
    if key not in known:
        raise ModelError(f"torchvision has no classifier '{key}'{nearest(key, known)}")
    variants = models.get_model_weights(key)
    if weights in (None, RANDOM):
        options: dict[str, Any] = {} if outputs is None else {"num_classes": outputs}
        if key in ("googlenet", "inception_v3"):
            options["init_weights"] = not trained_elsewhere  # their slow initialisation is overwritten anyway
        hint = _describe(Preprocess.from_transforms(variants.DEFAULT.transforms())) if len(variants) else ""
        return Built(models.get_model(key, weights=None, **options), hint=hint), True
    wanted = str(weights).rpartition(".")[2]
    chosen = variants.__members__.get(wanted)
    if chosen is None or str(weights) not in (wanted, f"{variants.__name__}.{wanted}"):
        raise ModelError(
            f"{name} has no weights '{weights}'{nearest(wanted, variants.__members__)} "
            f"(known: {', '.join(variants.__members__)}, DEFAULT)"
        )
    try:
        network = models.get_model(key, weights=chosen)
    except OSError as error:
        raise ModelError(
            f"weights '{weights}' of {name} could not be downloaded ({error}): connect, or give a checkpoint file"
        ) from None
    preprocess = Preprocess.from_transforms(chosen.transforms())
    return Built(network, preprocess, tuple(chosen.meta.get("categories", ()))), False


def _from_timm(
    name: str, key: str, weights: str | None, trained_elsewhere: bool, outputs: int | None
) -> tuple[Built, bool]:
    try:
        import timm
    except ImportError:
        raise ModelError(f"{name} needs timm, which is not installed: pip install 'activation-atlas[timm]'") from None
    stem, _, tag = key.partition(".")
    if not timm.is_model(stem):
        raise ModelError(f"timm has no model '{stem}'{nearest(stem, timm.list_models())}")
    pretrained = weights != RANDOM and not trained_elsewhere and bool(weights or tag)
    if weights not in (None, RANDOM, "default", "DEFAULT"):
        if tag and tag != weights:
            raise ModelError(f"{name} names the weights '{tag}' but weights is '{weights}': give one of them")
        tag = str(weights)
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{stem}.*")]
    if tag and tag not in tags:
        raise ModelError(f"{name} has no weights '{tag}'{nearest(tag, tags)} (known: {', '.join(tags) or 'none'})")
    options: dict[str, Any] = {} if outputs is None or pretrained else {"num_classes": outputs}
    try:
        network = timm.create_model(f"{stem}.{tag}" if tag else stem, pretrained=pretrained, **options)
    except OSError as error:
        raise ModelError(
            f"weights of {name} could not be downloaded ({type(error).__name__}): connect, or give a checkpoint file"
        ) from None
    except (RuntimeError, TypeError) as error:
        raise ModelError(f"timm cannot build {name}: {_first_line(error)}") from None
    preprocess = Preprocess.from_timm(timm.data.resolve_model_data_config(network))
    if not pretrained:
        return Built(network, hint=_describe(preprocess)), True
    return Built(network, preprocess, _timm_categories(network)), False


def _timm_categories(network: Any) -> tuple[str, ...]:
    """Class names of timm's ImageNet weights; () for encoders and for label sets that timm does not name."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    count = getattr(network, "num_classes", 0)
    names = (getattr(network, "pretrained_cfg", None) or {}).get("label_names")
    if names and len(names) == count:
        return tuple(names)
    subset = infer_imagenet_subset(network) if count else None
    if not subset:
        return ()
    info = ImageNetInfo(subset)
    return tuple(info.index_to_description(index) for index in range(info.num_classes()))


def _from_factory(name: str, rest: str, folder: Path | None) -> Built:
    module_name, _, attribute = rest.partition(":")
    if not attribute or not all(part.isidentifier() for part in (*module_name.split("."), *attribute.split("."))):
        raise ModelError(f"model '{name}' is not of the form python:package.module:factory")
    with _search_path(folder), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a factory that loads no weights gives the same network each time
        module = _import(name, module_name, folder)
        factory: Any = module
        for part in attribute.split("."):
            if not hasattr(factory, part):
                known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
                raise ModelError(f"{name}: module {module_name} has no '{attribute}'{nearest(attribute, known)}")
            factory = getattr(factory, part)
        if not callable(factory):
            raise ModelError(f"{name} is a {type(factory).__name__}: name a function or class that makes the network")
        try:
            network = factory()
        except _FACTORY_FAULTS as error:
            raise ModelError(
                f"{name} failed when called without arguments: {type(error).__name__}: {_first_line(error)}"
            ) from error
    if not isinstance(network, nn.Module):
        raise ModelError(f"{name} returned a {type(network).__name__}: the factory must return a torch.nn.Module")
    return Built(network, _brought_along(network))


def _brought_along(network: nn.Module) -> Preprocess | None:
    own = getattr(network, "preprocess", None)
    if isinstance(own, Preprocess):
        return own
    if isinstance(own, PreprocessConfig):
        return Preprocess.from_config(own)
    return Preprocess.from_transforms(own) if hasattr(own, "crop_size") else None


def _import(name: str, module_name: str, folder: Path | None) -> ModuleType:
    top = module_name.partition(".")[0]
    _forget_namesake(module_name, folder)
    try:
        if module_name not in sys.modules and find_spec(top) is None:
            raise ModuleNotFoundError(name=top)
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            where = f" (looked first in {folder} and the folder above it)" if folder else ""
            raise ModelError(f"{name}: there is no module '{error.name}'{where}: check the name") from None
        raise ModelError(
            f"{name}: module {module_name} needs '{error.name}', which is not installed: install it"
        ) from error
    except _FACTORY_FAULTS as error:
        raise ModelError(
            f"{name}: importing {module_name} failed: {type(error).__name__}: {_first_line(error)}"
        ) from error


def _roots(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    here = Path(folder).resolve()
    return [here, here.parent]


@contextmanager
def _search_path(folder: Path | None) -> Iterator[None]:
    added = [str(root) for root in _roots(folder)]
    sys.path[:0] = added
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for path in added:
            sys.path.remove(path)


def _forget_namesake(module_name: str, folder: Path | None) -> None:
    """Drop an imported module of the same name that came from another folder, or it would be taken for this one."""
    relative = Path(*module_name.split("."))
    for root in _roots(folder):
        found = [
            path for path in (root / relative.with_suffix(".py"), root / relative / "__init__.py") if path.is_file()
        ]
        if found:
            loaded = getattr(sys.modules.get(module_name), "__file__", None)
            if module_name in sys.modules and (loaded is None or Path(loaded).resolve() != found[0].resolve()):
                top = module_name.partition(".")[0]
                for key in [key for key in sys.modules if key == top or key.startswith(top + ".")]:
                    del sys.modules[key]
            return


def _describe(preprocess: Preprocess) -> str:
    crop = preprocess.crop[0] if preprocess.crop else None
    mean, std = ([round(value, 4) for value in values] for values in (preprocess.mean, preprocess.std))
    return f"resize = {preprocess.resize}, crop = {crop}, mean = {mean}, std = {std}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]
