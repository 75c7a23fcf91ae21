"""A real JupyterLab for browser tests: one notebook, its first cell run, the frame that it shows."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from looking import EXPLORER

from atlas.explorer.server import free_port

STARTS_IN_S = 60


def selected(column: str) -> str:
    """A cell that prints a column of the selection, to be read with `printed`."""
    return f"import json\nprint('SELECTED', json.dumps(explorer.selection()['{column}'].to_pylist()))"


@contextmanager
def jupyterlab(folder: Path, cells: Sequence[str]) -> Iterator[str]:
    """A JupyterLab with one notebook; its address."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = kernel
    nbformat.write(notebook, folder / "map.ipynb")
    port = free_port()
    options = ["--IdentityProvider.token=", "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0"]
    places = {f"JUPYTER_{name}_DIR": str(folder / name) for name in ("CONFIG", "RUNTIME")}
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", *options, f"--ServerApp.port={port}",
         f"--ServerApp.root_dir={folder}"],
        env={**os.environ, **places}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(STARTS_IN_S * 2):
            try:
                urllib.request.urlopen(f"{address}/api").close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"{address}/lab/tree/map.ipynb"
    finally:
        process.terminate()
        process.wait(timeout=30)


class Notebook:
    """The notebook in a browser. troubles: errors of its scripts, and what was asked of other hosts."""

    def __init__(self, chromium: Any, address: str) -> None:
        self.troubles: list[str] = []
        self.page = chromium.new_page(viewport={"width": 1400, "height": 1000})
        self.page.set_default_timeout(60_000)  # the machine may be busy with other things
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", lambda request: None if _own(request.url) else self.troubles.append(request.url))
        self.page.goto(address)
        # A cell that is run before the kernel is idle is passed over.
        self.page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=90_000)

    def run(self, cell: int) -> None:
        """Run a cell, counted from 0."""
        self.page.locator(".jp-CodeCell").nth(cell).click()
        self.page.keyboard.press("Shift+Enter")

    def open_map(self, title: str) -> None:
        """Run the first cell and wait for its map: then `frame` locates in it, and `inside` evaluates."""
        self.run(0)
        self.frame = self.page.frame_locator(f"iframe[title='{title}']")
        self.frame.get_by_text("In view").first.wait_for(timeout=90_000)
        self.inside = next(one for one in self.page.frames if one.parent_frame is not None)
        self.inside.wait_for_function(f"() => {EXPLORER}.shards.loading === false && {EXPLORER}.level !== null")
        self.box = self.page.locator(f"iframe[title='{title}']").bounding_box()
        self.page.mouse.move(self.box["x"] + 250, self.box["y"] + 300)
        self.page.mouse.click(self.box["x"] + 60, self.box["y"] + 330)  # the keys are the frame's now
        self.page.keyboard.press("Escape")  # and if a cell was there, it is closed again

    def drag_box(self, start: tuple[float, float], end: tuple[float, float]) -> list[int]:
        """Select with a box between two places of the frame; the rows that the page then holds."""
        self.page.keyboard.press("b")
        self.page.mouse.move(self.box["x"] + start[0], self.box["y"] + start[1])
        self.page.mouse.down()
        self.page.mouse.move(self.box["x"] + end[0], self.box["y"] + end[1], steps=5)
        self.page.mouse.up()
        self.inside.wait_for_function(f"() => {EXPLORER}.selectedSamples !== null")
        return list(self.inside.evaluate(f"() => Array.from({EXPLORER}.selectedSamples.row)"))

    def printed(self, cell: int, word: str) -> str:
        """Run a cell that prints one line beginning with a word; what stands after it."""
        self.run(cell)
        self.page.get_by_text(f"{word} [").wait_for()
        return str(self.page.get_by_text(f"{word} [").last.inner_text()).removeprefix(f"{word} ")


def _own(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "about:"))
