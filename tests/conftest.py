"""Shared fixtures: where the real data lies, and what is skipped where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
os.environ.setdefault("ATLAS_TEST_DATA", str(REPOSITORY.parent / "shared" / "data"))
if "PYTEST_XDIST_WORKER" in os.environ:  # two of two threads each wait for one another: 300 s for 13
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:  # with `-n 2 --dist loadgroup`: files stay whole, and one browser at a time is enough
            group = "browser" if "explorer" in item.path.parts else str(item.path)
            item.add_marker(pytest.mark.xdist_group(group))
    folder = Path(os.environ["ATLAS_TEST_DATA"])
    if (folder / "weights").is_dir():
        return
    absent = pytest.mark.skip(reason=f"no real data: ATLAS_TEST_DATA={folder} has no weights/")
    for item in items:
        if item.get_closest_marker("real"):
            item.add_marker(absent)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real networks and pictures."""
    return Path(os.environ["ATLAS_TEST_DATA"])


@pytest.fixture(scope="session")
def repository() -> Path:
    """The project's top folder."""
    return REPOSITORY
