"""What commands show at the terminal: progress on standard error, results on standard output."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from atlas.looking import Look
    from atlas.records import Progress
    from atlas.storage import ActivationStore, Atlas
    from atlas.storage.diff import Diff
    from atlas.storage.suspects import Suspects

SHOWN_AFTER = 0.5  # seconds until a stage is shown


@contextmanager
def show_progress() -> Iterator[Progress]:
    """Show stages with an estimate on standard error; Ctrl-C says that finished work is kept."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<24}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bars = Bars(*columns, console=Console(stderr=True))
    started: dict[str, tuple[TaskID, float]] = {}

    def report(stage: str, done: int, total: int) -> None:
        bars.start()
        if stage not in started:
            started[stage] = bars.add_task(stage, total=total, visible=False), time.monotonic()
        task, since = started[stage]
        # Stages of a moment would only push the long ones off the screen.
        bars.update(task, completed=done, total=total, visible=time.monotonic() - since > SHOWN_AFTER)

    try:
        yield report
    except KeyboardInterrupt:
        if started:
            bars.stop()
        print("stopped: what is finished is kept, and the same command goes on from there", file=sys.stderr)
        raise
    finally:
        if started:  # an unstarted Progress would still end with an empty line
            bars.stop()


def say_atlas(built: Atlas) -> None:
    """Print what an atlas holds, what was skipped, and what is worth a warning."""
    accuracy = "" if built.accuracy is None else f", accuracy {built.accuracy:.1%}"
    print(f"{built.path}: {len(built.images):,} images{accuracy}")
    for layer in built.layers:
        icons = sum(level.header.icons for level in layer.levels)
        print(f"  {layer.name}: {layer.header.samples:,} samples, {len(layer.levels)} levels, {icons:,} icons")
    say_skipped(built.skipped, built.header.notes)


def say_store(store: ActivationStore) -> None:
    """Print what a store holds, what was skipped, and what is worth a warning."""
    accuracy = "" if store.accuracy is None else f", accuracy {store.accuracy:.1%}"
    print(f"{store.path}: {len(store):,} images{accuracy}, layers {', '.join(store.layers)}")
    say_skipped(store.skipped, store.notes)


def say_diff(diff: Diff) -> None:
    """Print a comparison's figures beside their noise floor, and the list of what changed."""
    told = diff.document
    titles = [network["title"] for network in told["networks"]]
    if diff.same:
        print(
            f"{' and '.join(titles)}: the same network (weights, layer, preprocessing) on the same images; nothing was "
            "written, for either atlas shows it"
        )
        return
    print(f"{diff.path}: {titles[0]} against {titles[-1]}, {told['networks'][0]['images']:,} images")
    floor = told["noise_floor"]
    said = "a retraining" if floor["kind"] == "retrained" and len(floor["references"]) > 1 else "other images"
    for name, alike in (("cka", 1), ("procrustes", 0), ("neighbor_overlap", 1)):
        if told[name] is not None:
            low, high = floor[name]
            print(f"  {name:<17} {told[name]:.3f}  ({alike} is the same; {said} would give {low:.3f} to {high:.3f})")
    if told["of"] == "networks" and floor["kind"] == "sampling":
        print("  without --reference nothing says what training again would change")
    accuracy = [network["accuracy"] for network in told["networks"]]
    if told["flips"] and None not in accuracy:
        flips = sum(flip["images"] for flip in told["flips"])
        print(f"  accuracy {accuracy[0]:.1%} and {accuracy[-1]:.1%}; {counted(flips, 'image')} predicted otherwise")
    if told["of"] == "datasets":
        low, high = told["mixing"]["chance"]
        print(f"  mixing            {told['mixing']['value']:.3f}  (0: apart; chance alone: {low:.3f} to {high:.3f})")
    for point in told["curve"]:
        against = (
            f"{against} {point[key]['cka']:.3f}" for against, key in (("first", "first"), ("before", "previous"))
        )
        print(f"  {point['title']}: cka against the " + ", the one ".join(against))
    for change in told["changes"]:
        print(f"  {change['kind']:<9} p {change['p']:.2g}  {change['text']}")
    if told["tested"] and not told["changes"]:
        if told["of"] == "datasets":
            tests = counted(told["tested"]["tests"], "cell was", "cells were")
            print(f"  {tests} tested, and in none is either dataset denser beyond chance")
        else:
            tests = counted(told["tested"]["tests"], "group of images was", "groups of images were")
            print(f"  {tests} tested, and none merged, split, moved, appeared or dissolved beyond the noise floor")
    for note in told["notes"]:
        print(f"  {note}")
    print(f"atlas explore {diff.path}")


