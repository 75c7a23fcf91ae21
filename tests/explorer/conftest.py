"""Planted atlases and one headless Chromium for the whole session; `planted` lies one folder up."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from browsing import FLAGS, WINDOW
from comparisons import write_planted_diff
from planted import write_planted_atlas
from suspicions import write_suspected_atlas

from atlas.explorer import ServerHandle, start_server
from atlas.storage.atlas import Atlas, open_atlas

AT_REST = """() => {
    const figure = document.querySelector('.bk-Figure'), explorer = figure?.atlasExplorer;
    const busy = explorer?.asked || explorer?.pointers?.some(({ asked }) => asked) ||
        explorer?.panes?.some(({ view }) => view.isFlying);
    return figure?.dataset.loading === 'false' && !busy;
}"""
CONTEXT = {"viewport": WINDOW, "reduced_motion": "reduce"}
ALLOWED = ("http://127.0.0.1:", "ws://127.0.0.1:", "file://", "data:", "blob:", "about:")


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """Three levels, the deepest without icons; two layers; seven classes; three samples an image."""
    folder = tmp_path_factory.mktemp("planted") / "planted.atlas"
    return open_atlas(
        write_planted_atlas(folder, images=600, samples_per_image=3, levels=3, layers=2, icon_levels=2, classes=7)
    )


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """A comparison of two networks whose predictions disagree."""
    return write_planted_diff(tmp_path_factory.mktemp("compared") / "planted.diff")


@pytest.fixture(scope="session")
def suspected(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """Two suspects of the second of two layers, in words that break careless HTML."""
    return write_suspected_atlas(tmp_path_factory.mktemp("suspected") / "suspected.atlas")


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """Class names and file names that break careless HTML."""
    folder = tmp_path_factory.mktemp("hostile") / "hostile.atlas"
    return open_atlas(write_planted_atlas(folder, images=160, levels=1, classes=8, hostile_names=True))


@pytest.fixture(scope="session")
def served(planted: Atlas) -> Iterator[ServerHandle]:
    """The planted atlas, served."""
    with start_server(planted) as handle:
        yield handle


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One headless Chromium for the session; its tests are skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """visit(url, **context) -> a page whose map is loaded.

    At the end the test fails if a page wrote an error or a warning to its console, or asked another host for anything.
    """
    contexts, complaints = [], []

    def open_page(url: str, *, help_closed: bool = True, wait: bool = True, names: bool = False, **context: Any) -> Any:
        made = chromium.new_context(**{**CONTEXT, **context})
        contexts.append(made)
        if help_closed:
            made.add_init_script("try { localStorage.setItem('activation-atlas-help-closed', 'yes') } catch {}")
        made.set_default_timeout(60_000)  # the machine may be busy with other things
        page = made.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(ALLOWED) else complaints.append(f"asked for {r.url}"))
        # Names on the map would hide the pixels that tests look at; those that are about names ask for them.
        page.goto(url if names or "#" in url else f"{url}#names=off")
        if wait:
            settled(page)
        return page

    yield open_page
    for made in contexts:
        made.close()
    assert complaints == []


def settled(page: Any) -> None:
    """Wait until the map stands still, has loaded all that it shows, and painted it."""
    for _ in range(2):  # what a painted frame asked for is waited for too
        page.wait_for_function(AT_REST, timeout=60_000, polling=50)
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.fixture(scope="session")
def settle() -> Callable[[Any], None]:
    """settle(page): wait until the map has loaded and painted all that it shows."""
    return settled
