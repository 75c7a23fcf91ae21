"""The command line: parse, call, print. Heavy imports are inside each command."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal

import typer

from atlas.console import info_lines, print_table, say_atlas, say_diff, say_store, say_suspects, show_progress
from atlas.errors import AtlasError
from atlas.inside import health, look, report, suspects
from atlas.options import Columns, Force, Json, Overrides, PipelineFile

app = typer.Typer(
    name="atlas",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line: exit status 0, 1 for an AtlasError, 2 for wrong usage, 130 for Ctrl-C."""
    # --debug is taken wherever it stands, so that it can be added to the end of a failed command.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    warnings.formatwarning = lambda message, *_args, **_kwargs: f"atlas: {message}\n"  # without a line of code
    try:
        app(arguments, prog_name="atlas")
    except AtlasError as error:
        if len(arguments) < len(sys.argv) - 1:
            raise
        print(f"atlas: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if len(arguments) < len(sys.argv) - 1 or error.strerror is None:
            raise
        where = f" at {error.filename}" if error.filename else ""
        print(f"atlas: {error.strerror.lower()}{where}: check the path, its permissions and the disk", file=sys.stderr)
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        from atlas import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """See what a vision network has learned: build and explore activation atlases."""


def _refuse(context: typer.Context, names: tuple[str, ...], why: str) -> None:
    """Raise BadParameter for the first of these options that was given, rather than ignore it."""
    for option in context.command.params:
        source = context.get_parameter_source(option.name) if option.name in names else None
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"{why}: leave {option.opts[0]} out")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The folder for the atlases.")] = Path("demo"),
    serve: Annotated[bool, typer.Option(" /--no-serve", show_default=False, help="Stop when all is built.")] = True,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The explorer's port; 0 takes a free one.")] = 5006,
    force: Force = False,
) -> None:
    """Build the embedded dataset's atlases, honest and shortcut, compare them, find suspects, open the explorer."""
    from atlas.demo import build_demo, compare_demo, demo_pipelines, find_demo_suspects

    with show_progress() as progress:
        atlases = build_demo(out, force=force, progress=progress)
        diff = compare_demo(out, force=force, progress=progress)
        found = find_demo_suspects(out, force=force, progress=progress)
    for built in atlases:
        say_atlas(built)
    say_diff(diff)
    say_suspects(found)
    if serve:
        from atlas.explorer import explore

        # The atlas is opened anew: what has been found since it was built is in it now.
        explore((atlases[0], atlases[1].path, diff.atlas), port=port, pipelines=demo_pipelines())


