"""What is to be compared and where it goes: the plan that every kind of comparison follows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.comparison.networks import Network
from atlas.config import fingerprint
from atlas.cores import core_count
from atlas.errors import StoreError
from atlas.records import Layout
from atlas.storage import AtlasWriter, open_atlas
from atlas.storage.atlas_header import HEADER, read_header
from atlas.storage.files import hash_file

if TYPE_CHECKING:
    from atlas.job import Job

ENGINE = 2  # raise it when a comparison gives another result for the same networks


@dataclass(frozen=True)
class Plan:
    """What is to be compared, and where it goes.

    jobs: what renders each network's icons, or none. deterministic: on one core, for the same bits on any number.
    """

    networks: tuple[Network, ...]
    references: tuple[Network, ...]
    target: Path
    seed: int
    force: bool
    jobs: tuple[Job, ...] = ()
    deterministic: bool = False

    @property
    def rendered(self) -> int:
        """How many of the coarsest levels have icons of their own cells: in every network the same."""
        return min((job.config.icons.levels for job in self.jobs), default=0)

    @property
    def threads(self) -> int:
        """How many cores to use."""
        if self.deterministic:
            return 1
        return core_count()

    @property
    def fingerprint(self) -> str:
        """Hash of everything that shapes the comparison."""

        def told(network: Network) -> list[Any]:
            atlas = None if network.atlas is None else network.atlas.fingerprint
            return [network.store.fingerprint, network.layer.name, network.kind, network.metric, network.title, atlas]

        def drawn(job: Job) -> list[Any]:
            return [
                job.config.icons.model_dump(mode="json", exclude={"memory"}),
                job.config.run.seed,
                job.config.run.deterministic,
            ]

        compared = [[told(one) for one in some] for some in (self.networks, self.references)]
        settings = [self.seed, self.deterministic, [drawn(job) for job in self.jobs]]
        return fingerprint(["diff", ENGINE, *compared, *settings])


def writer_of(plan: Plan, document: dict[str, Any]) -> AtlasWriter:
    """Begin, or go on with, the comparison's atlas."""
    store, labelled = plan.networks[0].store, named_by(plan.networks).store
    titles = [network.title for network in plan.networks]
    notes = ["A comparison: each layer is one network, on one shared map.", *document["notes"]]
    return AtlasWriter(
        plan.target,
        name=" and ".join(titles) if len(titles) < 4 else f"{titles[0]} to {titles[-1]}, {len(titles)} networks",
        fingerprint=plan.fingerprint,
        classes=labelled.classes,
        outputs=store.outputs,
        aligned=labelled.aligned,
        skipped=store.skipped,
        notes=notes,
        provenance={
            "source": {"name": store.name},
            "model": {"name": ", ".join(titles)},
            "diff": {"networks": document["networks"], "references": [str(one.title) for one in plan.references]},
            "seed": plan.seed,
            "deterministic": plan.deterministic,
        },
        force=plan.force,
    )


def named_by(networks: Sequence[Network]) -> Network:
    """The first network whose dataset has classes: of two datasets only one may have labels."""
    return next((network for network in networks if network.store.classes), networks[0])


def header_of(plan: Plan, of: str, levels: int) -> dict[str, Any]:
    """What a document says of the networks, and of how many of the map's levels have icons of their own."""
    return {
        "of": of,
        "same": False,
        "networks": [told_of(network, plan.target) for network in plan.networks],
        "rendered_levels": min(plan.rendered, levels),
    }


def told_of_icons(plan: Plan, levels: int) -> str:
    """Where the icons of a map of so many levels are from, in words."""
    rendered = min(plan.rendered, levels)
    alike = (
        "each is that of the network's own atlas whose cell is most alike (a cosine of 0.8 or more), with its scores"
    )
    if not rendered:
        return f"Icons are borrowed: {alike}; --pipeline, one for each atlas, renders them for this map's cells."
    own = f"Icons of the {rendered} coarsest levels were rendered for these cells in each network"
    return f"{own}." if rendered == levels else f"{own}; deeper ones are borrowed: {alike}."


def told_of(network: Network, target: Path | None) -> dict[str, Any]:
    """What a document says of one network; its atlas's path is relative to the comparison's folder."""
    path = network.path.resolve()
    identity = network.identity
    return {
        "title": network.title,
        "atlas": None if target is None else Path(os.path.relpath(path, target.resolve())).as_posix(),
        "sha256": hash_file(path / HEADER) if (path / HEADER).is_file() else None,
        "store": network.store.fingerprint,
        "layer": network.layer.name,
        "rows": network.kind,
        "channels": network.layer.shape.channels,
        "weights": None if identity is None else identity[0],
        "images": len(network.store),
        "accuracy": network.store.accuracy,
    }


def layout_there(plan: Plan, samples: int) -> Layout | None:
    """The layout that an unfinished comparison of this plan holds: the rest of it must be of the same map."""
    if plan.force or not (plan.target / HEADER).is_file():
        return None
    try:
        there = open_atlas(plan.target)
    except StoreError:  # files are lost: all is made anew
        return None
    if there.fingerprint != plan.fingerprint or not there.layers:
        return None
    layouts = [layer.layout for layer in there.layers]
    if len(layouts[0].positions) == samples:
        return layouts[0]
    joined = [np.concatenate([getattr(one, name) for one in layouts]) for name in ("positions", "state")]
    return Layout(joined[0], joined[1]) if len(joined[0]) == samples else None


def is_finished(plan: Plan) -> bool:
    """Whether this comparison stands there whole. Raises StoreError for another one, unless force."""
    if not (plan.target / HEADER).is_file() or plan.force:
        return False
    header = read_header(plan.target)
    if header.fingerprint != plan.fingerprint:
        raise StoreError(f"{plan.target} is another comparison: use --force to replace it, or another --out")
    return header.complete and all((plan.target / name).is_file() for name in header.files)
