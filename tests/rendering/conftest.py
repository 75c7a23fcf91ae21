"""Networks and directions that the rendering tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode: the networks stand beside the tests

from rendering_networks import real_directions, tiny_model

from atlas.models import Model


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model() -> Model:
    return tiny_model()


@pytest.fixture
def directions(model: Model) -> NDArray[np.float32]:
    return real_directions(model, "second")
