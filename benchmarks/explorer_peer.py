"""embedding-atlas beside this explorer: the same points and pictures, the same browser, the same eyes.

Both serve the planted atlas of benchmarks/explorer.py from a warm server of their own. What counts is what is seen:
screenshots of the map's middle are taken as fast as they come, from the navigation on, until one holds something, and
until none changes any more. Then the same mouse pans and zooms both, while the page counts its frames.

embedding-atlas comes from the extra `peers`, in the last version that draws its map without WebGPU (0.22; later ones
draw none in a browser with software rendering). Run: python benchmarks/explorer_peer.py [--quick] [--out FILE.json]
[--atlas FOLDER] [--peer PROGRAM, default: embedding-atlas] [--turns N]

The planted atlas and the table for embedding-atlas are made once, some minutes each; `--prepare yes` makes them alone,
so that what follows on a quiet machine is the measurement. Every page is given LONGEST_S to show something.
"""

from __future__ import annotations

import io
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import numpy as np
import pyarrow as pa
import pyarrow.parquet
from explorer import EXPLORER, FLAGS, NO_FILTER, READY, Served, moved, planted
from PIL import Image
from reporting import Figure, arguments, report

from atlas.explorer.points import live_points
from atlas.explorer.server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atlas.storage.atlas import Atlas

# The middle of the map in a window of 1280 x 720, free of either's tools: left, top, width, height.
MIDDLE = {"x": 240, "y": 120, "width": 420, "height": 220}
SOMETHING = 6.0  # of 255, the standard deviation of the middle's pixels when it is no empty ground any more
CHANGED = 0.5  # of 255, the mean difference between two screenshots of which one shows more
STILL_S = 3.0
LONGEST_S = 120.0  # until a page shows something
STARTS_IN_S = 400.0  # embedding-atlas reads its table before it answers


def as_parquet(atlas: Atlas, path: Path) -> Path:
    """All samples on the map with id, label and thumbnail, as embedding-atlas opens it; written once."""
    if path.exists():
        return path
    layer = atlas.layers[0]
    rows = live_points(layer.samples.positions, layer.samples.state)
    image, label = layer.samples.image[rows], atlas.images.label
    pictures = [_png(atlas.thumbnail(i)) for i in range(len(atlas.images))]
    names = [*atlas.classes, None]
    columns = {
        "x": layer.samples.positions[rows, 0],
        "y": layer.samples.positions[rows, 1],
        "id": pa.array([atlas.images.ids[int(i)] for i in image]),
        "label": pa.array([names[label[int(i)]] for i in image]),  # -1: the last, none
        "picture": pa.array([{"bytes": pictures[int(i)]} for i in image]),
    }
    # A row group's pictures in under 2 GiB: pyarrow, by which embedding-atlas reads them, takes no more of nested ones.
    pyarrow.parquet.write_table(pa.table(columns), path, row_group_size=50_000)
    return path


def _png(pixels: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(stream, "PNG")
    return stream.getvalue()


@contextmanager
def peer(program: str, table: Path) -> Iterator[str]:
    """embedding-atlas serving the table; its address once it answers."""
    port = free_port()
    options = ["--x", "x", "--y", "y", "--image", "picture", "--disable-projection", "--no-auto-port"]
    process = subprocess.Popen(
        [program, str(table), *options, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}/"
    try:
        start = time.monotonic()
        while not _answers(address):
            if process.poll() is not None or time.monotonic() - start > STARTS_IN_S:
                raise SystemExit(f"embedding-atlas did not answer in {time.monotonic() - start:.0f} s")
            time.sleep(0.5)
        print(f"embedding-atlas answered after {time.monotonic() - start:.0f} s", flush=True)
        yield address
    finally:
        process.terminate()
        process.wait()


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address).read()
    except OSError:
        return False
    return True


def _shot(page: Any) -> bytes | None:
    """The middle of the page; None while a page that is busy with its data lets the browser take no picture."""
    from playwright.sync_api import Error

    try:
        return bytes(page.screenshot(clip=MIDDLE))
    except Error:
        return None


def see(browser: Any, address: str) -> tuple[Any, float, float, float]:
    """Open a page as somebody new: the page, seconds until its map shows something and all, megabytes by then."""
    page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
    client = page.context.new_cdp_session(page)
    client.send("Network.enable")
    received: list[float] = []
    client.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    start = time.perf_counter()
    page.goto(address, wait_until="commit")
    first = last = None
    before: Any = None
    megabytes = 0.0
    while True:
        now = time.perf_counter() - start
        shot = _shot(page)
        if shot is None:
            if now > LONGEST_S:
                raise SystemExit(f"{address}: the browser could take no picture of the page in {LONGEST_S:.0f} s")
            continue
        seen = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=np.float32)
        if first is None and seen.std() > SOMETHING:
            first = now
        if before is None or np.abs(seen - before).mean() > CHANGED:
            last, megabytes, before = now, sum(received) / 2**20, seen
        if first is not None and now - last > STILL_S:
            return page, first, last, megabytes
        if now > LONGEST_S:
            raise SystemExit(f"{address} showed nothing in {LONGEST_S:.0f} s")


