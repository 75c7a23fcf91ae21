"""The static site and the notebook's frame, without a browser."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from atlas.errors import StoreError
from atlas.explorer import export
from atlas.explorer.figure import SCRIPTS, explorer_script
from atlas.explorer.notebook import in_notebook, notebook_html
from atlas.explorer.shards import Shards
from atlas.storage.atlas import Atlas


def test_the_site_holds_every_shard_as_a_script(hostile: Atlas, tmp_path: Path) -> None:
    page = export(hostile, tmp_path / "site")
    assert page == tmp_path / "site" / "index.html"
    scripts = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*.js")}
    shards = Shards(hostile)
    assert scripts == {f"data/{'/'.join([kind, *map(str, numbers)])}.js" for kind, numbers in shards.all_keys()}
    text = (tmp_path / "site" / "data" / "tile" / "0" / "0" / "0" / "0.js").read_text()
    name, value = re.fullmatch(r"AtlasData\.put\((\"[^\"]*\"),(.*)\);\n", text).groups()  # type: ignore[union-attr]
    assert json.loads(name) == "tile/0/0/0/0"
    assert json.loads(value)["cells"]


def test_hostile_names_stay_inside_their_strings(hostile: Atlas, tmp_path: Path) -> None:
    page = export(hostile, tmp_path / "site").read_text()
    assert "<script>alert" not in page
    assert "<b>" not in page.split("</title>")[1].rsplit("<script", 1)[0].split("<body>")[-1]
    for path in (tmp_path / "site" / "data").rglob("*.js"):
        assert not set(path.read_text()) & set("<>&\u2028\u2029")


def test_a_second_export_replaces_the_first(hostile: Atlas, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(hostile, tmp_path / "site")
    assert capsys.readouterr().err == ""
    assert list((tmp_path / "site" / "data").rglob("patch/**/*.js"))
    export(hostile, tmp_path / "site", pictures=False)
    assert "site: the site that was there is replaced" in capsys.readouterr().err
    assert not list((tmp_path / "site" / "data").rglob("patch/**/*.js"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site"]


def test_the_site_of_another_atlas_is_replaced_by_force_alone(hostile: Atlas, planted: Atlas, tmp_path: Path) -> None:
    export(hostile, tmp_path / "site", pictures=False)
    with pytest.raises(StoreError, match="another atlas"):
        export(planted, tmp_path / "site", pictures=False)
    export(planted, tmp_path / "site", pictures=False, force=True)
    assert json.loads((tmp_path / "site" / "site.json").read_text())["fingerprint"] == planted.fingerprint


def test_a_folder_with_other_things_is_refused(hostile: Atlas, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    for force in (False, True):
        with pytest.raises(StoreError, match=r"thesis\.tex"):
            export(hostile, tmp_path, force=force)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_a_neighbour_that_looks_like_an_unfinished_site_is_left_alone(hostile: Atlas, tmp_path: Path) -> None:
    (tmp_path / "site.new").mkdir()
    (tmp_path / "site.new" / "thesis.tex").write_text("mine")
    for _ in range(2):
        export(hostile, tmp_path / "site", pictures=False)
    assert (tmp_path / "site.new" / "thesis.tex").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site", "site.new"]


def test_the_current_folder_is_not_replaced_under_the_shell(
    hostile: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (".", tmp_path, "../" + tmp_path.name):
        with pytest.raises(StoreError, match="current folder"):
            export(hostile, folder, pictures=False)
    assert export(hostile, "site", pictures=False) == Path("site/index.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site"]


@pytest.mark.parametrize("label", [None, "no json", "[]", '{"kind": "store"}', '{"fingerprint": "x"}'])
def test_force_deletes_nothing_but_a_site(hostile: Atlas, tmp_path: Path, label: str | None) -> None:
    folder = tmp_path / "site"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "measured.csv").write_text("mine")
    if label is not None:
        (folder / "site.json").write_text(label)
    for force in (False, True):
        with pytest.raises(StoreError, match=r"no whole export.*site\.json"):
            export(hostile, folder, pictures=False, force=force)
    assert (folder / "data" / "measured.csv").read_text() == "mine"


def test_an_export_that_fails_keeps_the_earlier_one(
    hostile: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(hostile, tmp_path / "site", pictures=False)

    def crash(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("atlas.explorer.site.page_html", crash)
    with pytest.raises(KeyboardInterrupt):
        export(hostile, tmp_path / "site", pictures=False)
    assert (tmp_path / "site" / "index.html").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_the_page_asks_no_other_host(hostile: Atlas, tmp_path: Path) -> None:
    page = export(hostile, tmp_path / "site").read_text()
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=\"?(https?:)?//", page)


def test_all_scripts_are_shipped_and_stay_short() -> None:
    text = explorer_script()
    for name in SCRIPTS:
        assert f"// ---- {name}.js ----" in text
    folder = Path(__import__("atlas.explorer", fromlist=["x"]).__file__).parent / "static"
    assert {path.stem for path in folder.glob("*.js")} == {*SCRIPTS, "notebook"}
    assert all(path.read_text().count("\n") <= 400 for path in folder.iterdir())


def test_no_script_builds_html_from_strings() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", explorer_script())


def test_the_notebooks_frame_holds_what_fits_and_says_so(hostile: Atlas) -> None:
    whole = html.unescape(notebook_html(hostile, budget=10**9))
    assert "leaves out" not in whole
    small = html.unescape(notebook_html(hostile, budget=200_000))
    assert "this notebook leaves out" in small
    assert len(small) < len(whole)
    assert "atlas explore" in small


def test_this_is_no_notebook() -> None:
    assert not in_notebook()
