"""Compare networks: the stages in order, from atlases to a folder `NAME.diff`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atlas.comparison.figures import MAPPED, Account, Whole, account_of, compare_wholes, curve, noise_floor
from atlas.comparison.networks import Given, Network, open_networks, open_reference
from atlas.comparison.pairing import Pair, pair
from atlas.comparison.shared_map import lay_out_together, map_network, write_images, write_network
from atlas.comparison.told import (
    cell_arrays,
    class_rows,
    discover,
    flip_rows,
    image_columns,
    sample_change,
)
from atlas.config import fingerprint
from atlas.errors import ConfigError, StoreError
from atlas.records import Layout, Progress, silent
from atlas.storage import AtlasWriter, open_atlas
from atlas.storage.atlas_header import HEADER, read_header
from atlas.storage.diff import Diff, open_diff, write_diff_files
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


def compare(
    first: Given,
    *others: Given,
    out: str | Path | None = None,
    references: Sequence[Given] = (),
    layers: Sequence[str] = (),
    seed: int = 0,
    force: bool = False,
    progress: Progress = silent,
) -> Diff:
    """Compare two atlases or more, made from the same images, or from different images by the same network.

    out: the folder, NAME.diff; by default the first two atlases' names, in the current folder. references: atlases or
    stores of checkpoints that the first one's recipe gave with other seeds, which tell what training again alone
    changes. layers: one for all, or one for each; by default the last that all have, else the last of each. The same
    network on the same images is told at once, and nothing is written. A comparison that stands there whole is
    returned as it is. Raises StoreError and ConfigError, in one sentence, where the atlases cannot be compared.
    """
    networks = open_networks([first, *others], layers)
    target = _target(out, networks)
    plan = Plan(networks, tuple(open_reference(one, networks[0]) for one in references), target, seed, force)
    if _same_network(networks) and _same_images(networks):
        return Diff(_nothing_changed(networks))
    if _is_finished(plan):
        return open_diff(target)
    return _compare(plan, progress)


def _compare(plan: Plan, progress: Progress) -> Diff:
    pairs = pair([*plan.networks, *plan.references])
    own = pairs[: len(plan.networks)]
    network = plan.networks[0]
    image_of = network.layer.image_of(network.kind)
    accounts = [account_of(one, image_of, plan.seed, progress) for one in pairs]
    compared, held = accounts[: len(own)], accounts[len(own) :]
    wholes = [compare_wholes(compared[0], other, image_of, progress) for other in compared[1:]]
    floor, floor_overlap = noise_floor(wholes[-1], compared[0], held, image_of, progress)
    shared = lay_out_together(compared, image_of, _layout_there(plan), plan.seed, progress)
    changes = [
        sample_change(compared[0], other, whole, shared, floor_overlap)
        for other, whole in zip(compared[1:], wholes, strict=True)
    ]
    listed, tested, notes = discover(own[0], own[-1], pairs[len(own) :], shared, plan.seed)
    document = {
        **header_of(plan, "networks"),
        **wholes[-1].values(),
        "intervals": wholes[-1].intervals(),
        "noise_floor": floor,
        "curve": curve(compared, wholes, image_of, progress) if len(own) > 2 else [],
        "changes": listed,
        "tested": tested,
        "classes": class_rows(compared[0], compared[-1], wholes[-1], changes[-1], shared, network.store.classes),
        "flips": flip_rows(own[0], own[-1], shared),
        "notes": notes,
    }
    writer = writer_of(plan, document)
    write_images(writer, own[0], progress)
    mapped = [map_network(one, shared, progress) for one in own]
    settings = {
        "method": "tsne", "neighbors": MAPPED, "seed": plan.seed, "fused": [one.title for one in plan.networks]
    }  # fmt: skip
    for index, one in enumerate(mapped):
        write_network(writer, index, one, shared, settings, progress)
    arrays = _arrays(compared, wholes, floor_overlap) | cell_arrays(mapped, wholes, changes, shared)
    ids = network.store.images.ids
    names = write_diff_files(plan.target, document, arrays, list(ids), image_columns(compared, changes, shared))
    writer.record_files(names)
    writer.finish()
    return open_diff(plan.target)


def writer_of(plan: Plan, document: dict[str, Any]) -> AtlasWriter:
    """Begin, or go on with, the comparison's atlas."""
    store = plan.networks[0].store
    titles = [network.title for network in plan.networks]
    notes = [
        "A comparison: each layer is one network, on one shared map.",
        "Icons are those of each network's own atlas, by the cell whose mean is most alike (cosine of 0.8 or more); "
        "their scores are for that cell.",
        *document["notes"],
    ]
    return AtlasWriter(
        plan.target,
        name=" and ".join(titles),
        fingerprint=plan.fingerprint,
        classes=store.classes,
        outputs=store.outputs,
        aligned=store.aligned,
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


def header_of(plan: Plan, of: str) -> dict[str, Any]:
    """What a document says of the networks."""
    return {"of": of, "same": False, "networks": [_told(network, plan.target) for network in plan.networks]}


def _told(network: Network, target: Path | None) -> dict[str, Any]:
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


def _arrays(accounts: Sequence[Account], wholes: Sequence[Whole], floor: Any) -> dict[str, Any]:
    first = accounts[0]
    images = len(first.pair.network.store)
    none = np.full(images, -1, np.int32)
    arrays = {
        "overlap": np.stack([whole.overlap for whole in wholes]),
        "denser": np.stack([first.crowding - other.crowding for other in accounts[1:]]),
        "prediction": np.stack([none if (p := one.pair.predictions) is None else p for one in accounts]),
        "confidence": np.stack([one.pair.confidence for one in accounts]),
    }
    return arrays if floor is None else arrays | {"floor": floor}


def _layout_there(plan: Plan) -> Layout | None:
    """The layout that an unfinished comparison of this plan holds: the rest of it must be of the same map."""
    if plan.force or not (plan.target / HEADER).is_file():
        return None
    try:
        there = open_atlas(plan.target)
    except StoreError:  # files are lost: all is made anew
        return None
    return there.layers[0].layout if there.fingerprint == plan.fingerprint and there.layers else None


def _is_finished(plan: Plan) -> bool:
    """Whether this comparison stands there whole. Raises StoreError for another one, unless force."""
    if not (plan.target / HEADER).is_file() or plan.force:
        return False
    header = read_header(plan.target)
    if header.fingerprint != plan.fingerprint:
        raise StoreError(f"{plan.target} is another comparison: use --force to replace it, or another --out")
    return header.complete and all((plan.target / name).is_file() for name in header.files)


def _same_network(networks: Sequence[Network]) -> bool:
    identities = {network.identity for network in networks}
    return len(identities) == 1 and None not in identities


def _same_images(networks: Sequence[Network]) -> bool:
    known = [network.store.provenance.get("data", {}).get("fingerprint") for network in networks]
    if None not in known and len(set(known)) == 1:
        return True
    ids = [set(network.store.images.ids) for network in networks]
    return all(one == ids[0] for one in ids)


def _nothing_changed(networks: Sequence[Network]) -> dict[str, Any]:
    exact = {"cka": [1.0, 1.0], "procrustes": [0.0, 0.0], "neighbor_overlap": [1.0, 1.0]}
    return {
        "of": "networks",
        "same": True,
        "networks": [_told(network, None) for network in networks],
        **{name: low for name, (low, _) in exact.items()},
        "intervals": exact,
        "noise_floor": {"kind": "sampling", **exact, "references": [], "words": "the same network gives the same"},
        "curve": [],
        "changes": [],
        "tested": {},
        "classes": [],
        "flips": [],
        "notes": ["The same network: weights, layer and preprocessing have the same hashes, on the same images."],
    }


def _target(out: str | Path | None, networks: Sequence[Network]) -> Path:
    target = Path(out) if out is not None else Path("-".join(one.title for one in networks[:2]) + ".diff")
    if target.suffix != ".diff":
        raise ConfigError(f"{target} is not the name of a comparison: end it in .diff")
    return target


__all__ = ["Pair", "Plan", "compare", "header_of", "writer_of"]
