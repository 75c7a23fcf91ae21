"""Networks keep their values whatever their memory format."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from atlas.models.checkpoints import hash_weights
from atlas.models.memory import channels_last, keep_freed_memory


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.ConvTranspose2d(8, 4, 2),
    ).eval()


def test_channels_last_changes_neither_output_nor_names_nor_hash() -> None:
    plain, changed = network(), channels_last(network())
    pictures = torch.rand(2, 3, 9, 9)
    with torch.no_grad():
        found = changed(pictures)
        torch.testing.assert_close(found, plain(pictures))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert list(plain.state_dict()) == list(changed.state_dict())
    assert hash_weights(plain) == hash_weights(changed)


def test_convolutions_of_other_dimensions_are_left_alone() -> None:
    kernel = nn.Sequential(nn.Conv1d(3, 4, 3), nn.Conv3d(1, 2, 2))
    before = [weight.stride() for weight in kernel.parameters()]
    assert [weight.stride() for weight in channels_last(kernel).parameters()] == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone has the switch")
def test_freed_memory_is_kept() -> None:
    assert keep_freed_memory()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    block = torch.ones(256 << 20, dtype=torch.uint8)
    before = resident()
    del block
    assert resident() > before - (128 << 20)
