"""A comparison of what a pipeline built: two layers of one network, with positions and effects of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from atlas.comparison import compare
from atlas.pipeline import build
from atlas.storage.verify import verify
from tests.tiny import write_tiny_pipeline


def test_two_layers_of_one_atlas_are_compared(tmp_path: Path) -> None:
    built = build(write_tiny_pipeline(tmp_path, images=48), tmp_path / "tiny.atlas")
    found = compare(built, built, layers=["1", "3"], out=tmp_path / "x.diff")
    assert [layer.name for layer in found.atlas.layers] == ["tiny 1", "tiny 3"]
    assert [network["channels"] for network in found.document["networks"]] == [12, 16]
    assert 0 < found.document["cka"] < 1
    assert verify(tmp_path / "x.diff") == []
    assert np.isfinite(found.array("cells_0_effect_change")).any()
    for layer, own in zip(found.atlas.layers, built.layers, strict=True):
        np.testing.assert_array_equal(layer.samples.uv, own.samples.uv)
        np.testing.assert_array_equal(layer.samples.box, own.samples.box)
        # Where the atlas has a sample's patch, the comparison shows it: up to JPEG's second rounding.
        shared = np.intersect1d(layer.patch_rows, own.patch_rows)
        for row in shared[:5]:
            one = layer.patch(int(np.flatnonzero(layer.patch_rows == row)[0])).astype(int)
            other = own.patch(int(np.flatnonzero(own.patch_rows == row)[0])).astype(int)
            assert np.abs(one - other).mean() < 4
    # The same layer of the same atlas is the same network.
    assert compare(built, built, layers=["3"], out=tmp_path / "y.diff").same
