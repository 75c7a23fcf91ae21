"""The command line: contracts of exit status, of JSON, and of one clear sentence for a mistake."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from pyarrow import csv, parquet

from atlas.cli import main
from atlas.errors import AtlasError
from atlas.pipeline import build
from tests.tiny import write_tiny_pipeline


class Done(NamedTuple):
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str | Path, cwd: Path | None = None) -> Done:
    """Run the command line in this process: importing torch anew for each command would take minutes."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["atlas", *map(str, arguments)])
        if cwd is not None:
            patch.chdir(cwd)
        try:
            main()
            status = 0
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else 0
        except AtlasError:
            traceback.print_exc()
            status = 1
    return Done(status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny pipeline and its finished atlas."""
    folder = tmp_path_factory.mktemp("cli")
    build(write_tiny_pipeline(folder, images=48), folder / "tiny.atlas")
    return folder


def test_help_names_every_command() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    for command in (
        *("demo", "layers", "build", "extract", "import", "layout"),
        *("render", "explore", "export", "suspects", "info", "verify"),
    ):
        assert command in shown.stdout
        assert run(command, "--help").returncode == 0


@pytest.mark.parametrize(
    "arguments", [["nosuch"], ["build"], ["build", "a.toml", "--nosuch"], ["explore", "a", "--port", "x"]]
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "absent.toml"], "absent.toml does not exist"),
        (["build", "."], "is a folder: name a pipeline file"),
        (["info", "absent.atlas"], "absent.atlas does not exist"),
        (["verify", "absent.atlas"], "absent.atlas does not exist"),
        (["export", "absent.atlas", "site"], "absent.atlas does not exist"),
        (["explore", "absent.atlas"], "absent.atlas does not exist"),
        (["layers", "torchvision:resnet181"], "did you mean 'resnet18'"),
        (["layers", "resnet18"], "torchvision:"),
        (["import", "absent.npz", "--out", "a.store"], "absent.npz"),
        (["layout", "absent.store", "--layer", "x", "--out", "a.csv"], "absent.store"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_1(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("atlas: ")


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in run("info", "absent.atlas", "--debug").stderr


def test_info_prints_one_json_document(folder: Path) -> None:
    for name, kind in (("tiny.atlas", "atlas"), ("tiny.store", "store")):
        done = run("info", folder / name, "--json")
        found = json.loads(done.stdout)
        assert found["kind"] == kind
        assert found["images"] == 48
        assert {"layers", "classes", "provenance"} <= found.keys()
        assert found["layers"][0]["name"] == "1"


def test_info_says_to_a_person_what_json_says(folder: Path) -> None:
    found = json.loads(run("info", folder / "tiny.atlas", "--json").stdout)
    told = run("info", folder / "tiny.atlas").stdout
    assert told.startswith(f"{found['name']}, atlas: 48 images, {len(found['classes'])} classes, accuracy ")
    for layer in found["layers"]:
        assert f"  {layer['name']}: {layer['channels']:,} channels; {layer['samples']:,} samples" in told
        for level in layer["levels"]:
            icons = f"{level['icons']} icon" + "s" * (level["icons"] != 1)
            assert f"{level['side']} × {level['side']}, {level['cells']} cells, {icons}" in told
    assert f"pipeline: {found['provenance']['pipeline']['path']}" in told
    assert "48 images" in run("info", folder / "tiny.store").stdout


def test_layers_prints_one_json_document() -> None:
    done = run("layers", "torchvision:squeezenet1_1", "--input-size", "64", "--json")
    layers = json.loads(done.stdout)["layers"]
    first = next(layer for layer in layers if layer["name"] == "features.0")
    assert first["output"] == [64, 31, 31]
    assert (first["kernel"], first["stride"], first["padding"]) == ([3, 3], [2, 2], [0, 0])


def test_verify_says_what_is_damaged(folder: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "tiny.atlas"
    shutil.copytree(folder / "tiny.atlas", copy)
    assert run("verify", copy).returncode == 0
    victim = copy / "images.parquet"
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    done = run("verify", copy)
    assert done.returncode == 1
    assert "images.parquet" in done.stdout


def test_a_dry_run_builds_nothing(folder: Path, tmp_path: Path) -> None:
    done = run("build", folder / "tiny.toml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    for word in ("48 images", "icons", "minutes", "MB"):
        assert word in done.stdout


@pytest.mark.parametrize("ending", ["npz", "csv", "parquet"])
def test_a_layout_is_a_table(folder: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"layout.{ending}"
    done = run("layout", folder / "tiny.store", "--layer", "3", "--class", "house", "--neighbors", "3", "--out", out)
    assert done.returncode == 0, done.stderr
    if ending == "npz":
        table = {name: values.tolist() for name, values in np.load(out).items()}
    else:
        table = (csv.read_csv(out) if ending == "csv" else parquet.read_table(out)).to_pydict()
    assert list(table) == ["row", "id", "label", "x", "y", "state"]
    assert set(table["label"]) == {"house"}
    assert all(-1 <= x <= 2 for x in table["x"])


def test_a_class_that_is_not_there_is_named(folder: Path, tmp_path: Path) -> None:
    done = run("layout", folder / "tiny.store", "--layer", "3", "--class", "hous", "--out", tmp_path / "a.csv")
    assert done.returncode == 1
    assert "did you mean 'house'" in done.stderr


def test_the_command_is_a_program_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "atlas", "info", "absent"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "atlas: absent does not exist: name the folder of a store, an atlas or a diff\n"


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    pipeline = write_tiny_pipeline(tmp_path, images=960)
    command = [sys.executable, "-m", "atlas", "build", str(pipeline), "--out", str(tmp_path / "a.atlas")]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("a.store/**/*.h5")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGINT)
    _, shown = child.communicate(timeout=120)
    assert child.returncode == 130
    assert "what is finished is kept" in shown
    assert "Traceback" not in shown
    assert list(tmp_path.glob("a.store/**/*.h5"))


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["layout", "a.store", "--layer", "x", "--out", "a.npz", "--between", "a", "b", "--method", "umap"],
         "leave --method out"),
        (["layout", "a.store", "--layer", "x", "--out", "a.npz", "--between", "a", "b", "--fit", "100"],
         "leave --fit out"),
        (["render", "a.toml", "--unit", "x:1", "--levels", "2"], "leave --levels out"),
        (["render", "a.toml", "--fine"], "name one with --unit LAYER:CHANNEL"),
    ],
)  # fmt: skip
def test_an_option_that_would_be_ignored_is_refused(
    arguments: list[str], remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["atlas", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    refused = capsys.readouterr().err
    assert refused.rstrip().endswith(remedy)
    assert "Traceback" not in refused
