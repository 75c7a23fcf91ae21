from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.datasets import ClassTable, align_labels, read_class_table
from atlas.errors import DataError


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], ClassTable]:
    def read(text: str) -> ClassTable:
        path = tmp_path / "classes.csv"
        path.write_text(text, encoding="utf-8")
        return read_class_table(path)

    return read


@pytest.mark.parametrize(
    ("text", "names", "folders"),
    [
        ("cat\ndog\n", ("cat", "dog"), ()),
        ("great white, a shark\ntench, Tinca\n\n", ("great white, a shark", "tench, Tinca"), ()),
        ("dog\r\ncat", ("dog", "cat"), ()),
        ("index,name\n1,dog\n0,cat\n", ("cat", "dog"), ()),
        ('index,synset,name\n0,n01,tench\n1,n02,"shark, white"\n', ("tench", "shark, white"), ("n01", "n02")),
        ("index,name,folder\n1,crane,b\n0,crane,a\n", ("crane", "crane"), ("a", "b")),
        ("0,cat\n1,dog\n", ("cat", "dog"), ()),
        ("1,dog,d\n0,cat,c\n", ("cat", "dog"), ("c", "d")),
        ("0\n1\n2\n", ("0", "1", "2"), ()),
        ("\ufeffindex,folder\n0,größe\n1,猫\n", ("größe", "猫"), ("größe", "猫")),
    ],
)
def test_class_files(text: str, names: tuple, folders: tuple, table: Callable[[str], ClassTable]) -> None:
    assert (table(text).names, table(text).folders) == (names, folders)
    assert len(table(text)) == len(names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("cat\n\ndog\n", "line 2 is blank, which would shift every class after it"),
        ("index,name\n1,cat\n2,dog\n", "has no row for index 0, but one for 2: number the outputs from 0 to 1"),
        ("index,name\n0,cat\n0,dog\n", "line 3: the index 0 stands there twice"),
        ("index,name\n0,cat\nx,dog\n", "line 3: expected index,name.* but found 'x,dog'"),
        ("index,name,folder\n0,cat,a\n1,dog\n", "line 3: expected index,name"),
        ("index,name,folder\n0,cat,a\n1,dog,a\n", "gives the folder 'a' to two outputs"),
    ],
)
def test_class_files_that_do_not_fit(text: str, message: str, table: Callable[[str], ClassTable]) -> None:
    with pytest.raises(DataError, match=message):
        table(text)


def test_a_class_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.txt does not exist"):
        read_class_table(tmp_path / "gone.txt")


@given(st.permutations([f"class {i}" for i in range(12)]), st.integers(1, 12))
def test_names_find_their_outputs(outputs: list[str], count: int) -> None:
    classes = sorted(outputs)[:count]
    aligned = align_labels(classes, outputs)
    assert aligned is not None
    assert [outputs[i] for i in aligned] == classes


def test_folders_come_before_names() -> None:
    both = ClassTable(("b", "a"), ("a", "b"))
    assert align_labels(("a", "b"), both).tolist() == [0, 1]
    assert align_labels(("a", "b"), both.names).tolist() == [1, 0]
    assert align_labels(("tench", "crane"), ClassTable(("crane", "tench"), ("n2", "n1"))).tolist() == [1, 0]


def test_spelling_is_forgiven_but_not_meaning() -> None:
    assert align_labels(("Great_White-Shark", "tench"), ("tench", "great white shark")).tolist() == [1, 0]
    assert align_labels(("shark", "tench"), ("tench", "great white shark")) is None
    assert align_labels(("crane",), ("crane", "crane")) is None  # which of them?
    assert align_labels(("Crane",), ("crane", "Crane")).tolist() == [1]


def test_numbers_are_indices_only_where_that_is_plain() -> None:
    three = ("cat", "dog", "owl")
    assert align_labels(("0", "1", "2"), three).tolist() == [0, 1, 2]
    assert align_labels(("0", "1", "10"), tuple("abcdefghijk")) is None
    eleven = tuple(sorted(map(str, range(11))))  # as folders are sorted: 0, 1, 10, 2, ...
    assert align_labels(eleven, tuple("abcdefghijk")).tolist() == [int(name) for name in eleven]
    assert align_labels(("0", "1"), three) is None
    assert align_labels(("0", "2"), ClassTable(three)).tolist() == [0, 2]
    assert align_labels(("2", "1", "0"), ("0", "1", "2")).tolist() == [2, 1, 0]  # by name


def test_nothing_to_align() -> None:
    assert align_labels((), ("cat",)) is None
    assert align_labels((), ClassTable(("cat",))) is None
    assert align_labels(("cat",), ()) is None


def test_a_table_that_does_not_match_is_an_error() -> None:
    table = ClassTable(("tench", "shark"), ("n01", "n02"), Path("classes.csv"))
    message = (
        r"classes.csv does not match the dataset: 1 of its 2 classes, such as 'n03', are not among the file's 2 fo"
    )
    with pytest.raises(DataError, match=message):
        align_labels(("n01", "n03"), table)
    with pytest.raises(DataError, match=r"'owl', are not among the file's 2 names"):
        align_labels(("owl",), ClassTable(("cat", "dog")))
    with pytest.raises(DataError, match=r"2 of its 2 classes, such as '0'"):
        align_labels(("0", "7"), ClassTable(("cat", "dog")))
