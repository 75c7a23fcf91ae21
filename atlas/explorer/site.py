"""The explorer as a folder of files that needs no server: opened from disk, or put on any static host."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from bokeh.embed import file_html
from bokeh.resources import INLINE

from atlas.errors import StoreError
from atlas.explorer.columns import ColumnTable, Joined
from atlas.explorer.encode import to_json
from atlas.explorer.figure import PAGE, figure
from atlas.explorer.header import page_header
from atlas.explorer.shards import Key, Shards
from atlas.explorer.views import VIEWS_NAME, chosen_views, write_views
from atlas.records import Progress, silent
from atlas.storage.atlas import Atlas, open_atlas
from atlas.storage.files import folder_beside, write_json

PAGE_NAME = "index.html"
DATA_NAME = "data"
LABEL_NAME = "site.json"
KIND = "site"


def export(
    atlas: Atlas | str | Path,
    folder: str | Path,
    *,
    pictures: bool = True,
    force: bool = False,
    columns: str | Path | None = None,
    pipeline: str | Path | None = None,
    views: Sequence[str] = (),
    progress: Progress = silent,
) -> Path:
    """Write an atlas as a static site into a folder and return the path of its page.

    With pictures=False the site holds no picture of the dataset: no patch, no thumbnail; icons, counts, names of
    classes and ids of images stay. An earlier export of this atlas is replaced once the new one is whole; that of
    another atlas only with force. columns: a CSV with a column `id`, by whose other columns the site can be coloured;
    it then holds the numbers and the named texts. views: ids of images whose pages of what the network makes of them
    are put in, which takes the atlas's pipeline. Raises AtlasError for an odd CSV, for an id that is not there and for
    views without a pipeline or without pictures, StoreError for the current folder, and for one that holds anything
    else.
    """
    atlas = atlas if isinstance(atlas, Atlas) else open_atlas(atlas)
    folder = Path(folder)
    place = folder.resolve()  # "." and "site/.." have no name to write beside, and a link stays a link
    _refuse_others(place, atlas, force)
    chosen = chosen_views(atlas, views, pipeline, pictures=pictures)
    joined = Joined() if columns is None else ColumnTable(columns).join(atlas.images.ids)
    if joined.words:
        print(joined.words, file=sys.stderr)
    shards = Shards(atlas, pictures=pictures, columns=joined.columns)
    keys = list(shards.all_keys())
    for shelf in shards.shelves if pictures else ():
        shelf.fill()
    replaced = False
    with folder_beside(place) as beside:
        for done, key in enumerate(keys):
            _write_shard(beside / DATA_NAME, shards, key)
            progress("site", done + 1, len(keys))
        write_views(beside / VIEWS_NAME, atlas, chosen, pipeline, progress)
        (beside / PAGE_NAME).write_text(page_html(shards, chosen), encoding="utf-8")
        write_json(
            beside / LABEL_NAME, {"kind": KIND, "schema": 1, "atlas": atlas.name, "fingerprint": atlas.fingerprint}
        )
        if place.exists():
            replaced = any(place.iterdir())
            shutil.rmtree(place)
    if replaced:
        print(f"{folder}: the site that was there is replaced", file=sys.stderr)
    return folder / PAGE_NAME


def page_html(shards: Shards, views: Sequence[int] = ()) -> str:
    """The site's one page, Bokeh's scripts included. views: images that have a page in `views/`."""
    document = figure({**page_header(shards, "site", "site"), "views": list(views)})
    return file_html(document, INLINE, title=document.title, template=PAGE)


def shard_name(key: Key) -> str:
    """A shard's name as the page asks for it: its kind and numbers with slashes between."""
    kind, numbers = key
    return "/".join([kind, *map(str, numbers)])


def _write_shard(data: Path, shards: Shards, key: Key) -> None:
    name = shard_name(key)
    path = data / f"{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"AtlasData.put({to_json(name)},{to_json(shards.value(key[0], *key[1]))});\n", encoding="utf-8")


def _refuse_others(folder: Path, atlas: Atlas, force: bool) -> None:
    """Refuse a folder that an export of this atlas did not write: what is in it would be lost.

    With force the site of another atlas may go, but nothing that is not a site.
    """
    if not folder.exists():
        return
    if Path.cwd().is_relative_to(folder):
        raise StoreError(f"{folder} is the current folder or holds it, and would be replaced: name a folder inside it")
    if not folder.is_dir():
        raise StoreError(f"{folder} is a file: name a new folder for the site")
    strangers = sorted(
        path.name for path in folder.iterdir() if path.name not in (PAGE_NAME, DATA_NAME, LABEL_NAME, VIEWS_NAME)
    )
    if strangers:
        raise StoreError(f"{folder} is not an earlier export ({strangers[0]} is in the way): name a new folder")
    if not any(folder.iterdir()):
        return
    try:
        found = json.loads((folder / LABEL_NAME).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise StoreError(f"{folder} holds no whole export (its {LABEL_NAME} does not say so): name a new folder")
    if not force and found.get("fingerprint") != atlas.fingerprint:
        raise StoreError(f"{folder} holds the site of another atlas: name a new folder, or replace it with --force")
