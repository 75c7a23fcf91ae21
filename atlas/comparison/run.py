"""Compare networks: the stages in order, from atlases to a folder `NAME.diff`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atlas.comparison.datasets import compare_datasets
from atlas.comparison.figures import MAPPED, Account, Whole, account_of, compare_wholes, curve, noise_floor
from atlas.comparison.networks import Given, Network, open_networks, open_reference
from atlas.comparison.pairing import pair
from atlas.comparison.plan import Plan, header_of, is_finished, layout_there, told_of, told_of_icons, writer_of
from atlas.comparison.rendering import open_jobs
from atlas.comparison.shared_map import lay_out_together, map_network, write_images, write_network
from atlas.comparison.told import (
    cell_arrays,
    class_rows,
    discover,
    flip_rows,
    image_columns,
    placed,
    sample_change,
)
from atlas.cores import one_core
from atlas.errors import ConfigError
from atlas.records import Progress, silent
from atlas.storage.diff import Diff, open_diff, write_diff_files


def compare(
    first: Given,
    *others: Given,
    out: str | Path | None = None,
    references: Sequence[Given] = (),
    layers: Sequence[str] = (),
    pipelines: Sequence[str | Path] = (),
    seed: int = 0,
    deterministic: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> Diff:
    """Compare two atlases or more, made from the same images, or from different images by the same network.

    out: the folder, NAME.diff; by default the first two atlases' names, in the current folder. references: atlases or
    stores of checkpoints that the first one's recipe gave with other seeds, which tell what training again alone
    changes. layers: one for all, or one for each; by default the last that all have, else the last of each. pipelines:
    for each atlas, in order, the file that it was made with; the networks then render the icons of the shared map's own
    cells, which are otherwise those of the atlases' most similar cells. deterministic: one core is used, and the result
    is the same on any number of them; so it is without a word where every atlas was built with `run.deterministic`.

    The same network on the same images is told at once, and nothing is written. A comparison that stands there whole
    is returned as it is. Raises StoreError and ConfigError, in one sentence, where the atlases cannot be compared.
    """
    networks = open_networks([first, *others], layers)
    target = _target(out, networks)
    held = tuple(open_reference(one, networks[0]) for one in references)
    same = _same_network(networks)
    if same and _same_pictures(networks):
        return Diff(_nothing_changed(networks))
    steady = deterministic or all(_is_deterministic(network) for network in networks)
    plan = Plan(networks, held, target, seed, force, open_jobs(pipelines, networks, deterministic=steady), steady)
    with one_core(plan.deterministic):
        if same and not _same_ids(networks):
            return compare_datasets(plan, progress)
        _check_references(networks, plan.references)
        return open_diff(target) if is_finished(plan) else _compare(plan, progress)


def _compare(plan: Plan, progress: Progress) -> Diff:
    pairs = pair([*plan.networks, *plan.references])
    own = pairs[: len(plan.networks)]
    network = plan.networks[0]
    image_of = network.layer.image_of(network.kind)
    accounts = [account_of(one, image_of, plan.seed, plan.threads, progress) for one in pairs]
    compared, held = accounts[: len(own)], accounts[len(own) :]
    wholes = [compare_wholes(compared[0], other, image_of, progress) for other in compared[1:]]
    floor, kept = noise_floor(wholes[-1], compared[0], held, image_of, progress)
    there = layout_there(plan, len(image_of))
    shared = lay_out_together(compared, image_of, there, plan.seed, progress, threads=plan.threads)
    changes = [
        sample_change(compared[0], other, whole, shared, kept)
        for other, whole in zip(compared[1:], wholes, strict=True)
    ]
    found, tested, notes = discover(own[0], own[-1], pairs[len(own) :], shared, plan.seed)
    listed, in_change = placed(found, shared, network.store.images.ids)
    document = {
        **header_of(plan, "networks", len(shared.levels)),
        **wholes[-1].values(),
        "intervals": wholes[-1].intervals(),
        "noise_floor": floor,
        "curve": curve(compared, wholes, image_of, progress) if len(own) > 2 else [],
        "changes": listed,
        "tested": tested,
        "classes": class_rows(compared[0], compared[-1], wholes[-1], changes[-1], shared, network.store.classes),
        "flips": flip_rows(own[0], own[-1], shared),
        "notes": [told_of_icons(plan, len(shared.levels)), *notes],
    }
    writer = writer_of(plan, document)
    write_images(writer, own[0], progress)
    jobs = plan.jobs or (None,) * len(own)
    mapped = [map_network(one, shared, progress, job, plan.rendered) for one, job in zip(own, jobs, strict=True)]
    settings = {
        "method": "tsne", "neighbors": MAPPED, "seed": plan.seed, "fused": [one.title for one in plan.networks]
    }  # fmt: skip
    for index, one in enumerate(mapped):
        write_network(writer, index, one, shared, settings, progress)
    arrays = _arrays(compared, wholes, kept) | cell_arrays(mapped, wholes, changes, shared)
    ids = network.store.images.ids
    names = write_diff_files(
        plan.target, document, arrays, list(ids), image_columns(compared, changes, shared) | in_change
    )
    writer.record_files(names)
    writer.finish()
    return open_diff(plan.target)


def _arrays(accounts: Sequence[Account], wholes: Sequence[Whole], kept: Any) -> dict[str, Any]:
    first = accounts[0]
    images = len(first.pair.network.store)
    none = np.full(images, -1, np.int32)
    arrays = {
        "overlap": np.stack([whole.overlap for whole in wholes]),
        "denser": np.stack([first.crowding - other.crowding for other in accounts[1:]]),
        "prediction": np.stack([none if (p := one.pair.predictions) is None else p for one in accounts]),
        "confidence": np.stack([one.pair.confidence for one in accounts]),
    }
    return arrays if kept is None else arrays | {"floor": kept.mean(axis=0)}


def _check_references(networks: Sequence[Network], references: Sequence[Network]) -> None:
    """Refuse references that are copies: against a floor of nothing everything looks real."""
    known = {network.identity: network.title for network in networks}
    for reference in references:
        if reference.identity is not None and reference.identity in known:
            raise ConfigError(
                f"the reference {reference.title} is the same network as {known[reference.identity]}: name checkpoints "
                "of its recipe that were trained with other seeds"
            )
        known[reference.identity] = reference.title


def _is_deterministic(network: Network) -> bool:
    return network.atlas is not None and bool(network.atlas.provenance.get("deterministic"))


def _same_network(networks: Sequence[Network]) -> bool:
    identities = {network.identity for network in networks}
    return len(identities) == 1 and None not in identities


def _same_pictures(networks: Sequence[Network]) -> bool:
    """Whether the stores say that they were made from one dataset, pixel for pixel, and hold the same of it."""
    told = {str(network.store.provenance.get("data", {}).get("fingerprint")) for network in networks}
    return len(told) == 1 and "None" not in told and _same_ids(networks)


def _same_ids(networks: Sequence[Network]) -> bool:
    first = set(networks[0].store.images.ids)
    return all(set(network.store.images.ids) == first for network in networks[1:])


def _nothing_changed(networks: Sequence[Network]) -> dict[str, Any]:
    exact = {"cka": [1.0, 1.0], "procrustes": [0.0, 0.0], "neighbor_overlap": [1.0, 1.0]}
    return {
        "of": "networks",
        "same": True,
        "networks": [told_of(network, None) for network in networks],
        "rendered_levels": 0,
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
