"""Are the p-values of discovery what they say? Null networks are drawn, and everything that is tested is asked.

Run: python benchmarks/compare_calibration.py [--quick] [--out F]

Images are drawn around class centres; each network sees them with a noise of its own, so two networks differ by chance
alone. Without references nothing else differs. With two, each network of a recipe also has centres of its own, a little
off: what training again changes. "apart" is of classes that hardly meet but for three pairs, "many" of sixty classes of
50 images, twelve pairs alike. A p-value that is right is under 0.05 in 5 % of the cases.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from reporting import Figure, arguments, report


@dataclass(frozen=True)
class World:
    """How images are drawn: classes, images of each, channels, spread of centres; pairs that are alike, how near."""

    classes: int
    images: int
    channels: int
    spread: float
    alike: int
    near: float
    own: float = 0.6
    noise: float = 0.35


WORLDS = {
    "close": World(10, 300, 16, 0.5, 2, 0.3),
    "apart": World(10, 300, 16, 1.0, 3, 0.4),
    "few": World(6, 150, 24, 1.2, 0, 0.0, 0.7, 0.4),
    "many": World(60, 50, 32, 3.0, 12, 0.5, 1.0, 1.0),
}
LEVELS = (0.05, 0.01)
FIRST_SEED = 1000
"""The method was chosen on seeds below."""
MOVED = 0.08
"""How far a recipe's networks have their centres from one another."""


def tested(world: World, seed: int, references: int) -> list[Any]:
    """Everything that is tested between two null networks: its candidates, p not yet adjusted."""
    from atlas.findings.changes import _candidates
    from atlas.findings.contrasts import Account, Sides
    from atlas.findings.groups import halves

    rng = np.random.default_rng(seed)
    total = world.classes * world.images
    labels = np.arange(total) % world.classes
    centres = world.spread * rng.normal(size=(world.classes, world.channels))
    if world.alike:
        near = rng.normal(size=(world.alike, world.channels))
        centres[-world.alike :] = centres[: world.alike] + world.near * near
    own = world.own * rng.normal(size=(total, world.channels))
    half = halves([f"{seed}/{i}" for i in range(total)])
    accounts = []
    for _ in range(references + 2):
        moved = centres + (MOVED if references else 0.0) * rng.normal(size=centres.shape)
        rows = moved[labels] + own + world.noise * rng.normal(size=own.shape)
        accounts.append(Account(rows.astype(np.float32), half, 0))
    return _candidates(Sides(tuple(accounts[:-1]), accounts[-1]), labels, world.classes)


def measure(name: str, references: int, repeats: int) -> list[Figure]:
    """One world's p-values, of all candidates together and by what they are about."""
    from atlas.findings.changes import _adjusted

    start, listed = time.process_time(), 0
    p: dict[str, list[float]] = {}
    for seed in range(FIRST_SEED, FIRST_SEED + repeats):
        found = tested(WORLDS[name], seed, references)
        listed += bool((_adjusted([one.p for one in found]) <= 0.05).any())
        for one in found:
            p.setdefault(one.about, []).append(one.p)
    floor = "two references" if references else "no references"
    each = {
        about: {
            "candidates": len(some),
            **{f"under {level}": float((np.array(some) < level).mean()) for level in LEVELS},
        }
        for about, some in p.items()
    }
    together = np.concatenate([np.array(some) for some in p.values()])
    took = (time.process_time() - start) / repeats
    return [
        *(
            Figure(
                f"{name}, {floor}: {len(together):,} p-values under {level}", 100 * (together < level).mean(), None, "%"
            )
            for level in LEVELS
        ),
        *(
            Figure(
                f"  {about}: under 0.05 of {told['candidates']:,}", 100 * told["under 0.05"], None, "%", details=told
            )
            for about, told in each.items()
        ),
        Figure(f"  comparisons of {repeats} that list anything", listed, None, ""),
        Figure("  one comparison, processor time", took, took, "s"),
    ]


def main() -> None:
    """Measure all worlds under both floors, and report."""
    options = arguments(__doc__ or "")
    repeats = 5 if options.quick else 40
    figures = [row for name in WORLDS for references in (0, 2) for row in measure(name, references, repeats)]
    report(figures, "compare_calibration", options)


if __name__ == "__main__":
    main()
