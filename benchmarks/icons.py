"""How fast icons are drawn, and how good they are, beside lucent's and dreamlens'.

Run: pip install '.[peers]'; python benchmarks/icons.py [--quick] [--only speed,quality,cross,many,finer,memory]
     [--cache DIR] [--sheet FILE.png] [--out FILE.json]

Every engine draws the same k-means centres of real activations (SqueezeNet features.10 on ImageNet pictures, ResNet-56
layer2 on CIFAR-10's) and is scored by the same code on its 8-bit pictures, shown to the network at their own size.
lucent at its defaults takes ten seconds an icon: what an engine has drawn is kept in --cache, batch by batch, so that a
run that was stopped goes on.
"""

from __future__ import annotations

import dataclasses
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))
from icon_cells import CASES, Case, Cells, find_cells
from icon_engines import Drawn, Engine, drawn, dreamlens, lucent, ours
from icon_sheets import write_sheet
from reporting import Figure, arguments, report, test_data

PARTS = ("speed", "quality", "cross", "many", "finer", "memory")
SEED = 0  # the engine's defaults were chosen on the centres of other seeds


@dataclass(frozen=True)
class Quality:
    """Medians over an engine's icons; matched: shares among all cells."""

    top1: float
    top5: float
    windowed: float
    contrast: float
    centre: float
    robust: float
    strength: float


def judge(model: Any, layer: str, cells: NDArray[np.float32], icons: Drawn) -> Quality:
    """Score an engine's icons at their own size, each against its own cell and, for matched, all cells."""
    import torch

    from atlas.rendering.score import score_pictures
    from atlas.rendering.target import open_target

    size = icons.images.shape[1]
    with open_target(
        own_size(model, size), layer, size=size, width=cells.shape[1], device=torch.device("cpu")
    ) as target:
        found = score_pictures(target, cells[icons.cells], icons.images)
    nearer = _nearer(found.pooled, cells, icons.cells)
    medians = {name: float(np.median(getattr(found, name))) for name in ("windowed", "centre", "robust", "strength")}
    contrast = float(np.median(icons.images.reshape(len(icons.images), -1).std(1) / 255))
    return Quality(float((nearer == 0).mean()), float((nearer < 5).mean()), contrast=contrast, **medians)


def own_size(model: Any, size: int) -> Any:
    """The model with icons of this size fed as they are, also where its preprocessing is smaller."""
    preprocess = dataclasses.replace(model.preprocess, resize=size, crop=(size, size))
    return dataclasses.replace(model, preprocess=preprocess)


