"""The network beside an atlas: what it answers, and that nothing asked of it can do harm."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from atlas.datasets import load_manifest
from atlas.errors import AtlasError, DataError
from atlas.pipeline import build
from atlas.storage import open_atlas
from atlas.workshop import Workshop
from atlas.workshop.client import LARGEST_PICTURE
from atlas.workshop.requests import (
    Fine,
    FineRequest,
    Located,
    LocateRequest,
    Place,
    Ready,
    Refused,
    Working,
    from_line,
    to_line,
)
from tests.tiny import write_tiny_pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workshop")
    build(write_tiny_pipeline(folder), folder / "tiny.atlas")
    return folder


@pytest.fixture(scope="module")
def workshop(folder: Path) -> Iterator[Workshop]:
    with Workshop(folder / "tiny.toml", folder / "tiny.atlas") as running:
        yield running


def encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_a_picture_of_the_dataset_falls_on_its_own_samples(folder: Path, workshop: Workshop) -> None:
    atlas, source = open_atlas(folder / "tiny.atlas"), load_manifest(folder / "pictures.toml")
    layer, number = atlas.layers[1], 7
    found = workshop.locate(1, encoded(source.read(number)))
    assert (found.width, found.height) == source.read(number).size
    assert found.classes[0][0] == atlas.images.prediction[number]
    assert found.classes[0][1] == pytest.approx(float(atlas.images.confidence[number]), abs=1e-4)
    places = {(round(place.u, 4), round(place.v, 4)): place for place in found.places}
    own = [row for row in np.flatnonzero(layer.samples.image == number) if np.isfinite(layer.samples.positions[row, 0])]
    assert own
    for row in own:
        u, v = layer.samples.uv[row].tolist()
        place = places[(round(u, 4), round(v, 4))]
        assert place.cosine > 0.99
        near = layer.samples.positions[place.sample] - (place.x, place.y)
        assert np.abs(near).max() < 1e-6
    assert all(0 <= place.x <= 1 and 0 <= place.y <= 1 for place in found.places)


def test_a_cell_gets_a_fine_icon(folder: Path, workshop: Workshop) -> None:
    icon = workshop.fine(0, 1, 3, size=64)
    with Image.open(io.BytesIO(icon.picture)) as picture, Image.open(io.BytesIO(icon.cut_out)) as cut_out:
        assert (picture.size, picture.mode) == ((64, 64), "RGB")
        assert (cut_out.size, cut_out.mode) == ((64, 64), "RGBA")
        assert np.asarray(picture).std() > 5
    assert workshop.busy is None


def test_what_is_no_picture_is_refused_and_the_network_goes_on(workshop: Workshop) -> None:
    with pytest.raises(AtlasError, match=r"picture|image"):
        workshop.locate(1, b"<svg onload=alert(1)>")
    with pytest.raises(DataError, match="the most is"):
        workshop.locate(1, b"\0" * (LARGEST_PICTURE + 1))
    with pytest.raises(AtlasError, match="cells 0 to"):
        workshop.fine(0, 0, 10_000, size=64)
    with pytest.raises(AtlasError, match="give 64 to 512"):
        workshop.fine(0, 0, 0, size=9_000)
    assert workshop.locate(1, encoded(Image.new("L", (90, 70), 99))).places


def test_a_process_that_dies_is_started_again(workshop: Workshop) -> None:
    picture = encoded(Image.new("RGB", (64, 64), (200, 10, 10)))
    before = workshop.locate(0, picture)
    assert workshop._child is not None
    workshop._child.process.kill()
    workshop._child.process.wait()
    assert workshop.locate(0, picture) == before


def test_another_network_or_a_missing_store_is_told_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    other = write_tiny_pipeline(tmp_path)
    (tmp_path / "tinynet.py").write_text(
        (tmp_path / "tinynet.py").read_text().replace("manual_seed(3)", "manual_seed(4)")
    )
    with Workshop(other, folder / "tiny.atlas") as running, pytest.raises(AtlasError, match="other weights"):
        running.locate(0, encoded(Image.new("RGB", (64, 64))))
    moved = folder / "tiny.store"
    moved.rename(folder / "away.store")
    try:
        with (
            Workshop(folder / "tiny.toml", folder / "tiny.atlas") as running,
            pytest.raises(AtlasError, match=r"is missing .*: bring it back"),
        ):
            running.locate(0, encoded(Image.new("RGB", (64, 64))))
    finally:
        (folder / "away.store").rename(moved)


@given(st.binary(max_size=300), st.integers(0, 9), st.text(max_size=40), st.floats(0, 1, width=32))
def test_messages_survive_their_line(data: bytes, number: int, text: str, share: float) -> None:
    place = Place(share, share, share, share, share, number, number)
    for message in (
        LocateRequest(number, data),
        FineRequest(number, number, number, None),
        Fine(data, data),
        Located((place, place), ((number, share),), number, number),
        Ready(),
        Working(text, number, number),
        Refused(text),
    ):
        line = to_line(message)
        assert line.count("\n") == 1
        assert from_line(line) == message


@pytest.mark.parametrize("line", ["{}", "[]", '{"kind": "Path"}', '{"kind": "Ready", "more": 1}', "nothing"])
def test_other_lines_are_no_messages(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own or ours
        from_line(line)


def test_the_network_needs_no_guard_in_a_users_script(folder: Path) -> None:
    code = (
        "import io; from PIL import Image; from pathlib import Path; from atlas.workshop import Workshop\n"
        "print('once'); buffer = io.BytesIO(); Image.new('RGB', (64, 64)).save(buffer, 'PNG')\n"
        f"with Workshop(Path({str(folder / 'tiny.toml')!r}), Path({str(folder / 'tiny.atlas')!r})) as network:\n"
        "    print(len(network.locate(0, buffer.getvalue()).places))\n"
    )
    script = folder / "user.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["once", "225"]


def test_asking_needs_no_torch(folder: Path) -> None:
    code = "import sys, atlas.workshop; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
