"""What is to be compared and where it goes: the plan that every kind of comparison follows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atlas.comparison.networks import Network
from atlas.config import fingerprint
from atlas.errors import StoreError
from atlas.records import Layout
from atlas.storage import AtlasWriter, open_atlas
from atlas.storage.atlas_header import HEADER, read_header
from atlas.storage.files import hash_file

ENGINE = 1  # raise it when a comparison gives another result for the same networks


@dataclass(frozen=True)
class Plan:
    """What is to be compared, and where it goes."""

    networks: tuple[Network, ...]
    references: tuple[Network, ...]
    target: Path
    seed: int
    force: bool

    @property
    def fingerprint(self) -> str:
        """Hash of everything that shapes the comparison."""

        def told(network: Network) -> list[Any]:
            atlas = None if network.atlas is None else network.atlas.fingerprint
            return [network.store.fingerprint, network.layer.name, network.kind, network.metric, network.title, atlas]

        return fingerprint(
            ["diff", ENGINE, [told(one) for one in self.networks], [told(one) for one in self.references], self.seed]
        )


def writer_of(plan: Plan, document: dict[str, Any]) -> AtlasWriter:
    """Begin, or go on with, the comparison's atlas."""
    store, labelled = plan.networks[0].store, named_by(plan.networks).store
    titles = [network.title for network in plan.networks]
    notes = [
        "A comparison: each layer is one network, on one shared map.",
        "Icons are those of each network's own atlas, by the cell whose mean is most alike (cosine of 0.8 or more); "
        "their scores are for that cell.",
        *document["notes"],
    ]
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
        },
        force=plan.force,
    )


def named_by(networks: Sequence[Network]) -> Network:
    """The first network whose dataset has classes: of two datasets only one may have labels."""
    return next((network for network in networks if network.store.classes), networks[0])


def header_of(plan: Plan, of: str) -> dict[str, Any]:
    """What a document says of the networks."""
    return {"of": of, "same": False, "networks": [told_of(network, plan.target) for network in plan.networks]}


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
