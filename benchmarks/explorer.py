"""The explorer in real Chromium (software rendering) on a planted atlas of a million samples and five levels.

The atlas is planted, not built: a stand-in for a real one's size, with no network behind it. It is written once (some
minutes) into --atlas and used again. Run: python benchmarks/explorer.py [--quick] [--out FILE.json] [--atlas FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import numpy as np
from browsing import FLAGS, WINDOW
from planted import write_planted_atlas
from reporting import Figure, arguments, report
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from atlas.explorer import export
from atlas.explorer.editions import Editions
from atlas.explorer.patchbook import PAGE
from atlas.explorer.shards import Shards
from atlas.explorer.site import PAGE_NAME, page_html
from atlas.storage.atlas import Atlas, open_atlas

SERVER = """import sys
from atlas.explorer import start_server
handle = start_server(sys.argv[1])
print(handle.url, flush=True)
handle.wait()"""
NO_FILTER = "classes: [], low: 0, high: 100, wrong: false, images: 1, columns: [], change: null"
EXPLORER = "document.querySelector('.bk-Figure').atlasExplorer"
READY = "document.querySelector('.bk-Figure')?.dataset.loading === 'false'"

# From inside the page, so that no message between processes is counted: act, then look at every frame.
UNTIL = """([act, done]) => new Promise((resolve) => {
    const finished = eval(done), start = performance.now();
    eval(act);
    const look = () => finished() ? resolve(performance.now() - start) : requestAnimationFrame(look);
    requestAnimationFrame(look);
})"""
UNTIL_BOTH = """([act, one, other]) => new Promise((resolve) => {
    const [first, second] = [eval(one), eval(other)], start = performance.now();
    let at = null;
    eval(act);
    const look = () => {
        if (at === null && first()) at = performance.now() - start;
        if (at !== null && second()) resolve([at, performance.now() - start]);
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
})"""
FRAMES = """() => { window.frames_ = []; let last = performance.now();
    const tick = (now) => {
        if (!window.frames_) return;
        window.frames_.push(now - last);
        last = now;
        requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick); }"""


def planted(folder: Path, images: int) -> Atlas:
    """The atlas of 10 samples an image, written unless it is there."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_planted_atlas(folder, images=images, samples_per_image=10, levels=5, classes=40)
    return open_atlas(folder)


class Served:
    """A server in a process of its own, warm: its first page has been asked for."""

    def __init__(self, atlas: Path) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", SERVER, str(atlas)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        urllib.request.urlopen(self.url).read()

    def memory(self) -> float:
        """Resident megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


def new_page(browser: Any) -> Any:
    """A page of a user who was never here."""
    page = browser.new_context(viewport=WINDOW).new_page()
    page.set_default_timeout(120_000)
    return page


def first_view(browser: Any, url: str) -> tuple[float, float]:
    """Seconds from the navigation until the map shows all that it will, and megabytes downloaded until then."""
    page = new_page(browser)
    client = page.context.new_cdp_session(page)
    client.send("Network.enable")
    received: list[float] = []
    client.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    page.goto(url, wait_until="commit")
    page.wait_for_function(READY, polling="raf")
    seconds = page.evaluate("performance.now()") / 1000
    page.wait_for_timeout(200)
    page.context.close()
    return seconds, sum(received) / 2**20


def frames(page: Any, seconds: float, beside: str = "null") -> list[float]:
    """Milliseconds between frames while the mouse pans and the wheel zooms, samples and a filter on.

    beside: the layer of a second map; that of the first moves with it.
    """
    look = f"points: 'over', filter: {{ {NO_FILTER}, classes: [0, 1, 2] }}, beside: {beside}"
    page.evaluate(f"{EXPLORER}.set({{ {look} }})")
    page.wait_for_timeout(500)
    page.wait_for_function(READY, polling="raf")
    found = moved(page, seconds, (480, 380), (8, -5), hover=(300, 300))
    page.keyboard.press("0")
    return found


def moved(
    page: Any, seconds: float, start: tuple[int, int], step: tuple[int, int], hover: tuple[int, int] | None = None
) -> list[float]:
    """Milliseconds between frames while the mouse drags from a place in 20 steps, wheels in and out, and hovers."""
    (x, y), (across, down) = start, step
    page.mouse.move(x, y)
    page.evaluate(FRAMES)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        page.mouse.move(x, y)
        page.mouse.down()
        for number in range(20):
            page.mouse.move(x + across * number, y + down * number)
        page.mouse.up()
        for delta in (-120, -120, -120, 120, 120, 120):
            page.mouse.wheel(0, delta)
            page.wait_for_timeout(30)
        if hover is not None:
            page.mouse.move(*hover, steps=10)
    found = page.evaluate("() => { const all = window.frames_; window.frames_ = null; return all; }")
    return [float(value) for value in found[5:]]


def responses(page: Any, repeats: int) -> dict[str, list[float]]:
    """Milliseconds from an act until its answer is on the screen."""
    page.evaluate(f"{EXPLORER}.set({{ points: 'off', filter: {{ {NO_FILTER} }}, selected: null, beside: null }})")
    page.wait_for_timeout(400)
    page.wait_for_function(READY, polling="raf")
    cells = page.evaluate(
        f"""() => {{ const e = {EXPLORER}, frame = e.view.frame, level = e.level, found = [];
        for (let i = 1; i < 40; i++) {{
            const [x, y] = [frame.width * (i % 8) / 8, frame.height * (1 + i % 5) / 7];
            const cell = e.tiles.cellAt(0, level, e.view.worldX(x), e.view.worldY(y));
            if (cell?.cell.icon) found.push([frame.left + x, frame.top + y]);
        }} return found; }}"""
    )
    pointer = (
        "document.querySelector('.bk-Figure').dispatchEvent(new PointerEvent('{kind}',"
        " {{clientX: {x}, clientY: {y}, bubbles: true, button: 0, buttons: {buttons}}}));"
    )
    root = "document.querySelector('.bk-Figure').shadowRoot"
    took: dict[str, list[float]] = {"hover": [], "click": [], "patches": [], "filter": []}
    for x, y in (cells * repeats)[:repeats]:
        page.evaluate(f"{EXPLORER}.chrome.hideCard()")
        move = pointer.format(kind="pointermove", x=x, y=y, buttons=0)
        took["hover"].append(page.evaluate(UNTIL, [move, f"() => !{root}.querySelector('.card').hidden"]))
        page.wait_for_timeout(150)  # as a hand takes at least between arriving and pressing
        press = "".join(pointer.format(kind=kind, x=x, y=y, buttons=1) for kind in ("pointerdown", "pointerup"))
        opened = f"() => {root}.querySelector('.panel .numbers') !== null"
        patch = f"{root}.querySelector('.panel .patch img"
        shown = f"() => {patch}[src]') !== null && {patch}:not([src])') === null"  # all of them
        patches = page.evaluate(UNTIL_BOTH, [press, opened, shown])
        took["click"].append(patches[0])
        took["patches"].append(patches[1])
        page.evaluate(f"{EXPLORER}.select(null)")
        page.wait_for_timeout(120)
    for repeat in range(repeats):
        change = f"{EXPLORER}.set({{ filter: {{ {NO_FILTER}, classes: [{repeat % 30}] }} }})"
        act = f"window.was = {EXPLORER}.panes[0].version; {change}"
        done = f"() => {EXPLORER}.panes[0].version > window.was && !{EXPLORER}.asked"
        took["filter"].append(page.evaluate(UNTIL, [act, done]))
        page.wait_for_timeout(120)
    return took


def cold_patches(folder: Path, clicks: int) -> list[float]:
    """Milliseconds of processor to cut and encode a cell's real patches when nobody has asked for any before."""
    atlas, rng, took = open_atlas(folder), np.random.default_rng(0), []
    for _ in range(clicks):
        shards = Shards(open_atlas(folder))  # with empty shelves
        level = atlas.layers[0].levels[rng.integers(len(atlas.layers[0].levels))]
        patches = level.patches[rng.choice(np.flatnonzero(level.patches[:, 0] >= 0))]
        pages = np.unique(shards.books[0].place[patches[patches >= 0]] // PAGE)
        start = time.process_time()
        for page in pages.tolist():
            shards.value("patch", 0, page)
        took.append(1000 * (time.process_time() - start))
    return took


def users(served: Served, atlas: Atlas, count: int) -> tuple[float, float]:
    """Let `count` clients ask at once for page, script, first shards and document, as a browser does.

    Returns the slowest's seconds, and megabytes a client while all are there.
    """
    token = Editions(atlas.path).newest()[0]
    shards = ["points/0/0/0/0", "density/0", *(f"tile/0/0/{x}/{y}" for x, y in ((0, 0),))]
    paths = ["static/js/bokeh.min.js", *(f"data/{token}/{shard}.json" for shard in shards)]
    before = served.memory()

    async def all_of_them() -> tuple[float, float]:
        with ThreadPoolExecutor(count) as threads:
            clients = await asyncio.gather(*(_one_user(served.url, paths, threads) for _ in range(count)))
        grown = served.memory() - before
        for connection, _ in clients:
            connection.close()
        return max(seconds for _, seconds in clients), grown / count

    with ThreadPoolExecutor(1) as apart:  # this thread has the browser's loop running
        return apart.submit(asyncio.run, all_of_them()).result()


async def _one_user(url: str, paths: list[str], threads: ThreadPoolExecutor) -> tuple[WebSocketClientConnection, float]:
    """One client's open websocket, and the seconds until it had everything.

    The document is read and not built: Bokeh's own client would take as much of the machine as the server does.
    """
    start = time.perf_counter()

    def fetch(path: str) -> bytes:
        found: bytes = urllib.request.urlopen(url + path).read()
        return found

    ask = asyncio.get_running_loop().run_in_executor
    page = (await ask(threads, fetch, "")).decode()
    for path in paths:
        await ask(threads, fetch, path)
    session = page.partition('"token":"')[2].partition('"')[0]
    address = HTTPRequest(url.replace("http", "ws", 1) + "ws")
    connection = await websocket_connect(address, subprotocols=["bokeh", session])
    for _ in range(3):  # header, metadata and content of the server's ACK
        await connection.read_message()
    for part in (json.dumps({"msgid": "1", "msgtype": "PULL-DOC-REQ"}), "{}", "{}"):
        await connection.write_message(part)
    parts = [await connection.read_message() for _ in range(3)]
    assert len(parts[-1] or "") > 100_000, "the server answered with no document"
    return connection, time.perf_counter() - start


def measure(atlas: Atlas, options: argparse.Namespace, site: Path) -> list[Figure]:
    """All figures, on one browser."""
    from playwright.sync_api import sync_playwright

    repeats = 3 if options.quick else 7
    figures: list[Figure] = []

    def add(
        name: str,
        values: list[float],
        unit: str,
        goal: float | None,
        pick: Callable[[list[float]], float] = statistics.median,
    ) -> None:
        figures.append(Figure(name, pick(values), None, unit, goal, "<", {"values": values[:2000]}))

    with sync_playwright() as playwright, Served(atlas.path) as served:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        views = [first_view(browser, served.url) for _ in range(repeats)]
        add("first view, warm server", [seconds for seconds, _ in views[1:]], "s", 1.5)
        add("downloaded for it", [megabytes for _, megabytes in views], "MB", 3)
        page = new_page(browser)
        page.goto(served.url)
        page.wait_for_function(READY, polling="raf")
        drawn = frames(page, 4 if options.quick else 12)
        add("frame while panning and zooming, median", drawn, "ms", 25)
        add("the same, 95th percentile", drawn, "ms", 60, lambda values: sorted(values)[int(0.95 * len(values))])
        drawn = frames(page, 4 if options.quick else 12, beside="0")
        add("two maps moved together, 50,000 samples each: frame, median", drawn, "ms", None)
        add("the same, 95th percentile", drawn, "ms", None, lambda values: sorted(values)[int(0.95 * len(values))])
        took = responses(page, repeats)
        for name, words, goal in (
            ("hover", "hover to card", 50),
            ("click", "click to panel", 200),
            ("patches", "click to all of the panel's real patches", 200),
            ("filter", "class filter to repainted map", 300),
        ):
            add(words, took[name], "ms", goal)
        page.context.close()
        cold = cold_patches(atlas.path, 5 if options.quick else 20)
        add("a cell's patches that nobody asked for before: the server's processor", cold, "ms", None)
        slowest, memory = users(served, atlas, 20)
        add("20 clients at once: slowest has its first view's data", [slowest], "s", 3)
        add("the same: server's memory per client", [memory], "MB", 50)
        address = (site / "index.html").as_uri()
        add("first view, static site from disk", [first_view(browser, address)[0] for _ in range(repeats)], "s", 2)
        browser.close()
    return figures


def main() -> None:
    options = arguments(
        __doc__ or "", atlas="where the planted atlas is kept (default: a folder in the system's temporary one)"
    )
    images = 10_000 if options.quick else 100_000
    kept = Path(options.atlas) if options.atlas else Path(tempfile.gettempdir()) / f"planted-{images}.atlas"
    start = time.perf_counter()
    atlas = planted(kept, images)
    cells, took = sum(map(len, atlas.layers[0].levels)), time.perf_counter() - start
    print(f"{len(atlas.layers[0].samples):,} samples, {cells:,} cells, ready in {took:.0f} s")
    site = kept.with_suffix(".site")
    if not site.exists():
        export(atlas, site, pictures=False)  # no picture is in a first view, and writing them takes minutes
    # Its shards are kept from run to run, its page is today's.
    (site / PAGE_NAME).write_text(page_html(Shards(atlas, pictures=False)), encoding="utf-8")
    report(measure(atlas, options, site), "explorer", options)


if __name__ == "__main__":
    main()