def _nearer(pooled: NDArray[np.float32], cells: NDArray[np.float32], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many cells each icon is nearer to than to its own, by cosine after subtracting the cells' mean."""
    mean = cells.mean(0)
    wanted, found = cells - mean, pooled - mean
    likeness = (found @ wanted.T) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(found, axis=1)[:, None]
    return (~(likeness <= likeness[np.arange(len(own)), own][:, None])).sum(1)  # NaN is nearer to all of them


def peers(case: Case) -> list[Engine]:
    if case.name == "squeezenet":
        return [dreamlens(96), lucent(96, 96), lucent(128, None, share=4)]
    return [dreamlens(32), lucent(32, 32)]


def compare(case: Case, count: int, cache: Path) -> tuple[list[Figure], list[tuple[str, Drawn]], Cells]:
    """Every engine on a layer's cells: a table of medians, and this engine's figures against the best peer's."""
    cells = find_cells(case, count, SEED, cache)
    model, size = case.model(), 96 if case.name == "squeezenet" else 32
    found: list[tuple[str, Drawn]] = [
        (engine.name, drawn(engine, case, cells.directions, cache)) for engine in [ours(size), *peers(case)]
    ]
    # Steps so that an icon takes what dreamlens' took, by processor time of each one's quickest batch.
    steps = max(int(24 * found[1][1].processor / found[0][1].processor) // 4 * 4, 24)
    slow = ours(size, steps=steps, name=f"atlas, {size} px, {steps} steps")
    found.insert(1, (slow.name, drawn(slow, case, cells.directions, cache)))
    judged = {name: judge(model, case.layer, cells.directions, icons) for name, icons in found}
    print(f"\n{case.name} {case.layer}, {count} cells; medians; real patches' cosine {_median(cells.patch_cosine)}\n")
    names = [field.name for field in dataclasses.fields(Quality)]
    print("| engine | icons | s | processor s | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 4))
    for name, icons in found:
        values = " | ".join(f"{getattr(judged[name], field):.3f}" for field in names)
        print(f"| {name} | {len(icons.cells)} | {icons.clock:.3f} | {icons.processor:.3f} | {values} |")
    rivals = list(judged)[2:]
    figures = []
    for own in list(judged)[:2]:
        for field in names[:6]:
            best = max(getattr(judged[rival], field) for rival in rivals)
            near = field in ("centre", "robust") and own == found[0][0]
            goal, better = (best - 0.02, ">=") if near else (best, ">")
            details = {name: getattr(judged[name], field) for name in judged}
            title = f"{case.name}: {field}, {own}"
            figures.append(Figure(title, getattr(judged[own], field), None, "", goal, better, details))  # type: ignore[arg-type]
    figures.append(Figure(f"{case.name}: strength", judged[found[0][0]].strength, None, "", 2.0))
    return figures, found, cells


def cross(count: int, cache: Path) -> list[Figure]:
    """Icons of one CIFAR network read by the other, on the means of the same samples."""
    import torch

    from atlas.rendering.score import score_pictures
    from atlas.rendering.target import open_target

    figures = []
    for case in (CASES["resnet20"], CASES["resnet56"]):
        cells = find_cells(case, count, SEED, cache)
        assert cells.other is not None
        shares = {}
        for engine in [ours(32), *peers(case)]:
            icons = drawn(engine, case, cells.directions, cache)
            with open_target(
                own_size(case.reader(), engine.size),
                case.layer,
                size=engine.size,
                width=cells.other.shape[1],
                device=torch.device("cpu"),
            ) as target:
                pooled = score_pictures(target, cells.other[icons.cells], icons.images).pooled
            nearer = _nearer(pooled, cells.other, icons.cells)
            shares[engine.name] = (float((nearer == 0).mean()), float((nearer < 5).mean()))
        own = next(iter(shares))
        for index, what in enumerate(("top1", "top5")):
            best = max(share[index] for name, share in shares.items() if name != own)
            title = f"{case.name}'s icons read by {case.other}: {what}"
            details = {name: share[index] for name, share in shares.items()}
            figures.append(Figure(title, shares[own][index], None, "", best, ">", details))
    return figures


def speed(quick: bool, cache: Path) -> list[Figure]:
    """Seconds an icon, in turns in this process, each engine warm: the ratios are of medians over the turns."""
    case = CASES["squeezenet"]
    cells, model = find_cells(case, 64, SEED, cache).directions, case.model()
    engines = [(ours(96), 32), (dreamlens(96), 16), (lucent(96, 96), 16), (lucent(128, None), 2 if quick else 8)]
    clock: dict[str, list[float]] = {engine.name: [] for engine, _ in engines}
    spent: dict[str, list[float]] = {engine.name: [] for engine, _ in engines}
    for turn in range(1 if quick else 2):
        for engine, count in engines[:: 1 if turn % 2 else -1]:
            if not turn:
                engine.draw(model, case.layer, cells[:1], cells.mean(0))
            before = time.perf_counter(), time.process_time()
            engine.draw(model, case.layer, cells[:count], cells.mean(0))
            clock[engine.name].append((time.perf_counter() - before[0]) / count)
            spent[engine.name].append((time.process_time() - before[1]) / count)
    own, *others = clock
    seconds = {name: statistics.median(times) for name, times in clock.items()}
    processor = {name: statistics.median(times) for name, times in spent.items()}
    figures = [Figure(f"an icon, {name}", seconds[name], processor[name], "s") for name in clock]
    for name, share in zip(others, (5, 10, 50), strict=True):
        ratio, work = seconds[own] / seconds[name], processor[own] / processor[name]
        figures.append(Figure(f"time against {name}", ratio, work, "", 1 / share, "<="))
    return figures


def many(quick: bool, cache: Path) -> list[Figure]:
    """400 icons at the default settings, from the first to the last, scores included."""
    case, count = CASES["squeezenet"], 100 if quick else 400
    directions, model = find_cells(case, 400, SEED, cache).directions[:count], case.model()
    engine = ours(96)
    engine.draw(model, case.layer, directions[:2], directions.mean(0))
    before = time.perf_counter(), time.process_time()
    engine.draw(model, case.layer, directions, directions.mean(0))
    clock, processor = time.perf_counter() - before[0], time.process_time() - before[1]
    return [Figure(f"{count} icons of 96 px, SqueezeNet", clock, processor, "s", count / 10, "<")]


def finer(quick: bool, cache: Path) -> list[Figure]:
    """Icons of 400 cells' every sixth, cold and from the icon of the nearest of 64 cells, as a pipeline does."""
    from atlas.rendering import faded, render_icons

    case = CASES["squeezenet"]
    above, below = (find_cells(case, count, SEED, cache).directions for count in (64, 400))
    children = np.arange(0, 400, 25 if quick else 6)
    unit = above / np.linalg.norm(above, axis=1, keepdims=True)
    parents = (below[children] @ unit.T).argmax(1)
    model, mean = case.model(), above.mean(0)
    starts = faded(drawn(ours(96), case, above, cache).images)[parents]
    drawn_from: dict[str, list[NDArray[np.uint8]]] = {"cold": [], "parent": []}
    spent = {way: np.zeros(2) for way in drawn_from}
    for start in range(0, len(children), 16):  # in turns: what else the machine does slows both
        part = slice(start, start + 16)
        for way, pictures in (("cold", None), ("parent", starts[part])):
            before = np.array([time.perf_counter(), time.process_time()])
            icons = render_icons(
                model, case.layer, below[children[part]], size=96, mean=mean, starts=pictures, device="cpu"
            )
            spent[way] += np.array([time.perf_counter(), time.process_time()]) - before
            drawn_from[way].append(icons.images)
    judged = [
        judge(model, case.layer, below, Drawn(np.concatenate(images), children, 0, 0)) for images in drawn_from.values()
    ]
    ratio, work = (spent["parent"] / spent["cold"]).tolist()
    figures = [Figure("a finer icon's time, from its parent against cold", ratio, work, "", 0.6, "<=")]
    for field in dataclasses.fields(Quality):
        cold, warm = (getattr(quality, field.name) for quality in judged)
        figures.append(
            Figure(f"finer: {field.name}, warm less cold", warm - cold, None, "", -0.01, details={"cold": cold})
        )
    return figures


MEMORY = """
import re, sys
sys.path.insert(0, sys.argv[1])
from icon_cells import CASES, find_cells
from pathlib import Path
from atlas.rendering import render_icons
def kilobytes(name):  # not ru_maxrss: a child's begins at its parent's
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
case = CASES["squeezenet"]
model = case.model()
directions = find_cells(case, 400, 0, Path(sys.argv[2])).directions
render_icons(model, case.layer, directions[:1], size=96, steps=2, device="cpu", batch=1)
before, count = kilobytes("VmRSS"), int(sys.argv[3])
render_icons(model, case.layer, directions[:count], size=96, steps=2, device="cpu", memory=float(sys.argv[4]))
print((kilobytes("VmHWM") - before) * 1024 / 1e9)
"""


def memory(quick: bool, cache: Path) -> list[Figure]:
    """What rendering adds to a process' peak, for two settings and two numbers of cells."""
    find_cells(CASES["squeezenet"], 400, SEED, cache)

    def added(count: int, setting: float) -> float:
        command = [sys.executable, "-c", MEMORY, str(Path(__file__).parent), str(cache), str(count), str(setting)]
        return float(subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout)

    some, all_ = (64, 128) if quick else (128, 400)
    small, few, full = added(all_, 0.2), added(some, 1.0), added(all_, 1.0)
    return [
        Figure(f"memory for {all_} icons, icons.memory 0.2", small, None, "GB", 0.2, "<="),
        Figure(f"memory for {all_} icons, icons.memory 1", full, None, "GB", 1.0, "<="),
        Figure(f"memory for {all_} against {some} icons", full / few, None, "", 1.1, "<="),
    ]


def _median(values: NDArray[np.float32]) -> str:
    return f"{np.median(values):.3f}"


def main() -> None:
    options = arguments(
        __doc__ or "",
        only=f"parts, with commas: {', '.join(PARTS)}",
        cache="keep what engines drew here, and go on from it",
        sheet="write 32 cells by all engines beside their best real patches as PNG (not to be published)",
    )
    test_data()
    chosen = options.only.split(",") if options.only else PARTS
    count = 16 if options.quick else 64
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(options.cache or scratch)
        for name in ("squeezenet", "resnet56") if "quality" in chosen else ():
            compared, icons, cells = compare(CASES[name], count, cache)
            figures += compared
            if options.sheet:
                write_sheet(Path(options.sheet).with_stem(f"{Path(options.sheet).stem}-{name}"), icons, cells.patches)
        figures += cross(count, cache) if "cross" in chosen else []
        parts = {"speed": speed, "many": many, "finer": finer, "memory": memory}
        for name in [name for name in parts if name in chosen]:
            print(name, flush=True)
            found = parts[name](options.quick, cache)
            print("\n".join(f"{figure.name}: {figure.value:.4g} {figure.unit}" for figure in found), flush=True)
            figures += found
    print()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    report(figures, "icons", options)
    print(f"this process' peak: {peak:.1f} GB")


if __name__ == "__main__":
    main()