def measure(atlas: Atlas, table: Path, program: str, *, repeats: int, seconds: float) -> list[Figure]:
    """Both sides' figures."""
    from playwright.sync_api import sync_playwright

    found: dict[str, dict[str, list[float]]] = {}
    with sync_playwright() as playwright, Served(atlas.path) as served, peer(program, table) as other:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        sides = {"here": served.url, "embedding-atlas": other}
        for name, address in sides.items():
            see(browser, address)[0].context.close()  # warm
            found[name] = {"first": [], "all": [], "MB": [], "frames": []}
        for _ in range(repeats):
            for name, address in sides.items():
                page, first, last, megabytes = see(browser, address)
                for kind, value in (("first", first), ("all", last), ("MB", megabytes)):
                    found[name][kind].append(value)
                page.context.close()
        for name, address in sides.items():
            page = see(browser, address)[0]
            if name == "here":
                page.evaluate(f"{EXPLORER}.set({{ points: 'over', filter: {{ {NO_FILTER} }} }})")
                page.wait_for_function(READY, polling="raf")
            found[name]["frames"] = moved(page, seconds, (450, 230), (6, -3))
            page.context.close()
        browser.close()
    return [figure for name, values in found.items() for figure in _figures(name, values)]


def _figures(name: str, values: dict[str, list[float]]) -> list[Figure]:
    drawn = sorted(values["frames"])
    rows = (
        ("the map shows something", statistics.median(values["first"]), "s", values["first"]),
        ("the map shows all", statistics.median(values["all"]), "s", values["all"]),
        ("downloaded by then", statistics.median(values["MB"]), "MB", values["MB"]),
        ("frame while panning and zooming, median", statistics.median(drawn), "ms", drawn[:2000]),
        ("the same, 95th percentile", drawn[int(0.95 * len(drawn))], "ms", []),
    )
    return [
        Figure(f"{name}: {words}", value, None, unit, None, "<", {"values": raw}) for words, value, unit, raw in rows
    ]


def main() -> None:
    options = arguments(
        __doc__ or "",
        atlas="where the planted atlas is kept (default: a folder in the system's temporary one)",
        peer="embedding-atlas' program (default: the one on the path)",
        turns="how often each page is opened (default: 5, quick: 2)",
        prepare="'yes': make the atlas and the table, and measure nothing",
    )
    images = 10_000 if options.quick else 100_000
    kept = Path(options.atlas) if options.atlas else Path(tempfile.gettempdir()) / f"planted-{images}.atlas"
    program = options.peer or shutil.which("embedding-atlas")
    if program is None and not options.prepare:
        raise SystemExit("embedding-atlas is not there: pip install 'activation-atlas[peers]'")
    atlas = planted(kept, images)
    table = as_parquet(atlas, kept.with_suffix(".parquet"))
    if options.prepare:
        return
    quick = bool(options.quick)
    turns = int(options.turns) if options.turns else 2 if quick else 5
    figures = measure(atlas, table, str(program), repeats=turns, seconds=4 if quick else 12)
    report(figures, "explorer-peer", options)


if __name__ == "__main__":
    main()
