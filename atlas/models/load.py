"""A network with its preprocessing and the names of its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atlas.config import PreprocessConfig
from atlas.errors import ModelError
from atlas.models.capture import first_tensor
from atlas.models.checkpoints import fit_checkpoint, hash_weights, read_checkpoint
from atlas.models.factories import Built, build_network
from atlas.models.memory import channels_last, keep_freed_memory
from atlas.models.preprocess import Preprocess


@dataclass(frozen=True, eq=False)
class Model:
    """A network in evaluation mode, its parameters frozen, with all that is needed to feed and read it.

    outputs: the class names of the logits, in order; () for an encoder, which then has no predictions and no
    effects. A model is a classifier exactly when its class names are known: given, or brought by its weights.
    weights_hash: SHA-256 over the state dict.
    """

    network: nn.Module
    name: str
    preprocess: Preprocess
    outputs: tuple[str, ...]
    weights_hash: str

    @property
    def is_classifier(self) -> bool:
        """Whether the network's output is read as logits."""
        return bool(self.outputs)

    @property
    def device(self) -> torch.device:
        """Where the parameters lie; the CPU for a network without any."""
        return next((tensor.device for tensor in self.network.parameters()), torch.device("cpu"))

    def to(self, device: torch.device | str) -> Model:
        """Move the network, in place as torch does, and return the model."""
        return replace(self, network=self.network.to(device))

    def check_logits(self, output: Any) -> torch.Tensor:
        """Take the logits from the network's output: float32 (n, classes).

        Raises ModelError when they are not one value per class name.
        """
        logits = first_tensor(output)
        if logits is None or logits.ndim != 2 or logits.shape[1] != len(self.outputs):
            given = "no tensor" if logits is None else "(n" + "".join(f", {size}" for size in logits.shape[1:]) + ")"
            raise ModelError(
                f"{self.name} gives an output of shape {given}, but {len(self.outputs)} class names were given: "
                "give one name per output, in their order, or none for an encoder"
            )
        return logits.float()


def load_model(
    name: str,
    *,
    weights: str | None = None,
    checkpoint: str | Path | None = None,
    preprocess: PreprocessConfig | Preprocess | None = None,
    classes: Sequence[str] | None = None,
    folder: Path | None = None,
) -> Model:
    """Load `torchvision:NAME`, `timm:NAME` or `python:package.module:factory`, ready to run on the CPU.

    weights: a name of the library's ("IMAGENET1K_V1", "DEFAULT", a timm tag), or "random". checkpoint: a state
    dict, `.pt` or `.safetensors`. preprocess: needed unless the weights, or the factory's network as an attribute
    `preprocess`, bring their own. classes: the outputs' names in order; without them, and without weights that
    bring names, the network is an encoder. folder: a factory is looked up there and in its parent first.

    Raises ModelError in one sentence when any of these is missing or does not fit.
    """
    if isinstance(preprocess, PreprocessConfig):
        preprocess = Preprocess.from_config(preprocess)
    outputs = tuple(classes or ())
    built = _built(name, weights, checkpoint, outputs, folder)
    chosen = preprocess or built.preprocess
    if chosen is None:
        hint = f" (its published weights use {built.hint})" if built.hint else ""
        raise ModelError(
            f"{name} brings no preprocessing, which is never guessed: add [model.preprocess] to the pipeline, "
            f"or pass preprocess=, with resize, crop, mean and std{hint}"
        )
    keep_freed_memory()
    network = channels_last(built.network.eval().requires_grad_(False))
    model = Model(network, name, chosen, outputs or built.categories, hash_weights(network))
    if model.is_classifier and chosen.input_shape is not None:
        model.check_logits(_probed(model, chosen.input_shape))
    return model


def load_network(
    name: str,
    *,
    weights: str | None = None,
    checkpoint: str | Path | None = None,
    classes: Sequence[str] | None = None,
    folder: Path | None = None,
) -> nn.Module:
    """Load a network alone, in evaluation mode: enough to list its layers. Arguments and errors as `load_model`."""
    built = _built(name, weights, checkpoint, tuple(classes or ()), folder)
    return built.network.eval().requires_grad_(False)


def _built(
    name: str, weights: str | None, checkpoint: str | Path | None, outputs: tuple[str, ...], folder: Path | None
) -> Built:
    if weights is not None and checkpoint is not None:
        raise ModelError(f"{name} is given both weights and a checkpoint: give one")
    built = build_network(
        name, weights=weights, trained_elsewhere=checkpoint is not None, classes=len(outputs) or None, folder=folder
    )
    if checkpoint is not None:
        fit_checkpoint(built.network, read_checkpoint(checkpoint), name=name, path=checkpoint)
    return built


def _probed(model: Model, input_shape: tuple[int, int, int]) -> Any:
    """Run the network once on a mid-grey picture."""
    grey = torch.full((1, *input_shape), 128, dtype=torch.uint8)
    with torch.no_grad():
        try:
            return model.network(model.preprocess.normalise(grey))
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            size = "x".join(map(str, input_shape))
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"{model.name} cannot run on an input of {size} ({reason}): check resize, crop and channels of the "
                "preprocessing"
            ) from error
