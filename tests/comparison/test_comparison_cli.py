"""`atlas compare` at the command line: its JSON, its words, its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from planted_networks import Pictures, clouds, write_network

from tests.test_cli import run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    pictures = Pictures.of(120)
    for name in "abc":
        rows = clouds(pictures.labels, 10, seed=ord(name))
        write_network(folder, name, rows, pictures, pictures.labels, weights=name)
    return folder


def test_json_alone_stands_on_standard_output(home: Path) -> None:
    done = run("compare", "a.atlas", "b.atlas", "--reference", "c.store", "--out", "x.diff", "--json", cwd=home)
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert set(told) >= {"cka", "procrustes", "neighbor_overlap", "noise_floor", "changes"}
    assert told["noise_floor"]["kind"] == "retrained"
    again = run("compare", "a.atlas", "b.atlas", "--reference", "c.store", "--out", "x.diff", "--json", cwd=home)
    assert again.stdout == done.stdout


def test_words_name_the_figures_and_their_floor(home: Path) -> None:
    done = run("compare", "a.atlas", "b.atlas", "c.atlas", cwd=home)
    assert done.returncode == 0
    assert (home / "a-b.diff" / "diff.json").is_file()
    for words in ("a against c, 120 images", "cka", "neighbor_overlap", "b: cka against the first"):
        assert words in done.stdout
    assert "an atlas or a diff" not in done.stdout
    assert run("verify", "a-b.diff", cwd=home).stdout.endswith("whole\n")
    told = json.loads(run("info", "a-b.diff", "--json", cwd=home).stdout)
    assert (told["kind"], len(told["layers"])) == ("diff", 3)
    assert "a and b and c" in run("info", "a-b.diff", cwd=home).stdout


def test_a_diff_is_exported_as_a_site(home: Path) -> None:
    run("compare", "a.atlas", "b.atlas", "--out", "site.diff", cwd=home)
    done = run("export", "site.diff", "site", cwd=home)
    assert done.returncode == 0
    assert (home / "site" / "index.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("a.atlas",), 2, "name two atlases or more"),
        (("a.atlas", "none.atlas"), 1, "none.atlas does not exist"),
        (("a.atlas", "b.store"), 1, "b.store is a store: name the atlas"),
        (("a.atlas", "b.atlas", "--layers", "layer3,layre3"), 1, "no layer 'layre3'; did you mean 'layer3'?"),
        (("a.atlas", "b.atlas", "--out", "x.atlas"), 1, "end it in .diff"),
        (("a.atlas", "a.atlas"), 0, "the same network"),
    ],
)
def test_mistakes_are_one_sentence(home: Path, arguments: tuple[str, ...], status: int, words: str) -> None:
    done = run("compare", *arguments, cwd=home)
    assert done.returncode == status
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
