"""The package's shape, read from the imports: rooms import downwards, the explorer never needs torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

# From the top to the ground; a room may import only rooms further down, and its own.
ROOMS = (
    "__main__",
    "cli",
    "inside",
    "options",
    "console",
    "demo",
    "review",
    "looking",
    "explorer",
    "workshop",
    "planning",
    "units",
    "suspects",
    "comparison",
    "pipeline",
    "layer_health",
    "layout_quality",
    "layout_table",
    "mapping",
    "job",
    "pictures",
    "findings",
    "attribution",
    "rendering",
    "layouts",
    "importing",
    "extraction",
    "models",
    "datasets",
    "storage",
    "config",
    "records",
    "cores",
    "errors",
)
BANNED = {"utils", "misc", "helpers", "manager", "process", "data2"}


def room_of(path: Path, package: Path) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "atlas":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("atlas.")}
    return found - {"__version__"}


def package_files(repository: Path) -> list[Path]:
    return [p for p in sorted((repository / "atlas").rglob("*.py")) if "_shipped" not in p.parts]


def test_rooms_import_only_downwards(repository: Path) -> None:
    package = repository / "atlas"
    broken = []
    for path in package_files(repository):
        room = room_of(path, package)
        if room == "__init__":
            continue  # the package's face hands out names on first use
        assert room in ROOMS, f"{room} is not in the list of rooms"
        broken += [
            f"{path.relative_to(repository)} imports {other}"
            for other in imported_rooms(path) - {room}
            if ROOMS.index(other) < ROOMS.index(room)
        ]
    assert broken == []


@pytest.mark.parametrize(("library", "home"), [("lucent", "rendering/reference.py")])
def test_a_library_has_one_home(repository: Path, library: str, home: str) -> None:
    homes = {
        str(path.relative_to(repository / "atlas"))
        for path in package_files(repository)
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == library)
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == library for alias in node.names))
    }
    assert homes <= {home}


def test_files_and_functions_stay_short(repository: Path) -> None:
    long = []
    for path in package_files(repository):
        text = path.read_text()
        if text.count("\n") > 400:
            long.append(f"{path.relative_to(repository)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1 - len((ast.get_docstring(node) or "").splitlines())
                if length > 60:
                    long.append(f"{path.relative_to(repository)}: {node.name} has {length} lines")
    assert long == []


def test_names_say_something(repository: Path) -> None:
    names = {
        part.removesuffix(".py") for path in package_files(repository) for part in path.relative_to(repository).parts
    }
    assert not names & BANNED
    for path in package_files(repository):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.arg):
                assert node.arg != "params", f"{path}: a parameter named 'params'"


def test_no_room_has_the_name_of_a_public_function() -> None:
    import atlas

    assert not set(ROOMS) & set(atlas.__all__)


def test_public_names_resolve() -> None:
    import atlas

    for name in atlas.__all__:
        assert getattr(atlas, name) is not None


@pytest.mark.parametrize("module", ["atlas", "atlas.explorer", "atlas.storage", "atlas.layouts"])
def test_torch_is_not_imported_by(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
