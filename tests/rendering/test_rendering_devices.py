"""What rendering does on devices that this machine need not have: number types, memory, where it runs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rendering_networks import real_directions, tiny_model

from atlas.errors import RenderError
from atlas.models import Model
from atlas.rendering import icons as icons_module
from atlas.rendering import render_icons, score_icons
from atlas.rendering import target as target_module
from atlas.rendering.target import is_out_of_memory, open_target


@pytest.mark.parametrize(
    ("avx", "amx", "expected"),
    [(False, False, torch.float32), (True, False, torch.bfloat16), (False, True, torch.bfloat16)],
)
def test_a_processor_computes_in_bfloat16_where_it_has_it(
    monkeypatch: pytest.MonkeyPatch, avx: bool, amx: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert target_module._fast_type(torch.device("cpu")) == expected


@pytest.mark.parametrize(("has_it", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_gpu_that_only_emulates_bfloat16_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch, has_it: bool, expected: torch.dtype
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return has_it or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert target_module._fast_type(torch.device("cuda")) == expected
    assert target_module._fast_type(torch.device("mps")) == torch.float32


@pytest.mark.parametrize(("kind", "layer"), [("map", "second"), ("last", "norm"), ("tokens", "block")])
def test_icons_drawn_in_bfloat16_are_as_good_and_scored_in_float32(
    monkeypatch: pytest.MonkeyPatch, kind: str, layer: str
) -> None:
    model = tiny_model(kind)
    directions = real_directions(model, layer)
    monkeypatch.setattr(target_module, "_fast_type", lambda device: torch.float32)
    plain = render_icons(model, layer, directions, size=32, device="cpu", steps=24)
    monkeypatch.setattr(target_module, "_fast_type", lambda device: torch.bfloat16)
    types = set()
    whole = target_module.as_grid

    def watched(found: torch.Tensor, *rest: object) -> torch.Tensor:
        types.add((found.dtype, torch.is_grad_enabled()))
        return whole(found, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(target_module, "as_grid", watched)
    fast = render_icons(model, layer, directions, size=32, device="cpu", steps=24)
    assert (torch.float32, False) in types  # scored
    assert (torch.bfloat16, False) not in types
    if kind != "last":  # a LayerNorm at the end gives float32 under autocast
        assert (torch.bfloat16, True) in types
    assert np.median(fast.centre) > np.median(plain.centre) - 0.03
    scored = score_icons(model, layer, directions, fast.images, device="cpu")
    np.testing.assert_allclose(scored.centre, fast.centre, atol=1e-6)


def test_both_kinds_of_lacking_memory_are_known() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_batch_is_halved_when_scoring_runs_out_of_memory_too(
    model: Model, directions: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, tried = icons_module.score_pictures, []

    def small_memory(target: object, vectors: NDArray[np.float32], *rest: object) -> object:
        tried.append(len(vectors))
        if len(vectors) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(target, vectors, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(icons_module, "score_pictures", small_memory)
    icons = render_icons(model, "second", directions, size=32, device="cpu", steps=1)
    assert tried == [4, 2, 2]
    assert np.isfinite(icons.robust).all()


def test_a_network_too_large_to_be_measured_is_drawn_one_by_one(
    model: Model, directions: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(_: object) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(icons_module, "bytes_per_icon", no_memory)
    seen: list[int] = []
    render_icons(
        model, "second", directions, size=32, device="cpu", steps=1, progress=lambda _, done, __: seen.append(done)
    )
    assert seen == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("device", "hands", "memory", "free", "expected"),
    [
        ("cuda", 1, None, 80e6, 40),  # half of what is free
        ("cuda", 1, None, 80e9, 512),
        ("cuda", 1, 10e6, 80e6, 10),
        ("cpu", 1, None, 80e6, 32),
        ("cpu", 1, 5e6, 80e6, 5),
        ("cpu", 2, 10e6, 80e6, 5),  # each core's batch its share
        ("cpu", 2, None, 80e6, 30),  # twenty batches of 30: both cores end together
        ("cpu", 60, None, 80e6, 10),  # every core one of 600 icons' batches
        ("cpu", 1, 1e3, 80e6, 1),
    ],
)
def test_a_batch_is_what_the_device_and_the_setting_hold(
    monkeypatch: pytest.MonkeyPatch, device: str, hands: int, memory: float | None, free: float, expected: int
) -> None:
    monkeypatch.setattr(icons_module, "bytes_per_icon", lambda target: 10**6)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda place: (free, 80e9))
    job = SimpleNamespace(
        _options=SimpleNamespace(backend="batched", memory=memory),
        _target=SimpleNamespace(device=torch.device(device), crew=range(hands)),
        _vectors=np.zeros((600, 3)),
    )
    assert icons_module._Job._fitting_batch(job) == expected  # type: ignore[arg-type]


def test_icons_run_on_the_gpu_unless_the_same_bits_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    def place(device: str, deterministic: bool) -> str:
        return str(icons_module._place(device, SimpleNamespace(backend="batched", deterministic=deterministic)))  # type: ignore[arg-type]

    assert place("auto", False) == "cuda"
    assert place("cuda:0", False) == "cuda:0"
    assert place("auto", True) == "cpu"
    with pytest.raises(RenderError, match=r"the same bit for bit on cuda, where .*: set device to 'cpu'"):
        place("cuda", True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_draws_what_a_processor_draws() -> None:
    model = tiny_model()
    directions = real_directions(model, "second")
    here, there = (
        render_icons(model, "second", directions, size=32, device=device, steps=24) for device in ("cpu", "cuda")
    )
    assert np.median(there.centre) > np.median(here.centre) - 0.03
    with open_target(model, "second", size=32, width=12, device=torch.device("cuda")) as target:
        assert next(target.model.network.parameters()).device.type == "cuda"
    assert next(model.network.parameters()).device.type == "cpu"
