from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.datasets import ImageSource
from atlas.datasets.labels import folder_labels, text_labels
from atlas.errors import ConfigError, DataError

Open = Callable[..., ImageSource]
Write = Callable[..., Path]
Picture = Callable[..., bytes]


@pytest.fixture
def labelled(write: Write, tmp_path: Path, open_data: Open, picture: Picture) -> Callable[[str], ImageSource]:
    """Open four pictures, a.png, sub/b.png, sub/ü 1.png and z.png, under a CSV of this text."""
    root = write({name: picture(0) for name in ("a.png", "sub/b.png", "sub/ü 1.png", "z.png")})

    def opened(text: str, name: str = "labels.csv") -> ImageSource:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return open_data("folder", root, labels=name)

    return opened


def labels_of(source: ImageSource) -> list[str | None]:
    return [source.classes[e.label] if e.label >= 0 else None for e in source.entries()]


@pytest.mark.parametrize(
    "text",
    [
        "a.png,dog\nsub/b.png,cat\nsub/ü 1.png,\nz.png,cat\n",
        "z.png,cat\n\nsub/ü 1.png,\nsub/b.png,cat\na.png,dog",
        "id,label\na.png,dog\nsub/b.png,cat\nsub/ü 1.png,\nz.png,cat\n",
        "\ufeffid,label\r\na.png,dog\r\nsub/b.png,cat\r\nsub/ü 1.png,\r\nz.png,cat\r\n",
        "Label,width,FileName\ndog,1,a.png\ncat,2,sub/b.png\n,3,sub/ü 1.png\ncat,4,z.png\n",
        '"a.png","dog"\nsub/b.png, cat\nsub/ü 1.png,\nz.png,cat,extra\n',
    ],
)
def test_a_csv_of_names(text: str, labelled: Callable[..., ImageSource]) -> None:
    source = labelled(text)
    assert source.classes == ("cat", "dog")
    assert labels_of(source) == ["dog", "cat", None, "cat"]


def test_a_csv_of_numbers_gives_indices(labelled: Callable[..., ImageSource]) -> None:
    source = labelled("a.png,3\nsub/b.png,0\nsub/ü 1.png,\nz.png,1\n")
    assert source.classes == ("0", "1", "2", "3")
    assert [e.label for e in source.entries()] == [3, 0, -1, 1]


def test_numbers_too_great_for_indices_are_names(labelled: Callable[..., ImageSource]) -> None:
    source = labelled("a.png,20001234\nsub/b.png,7\nsub/ü 1.png,7\nz.png,7\n")
    assert source.classes == ("7", "20001234")
    assert labels_of(source) == ["20001234", "7", "7", "7"]


def test_tabs(labelled: Callable[..., ImageSource]) -> None:
    assert labels_of(labelled("a.png\tx\nsub/b.png\ty\nsub/ü 1.png\tx\nz.png\ty\n", "l.tsv")) == list("xyxy")


def test_a_name_composed_in_another_way_is_the_same(labelled: Callable[..., ImageSource]) -> None:
    decomposed = unicodedata.normalize("NFD", "sub/ü 1.png")
    assert labels_of(labelled(f"a.png,x\nsub/b.png,y\n{decomposed},x\nz.png,y\n")) == list("xyxy")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,x\n", r"has no row for 3 of 4 images, such as 'sub/b.png'"),
        (
            "a.png,x\nb.png,x\nsub/ü 1.png,x\nz.png,x\nq.png,y",
            r"labels 2 ids that the dataset does not have, such as 'b.png'; did you mean 'sub/b.png'\?",
        ),
        ("a.png,x\na.png,y\n", r"line 2: 'a.png' has two labels, 'x' and 'y'"),
        ("a.png\n", r"line 1: expected id,label but found 'a.png'"),
        ("id,colour\na.png,x\n", r"has the header 'id,colour', which lacks 'id' or 'label'"),
        ("", r"is empty: it needs rows of id,label"),
        ("a.png,\nsub/b.png,\nsub/ü 1.png,\nz.png,\n", r"gives no image a label"),
    ],
)
def test_csvs_that_do_not_fit(text: str, message: str, labelled: Callable[..., ImageSource]) -> None:
    with pytest.raises(DataError, match=message):
        labelled(text)


def test_a_csv_that_cannot_be_read(write: Write, tmp_path: Path, open_data: Open, picture: Picture) -> None:
    root = write({"a.png": picture(0)})
    with pytest.raises(DataError, match=r"gone.csv does not exist"):
        open_data("folder", root, labels="gone.csv")
    (tmp_path / "latin.csv").write_bytes("a.png,größe\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin.csv is not a CSV in UTF-8"):
        open_data("folder", root, labels="latin.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"folder.csv cannot be read \(Is a directory\)"):
        open_data("folder", root, labels="folder.csv")


def test_a_misspelt_setting(write: Write, open_data: Open, picture: Picture) -> None:
    with pytest.raises(ConfigError, match=r"'labels' is 'folder'; did you mean 'folders'\?"):
        open_data("folder", write({"a/b.png": picture(0)}), labels="folder")


def test_no_labels_on_request(write: Write, open_data: Open, picture: Picture) -> None:
    source = open_data("folder", write({"a/b.png": picture(0)}), labels="none")
    assert source.classes == ()
    assert [e.label for e in source.entries()] == [-1]


@given(st.lists(st.one_of(st.none(), st.integers(0, 300).map(str), st.just("007")), min_size=1))
def test_numbers_are_kept(texts: list[str | None]) -> None:
    labels = text_labels(texts)
    assert labels.values.tolist() == [-1 if t is None else int(t) for t in texts]
    assert labels.classes == tuple(str(i) for i in range(len(labels.classes)))


@given(st.lists(st.sampled_from(["a", "b", "1", "", None, "²"])))
def test_names_are_kept(texts: list[str | None]) -> None:
    labels = text_labels([*texts, "z"])
    found = [labels.classes[i] if i >= 0 else None for i in labels.values]
    assert found == [t or None for t in texts] + ["z"]
    assert list(labels.classes) == sorted(labels.classes)


@given(st.lists(st.sampled_from(["", "a", "b/c", "..", "./a", "train", "train/a", "x//y"]), min_size=1))
def test_any_folders_make_labels_that_fit(folders: list[str]) -> None:
    labels = folder_labels([f"{f}/{i}.png" if f else f"{i}.png" for i, f in enumerate(folders)])
    if labels is None:
        assert all(f in ("", "..") for f in folders)
    else:
        assert len(labels.values) == len(folders)
        assert set(labels.values.tolist()) - {-1} == set(range(len(labels.classes)))
