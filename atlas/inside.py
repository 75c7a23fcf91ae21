"""Commands that look inside a network: `atlas look`, `health`, `suspects`, `report`; heavy imports are inside each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from atlas.console import print_table, say_look, say_suspects, show_progress
from atlas.options import Force, Json, Overrides, PipelineFile


def look(
    pipeline: PipelineFile,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A picture's file, or an id of the dataset.")],
    atlas: Annotated[
        Path | None, typer.Option(metavar="NAME.atlas", help="Made with this pipeline: where the picture falls on it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Default: the picture's name with .look, here.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--class", metavar="C", help="Explain this class, not the one predicted.")
    ] = None,
    sanity: Annotated[
        bool, typer.Option("--sanity", help="Say how far each attribution depends on the weights (minutes).")
    ] = False,
    layer: Annotated[
        list[str] | None, typer.Option(metavar="L", help="Look at this layer, again for more; default: the pipeline's.")
    ] = None,
    across: Annotated[
        int, typer.Option(min=0, max=32, help="Icons along a side of an activation grid; 0 leaves the grids out.")
    ] = 14,
    overrides: Overrides = None,
) -> None:
    """Look inside at one picture: activation maps and grids, attributions and its place, as a page and as files."""
    from atlas.looking import look as look_at
    from atlas.looking import write_look

    folder = out or Path(Path(image).stem + ".look")
    with show_progress() as progress:
        found = look_at(
            pipeline,
            image,
            atlas=atlas,
            target=target,
            sanity=sanity,
            layers=layer or (),
            across=across,
            cache=folder / "icons" if across else None,
            overrides=overrides or (),
            progress=progress,
        )
        files = write_look(found, folder)
    say_look(found, files[0])


def health(
    pipeline: PipelineFile,
    images: Annotated[int, typer.Option(min=1, help="Judge by at most so many pictures.")] = 2000,
    layer: Annotated[
        list[str] | None, typer.Option(metavar="L", help="Judge this layer, again for more; default: every block.")
    ] = None,
    probe: Annotated[
        bool, typer.Option(" /--no-probe", show_default=False, help="Leave the linear classifiers out.")
    ] = True,
    gradients: Annotated[
        int, typer.Option(min=0, metavar="N", help="Gradients of the loss at each block, on so many pictures; 0: none.")
    ] = 256,
    rounded: Annotated[
        int, typer.Option(min=0, metavar="N", help="What rounding each block costs, on so many pictures; 0: not.")
    ] = 128,
    trained: Annotated[
        Path | None, typer.Option("--train", metavar="MANIFEST.toml", help="Pictures that it was trained on: the gap.")
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option(metavar="MANIFEST.toml", help="Held-out pictures, where the pipeline's are those trained on."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Also draw it over depth, as a page.")] = None,
    as_json: Json = False,
    overrides: Overrides = None,
) -> None:
    """Say how a network's blocks are: dead units, rank, classes told apart, what coarser numbers would cost."""
    from atlas.layer_health import health as judge_health

    with show_progress() as progress:
        found = judge_health(
            pipeline,
            images=images,
            layers=layer or (),
            probe=probe,
            gradients=gradients,
            rounded=rounded,
            trained=trained,
            held_out=held_out,
            overrides=overrides or (),
            progress=progress,
        )
    if out is not None:
        from atlas.looking.depth import health_html
        from atlas.storage.files import write_bytes

        write_bytes(out, health_html(found).encode())
    if as_json:
        print(json.dumps(found.to_dict()))
        return
    print(found.title)
    print_table(found.table())
    for sentence in found.findings:
        print(sentence)


def suspects(
    atlas: Annotated[Path, typer.Argument(metavar="ATLAS", help="A NAME.atlas folder.")],
    pipeline: Annotated[
        Path | None,
        typer.Option(metavar="PIPELINE.toml", help="The file it was made with: run the network and test each suspect."),
    ] = None,
    layer: Annotated[str | None, typer.Option(metavar="L", help="Of the atlas; default: its last.")] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="List so many at most.")] = 10,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="The generator's seed.")] = 0,
    memory: Annotated[float, typer.Option(min=0.01, metavar="GB", help="What activations may take.")] = 2.0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Find clusters that may be spurious cues, and with a pipeline test whether the network uses them."""
    from atlas.storage.suspects import listed_by_name
    from atlas.suspects import find_suspects

    with show_progress() as progress:
        found = find_suspects(
            atlas,
            layer=layer,
            pipeline=pipeline,
            seed=seed,
            limit=limit,
            memory=memory,
            force=force,
            progress=progress,
        )
    if as_json:
        print(json.dumps(listed_by_name(found)))
        return
    say_suspects(found)


def report(
    atlas: Annotated[Path, typer.Argument(metavar="ATLAS", help="A NAME.atlas folder.")],
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="The report.")],
    health_file: Annotated[
        Path | None, typer.Option("--health", metavar="F.json", help="Layer health, from 'atlas health --json'.")
    ] = None,
    pipeline: Annotated[
        Path | None,
        typer.Option(metavar="PIPELINE.toml", help="The atlas's: adds the architecture, and layer health (minutes)."),
    ] = None,
    diff: Annotated[Path | None, typer.Option(metavar="NAME.diff", help="A comparison to tell of.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Judge layer health by at most so many pictures.")] = 2000,
) -> None:
    """Write a printable report for a model review: data, model, health, map, suspects, what differs; one HTML file."""
    from atlas.review import write_report

    with show_progress() as progress:
        page = write_report(
            atlas, out, health=health_file, pipeline=pipeline, diff=diff, images=images, progress=progress
        )
    print(page)
