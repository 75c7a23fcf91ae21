"""A store is the same, byte for byte, however it was interrupted and whatever the number of workers."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import planted_pictures
import pytest
from planted_pictures import PREPROCESS, Pictures, made_model

from atlas.extraction import extract
from atlas.extraction.reading import read_pictures
from atlas.storage import open_store
from atlas.storage.files import BESIDE
from atlas.storage.verify import verify


def contents(store: Path) -> dict[str, bytes]:
    """Every file of a store."""
    return {
        path.relative_to(store).as_posix(): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()
    }


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_do_not_change_the_store(tmp_path: Path, workers: int) -> None:
    broken, bright = (3, 30), (11,)
    for name, count in (("a", 0), ("b", workers)):
        source = Pictures(50, broken=broken, bright=bright)
        extract(source, made_model(), ["deep"], tmp_path / f"{name}.store", batch=8, part=20, workers=count)
    assert contents(tmp_path / "a.store") == contents(tmp_path / "b.store")


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole.store", tmp_path / "killed.store"
    subprocess.run([sys.executable, planted_pictures.__file__, whole, killed, "4"], check=True, timeout=200)
    assert contents(killed) == contents(whole)
    assert verify(killed) == []


def test_ctrl_c_keeps_whole_parts(tmp_path: Path) -> None:
    model = made_model()
    extract(Pictures(50), model, ["deep"], tmp_path / "whole.store", batch=8, part=10)
    before = set(threading.enumerate())

    def interrupt(stage: str, done: int, total: int) -> None:
        assert (stage, total) == ("extract", 50)
        if done >= 28:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(Pictures(50), model, ["deep"], tmp_path / "a.store", batch=8, part=10, progress=interrupt)
    # The second part was being written when the third was interrupted: it is finished all the same.
    assert sorted(p.name for p in (tmp_path / "a.store" / "parts").iterdir()) == ["00000.h5", "00001.h5"]
    assert not any(thread.name.startswith("atlas-") for thread in set(threading.enumerate()) - before)
    source, seen = Pictures(50), []
    extract(source, model, ["deep"], tmp_path / "a.store", batch=8, part=10, progress=lambda *a: seen.append(a))
    assert min(source.reads[:30]) == 20  # then come the pictures that the spectrum is measured on
    assert seen[0] == ("extract", 20, 50)
    assert seen[-1] == ("extract", 50, 50)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert contents(tmp_path / "a.store") == contents(tmp_path / "whole.store")


@pytest.mark.parametrize("damage", ["missing", "truncated", "unfinished file"])
def test_a_damaged_store_is_mended(tmp_path: Path, damage: str) -> None:
    model, store = made_model(), tmp_path / "a.store"
    extract(Pictures(50), model, ["deep"], store, batch=8, part=10)
    whole = contents(store)
    part = store / "parts" / "00003.h5"
    if damage == "missing":
        part.unlink()
    elif damage == "truncated":
        part.write_bytes(part.read_bytes()[:-500])
    else:
        part.rename(part.with_name(f"{BESIDE}1-00003.h5"))
    source = Pictures(50)
    extract(source, model, ["deep"], store, batch=8, part=10)
    assert sorted(source.reads[:10]) == list(range(30, 40))
    assert contents(store) == whole


def test_a_batch_of_another_size_rounds_differently_and_so_is_another_store(tmp_path: Path) -> None:
    one = extract(Pictures(40), made_model(), ["deep"], tmp_path / "a.store", batch=8)
    other = extract(Pictures(40), made_model(), ["deep"], tmp_path / "b.store", batch=5)
    assert one.fingerprint != other.fingerprint
    np.testing.assert_allclose(one.layers["deep"].rows()[:], other.layers["deep"].rows()[:], rtol=2e-3, atol=1e-4)


def test_no_more_pictures_are_read_ahead_than_asked_for() -> None:
    source = Pictures(400)
    pictures = read_pictures(source, PREPROCESS, range(400), workers=2, ahead=32)
    most = 0
    for taken, picture in enumerate(pictures, 1):
        assert picture.index == taken - 1
        most = max(most, len(source.reads) - taken)
    assert most <= 32 + 2 * 8
    assert sorted(source.reads) == list(range(400))


def test_an_error_of_the_source_ends_the_run(tmp_path: Path) -> None:
    class Gone(Pictures):
        def read(self, index: int):
            if index == 25:
                raise OSError("the network drive is gone")
            return super().read(index)

    with pytest.raises(OSError, match="is gone"):
        extract(Gone(50), made_model(), ["deep"], tmp_path / "a.store", batch=8, part=10, workers=2)
    extract(Pictures(50), made_model(), ["deep"], tmp_path / "a.store", batch=8, part=10)
    assert len(open_store(tmp_path / "a.store")) == 50
