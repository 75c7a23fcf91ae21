"""What every benchmark shares: its arguments, its table on standard output and its JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One measured figure and its goal (None: no goal, said for comparison).

    processor: the same ratio of processor time over all threads, where there is one; it says how much
    work there is, and on a busy machine it is the steadier of the two.
    """

    name: str
    value: float
    processor: float | None
    unit: str
    goal: float | None = None
    better: Literal[">=", ">", "<=", "<"] = ">="
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return {
            ">": self.value > self.goal,
            ">=": self.value >= self.goal,
            "<=": self.value <= self.goal,
            "<": self.value < self.goal,
        }[self.better]


def arguments(description: str, **more: str) -> argparse.Namespace:
    """Parse --quick and --out, and a benchmark's own options with their help."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer images and repeats: a look, not a result")
    parser.add_argument("--out", type=Path, help="write the figures, with all single times, as JSON")
    for name, text in more.items():
        parser.add_argument(f"--{name}", help=text)
    return parser.parse_args()


def test_data() -> Path:
    """The folder of real networks and pictures; ends the program with a sentence where it is absent."""
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    folder = Path(os.environ.setdefault("ATLAS_TEST_DATA", str(beside)))
    if not (folder / "weights").is_dir():
        sys.exit(f"ATLAS_TEST_DATA={folder} has no weights/: set it to the folder of real networks and pictures")
    return folder


def report(figures: Sequence[Figure], name: str, options: argparse.Namespace) -> None:
    """Print a table, and write the JSON where one is asked for."""
    rows = [("figure", "measured", "by processor time", "goal", "met")]
    for figure in figures:
        goal = "" if figure.goal is None else f"{figure.better} {figure.goal:g}"
        met = {None: "", True: "yes", False: "NO"}[figure.met]
        processor = "" if figure.processor is None else f"{figure.processor:.3g} {figure.unit}"
        rows.append((figure.name, f"{figure.value:.3g} {figure.unit}", processor, goal, met))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    for row in rows:
        print("| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |")
    machine = {
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "load": os.getloadavg(),
        "quick": options.quick,
    }
    load = ", ".join(f"{value:.1f}" for value in machine["load"])
    print(f"\n{machine['cores']} cores, torch {machine['torch']}, load {load}{', quick' if options.quick else ''}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        document = {"benchmark": name, "machine": machine, "figures": [asdict(f) | {"met": f.met} for f in figures]}
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