@app.command()
def layers(
    model: Annotated[str, typer.Argument(help="torchvision:NAME, timm:NAME or python:package.module:factory.")],
    checkpoint: Annotated[Path | None, typer.Option(help="A state dict, .pt or .safetensors.")] = None,
    input_size: Annotated[
        int | None, typer.Option(min=1, help="Side of the input in pixels; default: the network's own.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the model's layers: kind, output shape, parameters, geometry, bytes per image."""
    from atlas.models import describe_layers

    found = describe_layers(model, checkpoint=checkpoint, input_size=input_size, folder=Path.cwd())
    rows = [row.to_dict() for row in found]
    if as_json:
        print(json.dumps({"model": model, "layers": rows}))
        return
    print_table(rows)


@app.command()
def build(
    pipeline: PipelineFile,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(metavar="NAME.atlas", help="Default: the pipeline's name, here.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say images, bytes, icons and minutes; build nothing.")
    ] = False,
    force: Force = False,
) -> None:
    """Run the whole pipeline: dataset to atlas."""
    if dry_run:
        from atlas.planning import plan

        print("\n".join(plan(pipeline, out, overrides=overrides or (), force=force).lines()))
        return
    from atlas.pipeline import build as build_atlas

    with show_progress() as progress:
        built = build_atlas(pipeline, out, overrides=overrides or (), force=force, progress=progress)
    say_atlas(built)
    print(f"atlas explore {built.path}")


@app.command()
def extract(
    pipeline: PipelineFile,
    out: Annotated[Path, typer.Option(metavar="NAME.store", help="The store to write.")],
    overrides: Overrides = None,
    force: Force = False,
) -> None:
    """Run the dataset through the network and keep the activations."""
    from atlas.pipeline import extract_store

    with show_progress() as progress:
        store = extract_store(pipeline, out, overrides=overrides or (), force=force, progress=progress)
    say_store(store)


@app.command("import")
def import_(
    arrays: Annotated[Path, typer.Argument(help=".npz, .npy (with a CSV beside it) or Parquet.")],
    out: Annotated[Path, typer.Option(metavar="NAME.store", help="The store to write.")],
    layer: Annotated[str, typer.Option(help="The layer's name in the store.")] = "imported",
    force: Force = False,
) -> None:
    """Make a store from activations computed elsewhere."""
    from atlas.importing import import_arrays

    with show_progress() as progress:
        store = import_arrays(arrays, out, layer=layer, force=force, progress=progress)
    say_store(store)


@app.command()
def layout(
    context: typer.Context,
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A NAME.store folder.")],
    layer: Annotated[str, typer.Option(help="The layer to lay out.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help=".npz, .csv or .parquet: x, y and state of each sample.")],
    classes: Annotated[
        list[str] | None, typer.Option("--class", metavar="C", help="Only this class's samples.")
    ] = None,
    between: Annotated[tuple[str, str] | None, typer.Option(metavar="A B", help="x: difference of effects.")] = None,
    rows: Annotated[
        Literal["positions", "mean", "max", "cls", "center"], typer.Option(help="Which rows of the layer.")
    ] = "positions",
    method: Annotated[Literal["tsne", "umap", "pacmap", "pca"], typer.Option(help="How to lay out.")] = "tsne",
    neighbors: Annotated[int, typer.Option(help="Neighbours of each sample.")] = 15,
    fit: Annotated[int, typer.Option(min=100, help="Fit t-SNE or UMAP on so many, place the rest.")] = 1_000_000,
    metric: Annotated[Literal["cosine", "euclidean"], typer.Option(help="What is near.")] = "cosine",
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="The generator's seed.")] = 0,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same result every time, more slowly.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda: whether cuML may use a GPU.")] = "auto",
) -> None:
    """Lay one layer's samples out in two dimensions."""
    from atlas.layout_table import write_layout

    if between:
        _refuse(context, ("classes", "rows", "method", "fit", "device"), "--between makes a map of its own kind")

    with show_progress() as progress:
        counts = write_layout(
            store, layer, out, classes=classes or (), rows=rows, method=method, neighbors=neighbors,
            metric=metric, seed=seed, deterministic=deterministic, device=device, fit=fit, between=between,
            progress=progress,
        )  # fmt: skip
    print(f"{out}: " + ", ".join(f"{count:,} {state}" for state, count in counts.items() if count))


@app.command()
def render(
    context: typer.Context,
    pipeline: PipelineFile,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="NAME.atlas", help="The atlas, or with --unit a folder; default: the pipeline's name."),
    ] = None,
    levels: Annotated[int | None, typer.Option(min=1, help="Render so many levels; default: the pipeline's.")] = None,
    unit: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYER:CHANNEL", help="Render what raises this unit, into --out DIR; LAYER alone: all."),
    ] = None,
    fine: Annotated[bool, typer.Option("--fine", help="Single units in high quality.")] = False,
    images: Annotated[
        int, typer.Option(min=0, help="A page of units says what so many pictures do to each; 0: nothing.")
    ] = 1000,
) -> None:
    """Render the icons that a built atlas still lacks, deeper levels too; or pictures of single units."""
    if unit:
        from atlas.units import render_units

        _refuse(context, ("levels",), "--unit renders single units")

        with show_progress() as progress:
            files = render_units(
                pipeline, unit, out, fine=fine, images=images, overrides=overrides or (), progress=progress
            )
        print(*files, sep="\n")
        return
    from atlas.pipeline import render_levels

    _refuse(context, ("images",), "only a page of units is made with --unit LAYER")
    if fine:
        raise typer.BadParameter("only single units are rendered finely: name one with --unit LAYER:CHANNEL")
    with show_progress() as progress:
        built = render_levels(pipeline, out, levels=levels, overrides=overrides or (), progress=progress)
    say_atlas(built)


