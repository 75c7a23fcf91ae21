"""State dicts: read without unpickling code, fitted to a network, hashed."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from atlas.errors import ModelError

StateDict = dict[str, torch.Tensor]

_OUTER = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
_WRAPPERS = ("module.", "_orig_mod.")  # DataParallel's, torch.compile's


def read_checkpoint(path: str | Path) -> StateDict:
    """Read a state dict from `.safetensors`, or from any other file by torch.load(weights_only=True), on the CPU.

    An outer `state_dict`, `model_state_dict` or `model` is opened, and the prefixes `module.` and `_orig_mod.` are
    dropped. Raises ModelError when the file is absent, damaged, holds pickled code, or holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"checkpoint {path} does not exist: check the path")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    return _unwrapped(content, path)


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"checkpoint {path} cannot be read as safetensors ({error}): copy or save it again") from None


def _read_pickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            reason = "holds pickled Python objects, which are never run: save model.state_dict() instead"
        else:
            reason = "is not a torch checkpoint, or is damaged: save model.state_dict() with torch.save"
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, LookupError) as error:
        if "TorchScript" in str(error):
            reason = "is a TorchScript archive, which holds code: save model.state_dict() instead"
        else:
            reason = "is damaged or truncated: copy or save it again"
    raise ModelError(f"checkpoint {path} {reason}")


def _unwrapped(content: object, path: Path) -> StateDict:
    while isinstance(content, Mapping):
        if content and all(isinstance(value, torch.Tensor) for value in content.values()):
            break
        inner = next((content[key] for key in _OUTER if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise ModelError(
            f"checkpoint {path} holds no state dict: save model.state_dict(), alone or under the key 'state_dict'"
        )
    state = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
    while prefix := next((p for p in _WRAPPERS if all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def fit_checkpoint(network: nn.Module, state: StateDict, *, name: str, path: str | Path) -> None:
    """Load a state dict into a network in place. Raises ModelError that says which keys do not fit, and why.

    A prefix that all keys share (Lightning's `model.`) is dropped when the rest then fits.
    """
    own = network.state_dict()
    state = _without_shared_prefix(state, own)
    # Counters of BatchNorm, absent from old checkpoints, do not act in evaluation.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    other = [key for key in own if key in state and own[key].shape != state[key].shape]
    if missing or unknown or other:
        details = [
            _some(f"{len(missing)} missing from it", missing),
            _some(f"{len(unknown)} unknown to the network", unknown),
            _some(f"{len(other)} of another shape", [_shapes(key, own, state) for key in other]),
        ]
        listed = ", ".join(detail for detail in details if detail)
        raise ModelError(
            f"checkpoint {path} does not fit {name}: of {len(own)} keys {listed}; "
            f"{_suggestion(own, state, missing, unknown, other)}"
        )
    network.load_state_dict(state, strict=False)


def _without_shared_prefix(state: StateDict, own: Mapping[str, torch.Tensor]) -> StateDict:
    firsts = {key.partition(".")[0] for key in state}
    if len(firsts) != 1:
        return state
    prefix = firsts.pop() + "."
    stripped = {key.removeprefix(prefix): value for key, value in state.items()}
    fits = all(key in own for key in stripped)
    return stripped if fits and not any(key in own for key in state) else state


def _some(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = ", ..." if len(keys) > 3 else ""
    return f"{what} ({', '.join(keys[:3])}{more})"


def _shapes(key: str, own: Mapping[str, torch.Tensor], state: StateDict) -> str:
    return f"{key}: {tuple(state[key].shape)} against the network's {tuple(own[key].shape)}"


def _suggestion(
    own: Mapping[str, torch.Tensor], state: StateDict, missing: list[str], unknown: list[str], other: list[str]
) -> str:
    """Say what a misfit most likely means, with the remedy."""
    last = [key for key in own if key.endswith(".weight") or key == "weight"][-1:]
    heads = [key for key in other if own[key].ndim and own[key].shape[1:] == state[key].shape[1:]]
    if heads and len(heads) == len(other) and not missing and not unknown:
        # Only first dimensions differ: outputs were counted otherwise. The last such weight is the head.
        head = next((key for key in reversed(heads) if own[key].ndim > 1), heads[-1])
        return (
            f"this suggests another number of classes: {state[head].shape[0]} in the checkpoint, "
            f"{own[head].shape[0]} in the network, so give as many class names as the checkpoint has"
        )
    if len(missing) == len(own) or not set(own) & set(state):
        for key in last:
            matching = [k for k in state if k.endswith("." + key)]
            if matching:
                prefix = matching[0].removesuffix(key)
                return f"its keys begin with '{prefix}': save the state dict of that part alone"
        return "this suggests another architecture: check the network's name"
    if unknown and not missing:
        return "this suggests a deeper network, or one with parts that this one lacks: check the network's name"
    if missing and not unknown and not other:
        return "this suggests a shallower network, or one without those parts: check the network's name"
    return "this suggests another variant of the architecture, of other width or depth: check the network's name"


def hash_weights(network: nn.Module) -> str:
    """SHA-256 over a network's state dict: names in order, dtypes, shapes and bytes, wherever it lies."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        plain = tensor.detach().cpu().contiguous()
        digest.update(plain.flatten().view(torch.uint8).numpy() if plain.numel() else b"")
    return digest.hexdigest()
