"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PipelineFile = Annotated[Path, typer.Argument(metavar="PIPELINE.toml", help="The pipeline file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the pipeline, such as layout.method=umap."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else.")]
Columns = Annotated[
    Path | None, typer.Option(metavar="FILE.csv", help="Colour by this table's columns; its column 'id' names images.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace an output that was made from another configuration.")]