@app.command()
def explore(
    atlas: Annotated[list[Path], typer.Argument(metavar="ATLAS...", help="One NAME.atlas folder or more.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 5006,
    show: Annotated[bool, typer.Option("--show/--no-show", help="Open a browser.")] = True,
    address: Annotated[
        str, typer.Option(metavar="IP", help="The address to listen on; any but loopback needs --token.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option(metavar="T", help="Let in only who has this, 12 characters or more.")
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="A name that browsers reach the server by, again for more."),
    ] = None,
    pipeline: Annotated[
        list[Path] | None,
        typer.Option(metavar="PIPELINE.toml", help="Run this network on request; one for each atlas, in order."),
    ] = None,
    columns: Columns = None,
) -> None:
    """Serve the explorer, on this machine alone unless an address and a token say otherwise."""
    from atlas.explorer import Binding
    from atlas.explorer import explore as serve

    binding = Binding(address, token, tuple(origin or ()))
    serve(atlas, port=port, show=show, binding=binding, pipelines=pipeline or (), columns=columns)


@app.command()
def export(
    atlas: Annotated[Path, typer.Argument(metavar="ATLAS", help="A NAME.atlas folder.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The site's folder.")],
    pictures: Annotated[
        bool, typer.Option(" /--no-pictures", show_default=False, help="Leave the dataset's pictures out.")
    ] = True,
    columns: Columns = None,
    pipeline: Annotated[Path | None, typer.Option(metavar="PIPELINE.toml", help="The atlas's, for --look.")] = None,
    look_at: Annotated[
        list[str] | None,
        typer.Option("--look", metavar="ID", help="Put in the page of this image; again for more."),
    ] = None,
    force: Force = False,
) -> None:
    """Write a static site that works from file:// and any static host."""
    from atlas.explorer import export as export_site

    with show_progress() as progress:
        page = export_site(
            atlas, folder, pictures=pictures, force=force, columns=columns, pipeline=pipeline, views=look_at or (),
            progress=progress,
        )  # fmt: skip
    print(page)


@app.command()
def compare(
    atlases: Annotated[list[Path], typer.Argument(metavar="A B [C...]", help="Two NAME.atlas folders or more.")],
    out: Annotated[Path | None, typer.Option(metavar="NAME.diff", help="Default: the first two names, here.")] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(metavar="R", help="What retraining alone changes: an atlas or store of A's recipe. Repeatable."),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option("--layers", "--layer", metavar="L[,L...]", help="The layer of all, or one for each, in order."),
    ] = None,
    pipeline: Annotated[
        list[Path] | None,
        typer.Option(metavar="PIPELINE.toml", help="Render the map's own icons; one for each atlas, in order."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="The generator's seed.")] = 0,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same result on any number of cores, more slowly.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compare checkpoints on the same images, or one network on two datasets: what changed, and is it chance."""
    from atlas.comparison import compare as compare_networks

    if len(atlases) < 2:
        raise typer.BadParameter("name two atlases or more")
    chosen = [name.strip() for name in layers.split(",")] if layers else []
    with show_progress() as progress:
        diff = compare_networks(
            *atlases,
            out=out,
            references=reference or (),
            layers=chosen,
            pipelines=pipeline or (),
            seed=seed,
            deterministic=deterministic,
            force=force,
            progress=progress,
        )
    if as_json:
        print(json.dumps(dict(diff.document)))
        return
    say_diff(diff)


app.command()(look)
app.command()(health)
app.command()(suspects)
app.command()(report)


@app.command()
def info(path: Annotated[Path, typer.Argument(help="A store, an atlas or a diff.")], as_json: Json = False) -> None:
    """Say what a store, an atlas or a diff holds, and from what it was made."""
    from atlas.storage.verify import describe

    found = describe(path)
    print(json.dumps(found) if as_json else "\n".join(info_lines(found)))


@app.command()
def quality(
    atlas: Annotated[Path, typer.Argument(metavar="ATLAS", help="A NAME.atlas folder.")],
    second_seed: Annotated[
        bool, typer.Option(" /--no-second-seed", show_default=False, help="Leave the stability out.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Say how far the picture can be trusted: what the layout keeps, how good the icons are."""
    from atlas.layout_quality import quality_tables, tell_quality

    with show_progress() as progress:
        found = tell_quality(atlas, second_seed=second_seed, progress=progress)
    if as_json:
        print(json.dumps(found))
        return
    for number, table in enumerate(quality_tables(found)):
        print(end="\n" if number else "")
        print_table(table)


@app.command()
def verify(path: Annotated[Path, typer.Argument(help="A store, an atlas or a diff.")]) -> None:
    """Check every hash and schema rule; say what is damaged."""
    from atlas.storage.verify import verify as find_damage

    damages = find_damage(path)
    for damage in damages:
        print(damage)
    if damages:
        raise AtlasError(f"{path} is damaged in {len(damages)} places: restore what is named above, or build it again")
    print(f"{path}: whole")
