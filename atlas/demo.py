"""The demo: two networks on the embedded dataset, one honest, one that learned a shortcut; what differs, and what is
suspicious.
"""

from __future__ import annotations

from pathlib import Path

from atlas.comparison import compare
from atlas.pipeline import build
from atlas.records import Progress, prefixed, silent
from atlas.storage import Atlas
from atlas.storage.diff import Diff
from atlas.storage.suspects import Suspects
from atlas.suspects import find_suspects

NAMES = ("honest", "shortcut")
DIFF = "honest-shortcut.diff"


def shipped(relative: str) -> Path:
    """Path of a pipeline or manifest that comes with the project: inside the wheel, or in the checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "_shipped" / relative
    return inside if inside.exists() else package.parent / relative


def demo_pipelines() -> tuple[Path, ...]:
    """The pipelines of what the demo shows: two atlases, and the comparison, whose pictures the second looks into."""
    return tuple(shipped(f"pipelines/shapes_{name}.toml") for name in (*NAMES, NAMES[1]))


def build_demo(out: str | Path, *, force: bool = False, progress: Progress = silent) -> tuple[Atlas, ...]:
    """Build honest.atlas and shortcut.atlas in the folder `out`; what is already there is kept."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(
        build(
            shipped(f"pipelines/shapes_{name}.toml"),
            folder / f"{name}.atlas",
            force=force,
            progress=prefixed(progress, f"{name}: "),
        )
        for name in NAMES
    )


def compare_demo(out: str | Path, *, force: bool = False, progress: Progress = silent) -> Diff:
    """Compare the demo's two atlases in the folder `out`; what is already there is kept."""
    folder = Path(out)
    one, other = (folder / f"{name}.atlas" for name in NAMES)
    return compare(one, other, out=folder / DIFF, force=force, progress=progress)


def find_demo_suspects(out: str | Path, *, force: bool = False, progress: Progress = silent) -> Suspects:
    """Find what the demo's shortcut network has learned in place of boats; what is already there is kept."""
    name = NAMES[1]
    return find_suspects(
        Path(out) / f"{name}.atlas", pipeline=shipped(f"pipelines/shapes_{name}.toml"), force=force, progress=progress
    )
