"""The explorer as a folder of files that needs no server: opened from disk, or put on any static host."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bokeh.embed import file_html
from bokeh.resources import INLINE

from atlas.errors import StoreError
from atlas.explorer.encode import to_json
from atlas.explorer.figure import PAGE, figure
from atlas.explorer.header import page_header
from atlas.explorer.shards import Key, Shards
from atlas.records import Progress, silent
from atlas.storage.atlas import Atlas, open_atlas
from atlas.storage.files import folder_beside, write_json

PAGE_NAME = "index.html"
DATA_NAME = "data"
LABEL_NAME = "site.json"


def export(
    atlas: Atlas | str | Path,
    folder: str | Path,
    *,
    pictures: bool = True,
    force: bool = False,
    progress: Progress = silent,
) -> Path:
    """Write an atlas as a static site into a folder and return the path of its page.

    With pictures=False the site holds no picture of the dataset: no patch, no thumbnail; icons, counts, names of
    classes and ids of images stay. An earlier export of this atlas is replaced once the new one is whole; that of
    another atlas only with force. A folder that holds anything else is refused with StoreError.
    """
    atlas = atlas if isinstance(atlas, Atlas) else open_atlas(atlas)
    folder = Path(folder)
    _refuse_others(folder, atlas, force)
    shards = Shards(atlas, pictures=pictures)
    keys = list(shards.all_keys())
    folder.parent.mkdir(parents=True, exist_ok=True)
    written = folder.with_name(f"{folder.name}.new")
    if written.exists():
        shutil.rmtree(written)
    for shelf in shards.shelves if pictures else ():
        shelf.fill()
    with folder_beside(written) as beside:
        for done, key in enumerate(keys):
            _write_shard(beside / DATA_NAME, shards, key)
            progress("site", done + 1, len(keys))
        (beside / PAGE_NAME).write_text(page_html(shards), encoding="utf-8")
        write_json(
            beside / LABEL_NAME, {"kind": "site", "schema": 1, "atlas": atlas.name, "fingerprint": atlas.fingerprint}
        )
    if folder.exists():
        shutil.rmtree(folder)
    written.replace(folder)
    return folder / PAGE_NAME


def page_html(shards: Shards) -> str:
    """The site's one page, Bokeh's scripts included."""
    document = figure(page_header(shards, "site", "site"))
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
    """Refuse a folder that an export of this atlas did not write: what is in it would be lost."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise StoreError(f"{folder} is a file: name a new folder for the site")
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in (PAGE_NAME, DATA_NAME, LABEL_NAME))
    if strangers:
        raise StoreError(f"{folder} is not an earlier export ({strangers[0]} is in the way): name a new folder")
    label = folder / LABEL_NAME
    if force or not any(folder.iterdir()):
        return
    try:
        found = json.loads(label.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        raise StoreError(f"{folder} holds no whole export ({LABEL_NAME}): name a new folder, or use --force") from None
    if not isinstance(found, dict) or found.get("fingerprint") != atlas.fingerprint:
        raise StoreError(f"{folder} holds the site of another atlas: name a new folder, or replace it with --force")