def say_suspects(found: Suspects) -> None:
    """Print the ranked list: what each suspect is, whether the network uses it, whether it is spurious, and why."""
    tested = "tested against the network" if found.document["tested"] else "not tested: no pipeline was named"
    print(f"{found.path}: {counted(len(found.listed), 'suspect')} at {found.document['layer']}, {tested}")
    for number, suspect in enumerate(found.listed):
        feeds = suspect["feeds_name"] or "no class"
        print(
            f"{number + 1:>3}. {feeds}  used: {suspect['used']}, spurious: {suspect['spurious']}, p {suspect['p']:.2g}"
        )
        print(f"     {suspect['text']}")
        if found.document["tested"]:
            print(f"     Used: {suspect['why_used']}")
        print(f"     Spurious: {suspect['why_spurious']}")
        first = ", ".join(suspect["image_ids"][:3])
        print(f"     {counted(len(suspect['images']), 'image')}, the most typical: {first}")
    for note in found.document["notes"]:
        print(f"  {note}")
    print(f"atlas explore {found.path}")


def say_look(found: Look, page: Path) -> None:
    """Print what the network makes of a picture, which maps add up and which were refused."""
    print(
        f"{page}: " + ", ".join(f"{name} {share:.1%}" for name, share in found.likeliest[:3] or [("an encoder", 1.0)])
    )
    for method, one in found.attributions.items():
        off = f"adds up within {one.balance.error[0]:.2%}" if one.balance.binding else "promises no sum"
        checked = f"; {found.sanity[method].text}" if method in found.sanity else ""
        print(f"  {method:<21} {off}{checked}")
    for method, sentence in found.refusals.items():
        print(f"  {method:<21} refused: {sentence}")


def info_lines(found: dict[str, Any]) -> list[str]:
    """What `atlas info` says to a person of a store, an atlas or a diff; `--json` says all.

    found: what `atlas.storage.verify.describe` returns.
    """
    accuracy = "" if found.get("accuracy") is None else f", accuracy {found['accuracy']:.1%}"
    classes = counted(len(found["classes"]), "class", "classes")
    lines = [f"{found['name']}, {found['kind']}: {counted(found['images'], 'image')}, {classes}{accuracy}"]
    if found["skipped"]:
        lines.append(f"  {counted(found['skipped'], 'picture')} could not be read")
    if not found.get("complete", True):
        lines.append("  still being built")
    for layer in found["layers"]:
        lines.append(f"  {layer['name']}: {_layer_words(layer)}")
        lines += [
            f"    level {level['level']}: {level['side']} × {level['side']}, {counted(level['cells'], 'cell')}, "
            + counted(level["icons"], "icon")
            for level in layer.get("levels", ())
        ]
    if found.get("suspects"):
        listed = found["suspects"]["suspects"]
        likely = sum(suspect["spurious"] == "likely" for suspect in listed)
        lines.append(f"  {counted(len(listed), 'suspect')}, {likely} of them likely spurious")
    lines += [f"  {note}" for note in found["notes"]]
    origin = found["provenance"]
    for key in ("model", "source", "data"):
        if "name" in origin.get(key, {}):
            lines.append(f"  {key.replace('source', 'data')}: {origin[key]['name']}")
    for key in ("pipeline", "manifest", "checkpoint", "store"):
        if origin.get(key):
            lines.append(f"  {key}: {origin[key]['path']} (sha256 {origin[key]['sha256'][:12]} …)")
    return lines


def _layer_words(layer: dict[str, Any]) -> str:
    if "rows" in layer:
        rows = ", ".join(f"{count:,} {kind}" for kind, count in layer["rows"].items())
        return f"{counted(layer['channels'], 'channel')}; {rows}"
    states = ", ".join(f"{count:,} {state}" for state, count in layer["states"].items() if count)
    settings = layer["layout"]
    how = [str(settings[key]) for key in ("method", "metric") if settings.get(key)]
    if settings.get("neighbors"):
        how.insert(1, f"{settings['neighbors']} neighbours")
    counts = f"{counted(layer['channels'], 'channel')}; {counted(layer['samples'], 'sample')} ({states})"
    return "; ".join([counts, ", ".join(how)])


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def say_skipped(skipped: Sequence[Sequence[str]], notes: Sequence[str]) -> None:
    """Print how many pictures were skipped, the first of them, and the notes."""
    if skipped:
        name, reason = skipped[0]
        print(f"  skipped {len(skipped):,} pictures; the first is {name}: {reason}")
    for note in notes:
        print(f"  {note}")


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows of equal keys under one another, numbers to the right, nothing cut."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        numeric = all(isinstance(row[name], int | None) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    # A pipe or a narrow terminal must not cut names: a line may run on.
    Console(width=max(Console().width, 200), markup=False, highlight=False).print(table, soft_wrap=True)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case {"kind": kind, "prefix": prefix}:
            return f"{kind}, {prefix} before the grid" if prefix else str(kind)
        case [*sides]:
            return "×".join(map(str, sides))
        case int():
            return f"{value:,}"
    return str(value)
