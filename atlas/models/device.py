"""Where a network runs."""

from __future__ import annotations

import torch

from atlas.errors import ModelError


def resolve_device(name: str) -> torch.device:
    """Turn "auto", "cpu", "cuda", "cuda:1" or "mps" into a device that is there.

    "auto" takes CUDA, else Apple's MPS, else the CPU. Raises ModelError for an unknown name or an absent device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdecimal()):
        raise ModelError(f"device '{name}' is not known: use auto, cpu, cuda, cuda:N or mps")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ModelError("device 'mps' is not available on this machine: use auto or cpu")
    if kind == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= there:
            raise ModelError(f"device '{name}' is not available (CUDA devices here: {there}): use auto or cpu")
    return torch.device(name)
