"""How long the demo takes: both atlases of the embedded dataset and their comparison, by stages, from a cold start.

Run: python benchmarks/demo.py [--quick] [--out FILE.json]
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from reporting import Figure, arguments, report

CHILD = """
import json, sys, time
start = time.perf_counter()
from atlas.demo import build_demo, compare_demo
stages = {"imports": time.perf_counter() - start}
last, since = "", time.perf_counter()
def progress(stage, done, total):
    global last, since
    now = time.perf_counter()
    stages[last or stage] = stages.get(last or stage, 0.0) + now - since
    last, since = stage, now
build_demo(sys.argv[1], progress=progress)
compare_demo(sys.argv[1], progress=progress)
stages[last] += time.perf_counter() - since
print(json.dumps(stages))
"""


def build_once() -> tuple[float, float, dict[str, float]]:
    """Build the demo in a process of its own: seconds in all, seconds of all its threads, seconds of each stage."""
    with tempfile.TemporaryDirectory() as folder:
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", CHILD, folder], check=True, text=True, stdout=subprocess.PIPE, cwd=folder
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return time.perf_counter() - start, spent, json.loads(done.stdout)


def main() -> None:
    options = arguments(__doc__ or "")
    runs = sorted(build_once() for _ in range(1 if options.quick else 3))
    seconds, spent, stages = runs[len(runs) // 2]
    for stage, took in stages.items():
        if took >= 0.5:
            print(f"{took:7.1f} s  {stage}")
    details = {"stages": stages, "runs": [run[0] for run in runs]}
    figure = Figure("the demo: both atlases and their comparison", seconds, spent, "s", 90, "<=", details)
    report([figure], "demo", options)


if __name__ == "__main__":
    main()
