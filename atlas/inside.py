"""Commands that look inside a network: `atlas look`; heavy imports are inside each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atlas.console import say_look, show_progress
from atlas.options import Overrides, PipelineFile


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
    overrides: Overrides = None,
) -> None:
    """Look inside at one picture: activation maps, attributions and its place, as a page and as files."""
    from atlas.looking import look as look_at
    from atlas.looking import write_look

    with show_progress() as progress:
        found = look_at(
            pipeline, image, atlas=atlas, target=target, sanity=sanity, overrides=overrides or (), progress=progress
        )
        files = write_look(found, out or Path(Path(image).stem + ".look"))
    say_look(found, files[0])
