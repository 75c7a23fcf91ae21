"""A user's own columns, joined by id: read, joined, served, drawn."""

from __future__ import annotations

import base64
import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from looking import EXPLORER, FRAME, Settle, Visit, addressed, link_of, pixels
from planted import HOSTILE
from typer.testing import CliRunner

from atlas.cli import app
from atlas.errors import AtlasError
from atlas.explorer import export, start_server
from atlas.explorer.columns import CATEGORIES, STEPS, UNKNOWN, ColumnTable
from atlas.explorer.editions import Editions
from atlas.explorer.points import live_points
from atlas.explorer.shards import Shards
from atlas.storage.atlas import Atlas

IDS = [f"a/{i}.jpg" for i in range(200)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_numbers_fall_into_even_steps_by_id(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    value = dict(zip(IDS, rng.normal(size=len(IDS)).tolist(), strict=True))
    value[IDS[3]] = 1e9  # one odd value must not leave all others one colour
    shuffled = rng.permutation(IDS[:150]).tolist()
    path = write(tmp_path / "a.csv", [{"size": value[i], "id": i} for i in shuffled] + [{"size": 1, "id": "other"}])
    joined = ColumnTable(path).join(IDS)
    (column,) = joined.columns
    there = np.array([value[i] for i in IDS[:150]])
    low, high = np.percentile(there, [2, 98])
    for i, image in enumerate(IDS[:150]):
        wanted = min(9, max(0, int((value[image] - low) / (high - low) * STEPS // 1)))
        assert column.codes[i] == wanted, image
    assert (column.codes[150:] == UNKNOWN).all()
    assert len(set(column.codes[:150].tolist())) == STEPS
    assert column.summary()["known"] == 150
    assert joined.words == "a.csv: 50 of 200 images have no row in it, 1 of its 151 rows no image"


def test_an_image_may_be_called_na(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [{"id": name, "size": i} for i, name in enumerate(["NA", "null", "nan", "b"])])
    (column,) = ColumnTable(path).join(["b", "nan", "NA", "null"]).columns
    assert (column.codes != UNKNOWN).all()


def test_texts_are_told_by_the_commonest(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    text = [f"camera {n}" for n in np.minimum(rng.geometric(0.08, len(IDS)), 40)]
    text[5] = ""
    (column,) = (
        ColumnTable(write(tmp_path / "t.csv", [{"id": i, "by": t} for i, t in zip(IDS, text, strict=True)]))
        .join(IDS)
        .columns
    )
    counts = Counter(t for t in text if t)
    wanted = sorted(counts, key=lambda t: (-counts[t], t))
    assert len(wanted) > CATEGORIES
    assert list(column.categories[:CATEGORIES]) == wanted[:CATEGORIES]
    assert column.categories[CATEGORIES] == f"{len(wanted) - CATEGORIES} other values"
    for code, t in zip(column.codes, text, strict=True):
        assert code == (UNKNOWN if not t else min(CATEGORIES, wanted.index(t)))


def test_one_value_dates_and_truths_are_columns_too(tmp_path: Path) -> None:
    rows = [{"id": i, "one": 5, "day": "2026-11-21", "ok": "true", "none": "", "part": "nan"} for i in IDS]
    rows[0]["part"] = 2.5
    columns = {c.name: c for c in ColumnTable(write(tmp_path / "o.csv", rows)).join(IDS).columns}
    assert set(columns) == {"one", "day", "ok", "part"}
    assert (columns["one"].codes == 0).all()
    assert columns["one"].summary()["scale"] == [5, 5]
    assert columns["day"].categories == ("2026-11-21",)
    assert columns["ok"].categories == ("true",)
    assert columns["part"].summary()["range"] == [2.5, 2.5]
    assert columns["part"].summary()["scale"] == [2.5, 2.5]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name,size\na,1\n", "needs one column 'id'"),
        ("id\na\n", "at least one other"),
        ("id,size\na,1\na,2\n", "the id 'a' more than once"),
        ("id,size\nx,1\n", "none of the atlas's 200 ids, such as 'a/0.jpg'"),
        ("id,size\na/0.jpg,\n", "no value for any"),
        ("id,size\na,1,2\n", "is no CSV"),
        ("", "is no CSV"),
        (None, "cannot be read"),
    ],
)
def test_an_odd_table_is_one_sentence(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "odd.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(AtlasError, match=words) as told:
        ColumnTable(path).join(IDS)
    assert "\n" not in str(told.value)


def test_a_shard_holds_the_codes_and_another_table_is_another_edition(planted: Atlas, tmp_path: Path) -> None:
    rows = [{"id": one, "n": i} for i, one in enumerate(planted.images.ids)]
    tables = [ColumnTable(write(tmp_path / name, rows[:length])) for name, length in (("a.csv", 600), ("b.csv", 500))]
    editions = [Editions(planted.path, columns=table) for table in tables]
    assert len({*(one.newest()[0] for one in editions), Editions(planted.path).newest()[0]}) == 3
    shards = editions[1].newest()[1]
    assert editions[1].words == "b.csv: 100 of 600 images have no row in it, 0 of its 500 rows no image"
    assert ("column", (0,)) in set(shards.all_keys())
    codes = np.frombuffer(base64.b64decode(shards.value("column", 0)["codes"]), np.uint8)
    np.testing.assert_array_equal(codes, tables[1].join(planted.images.ids).columns[0].codes)
    with pytest.raises(LookupError):
        shards.value("column", 1)
    with pytest.raises(LookupError):
        Shards(planted).value("column", 0)


def test_the_command_says_what_is_wrong_and_what_has_no_row(planted: Atlas, tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", [{"id": one, "n": i} for i, one in enumerate(planted.images.ids[:400])])
    done = CliRunner().invoke(app, ["export", str(planted.path), str(tmp_path / "site"), "--columns", str(path)])
    assert done.exit_code == 0, done.output
    assert "200 of 600 images have no row" in done.stderr
    script = (tmp_path / "site" / "data" / "column" / "0.js").read_text()
    assert json.loads(script.split(",", 1)[1].rstrip(";\n)"))["codes"]


@pytest.mark.browser
def test_samples_wear_the_colours_of_a_column(visit: Visit, planted: Atlas, tmp_path: Path, settle: Settle) -> None:
    rows = [{"id": one, "even & <b>": "even" if i % 2 == 0 else "odd"} for i, one in enumerate(planted.images.ids)]
    site = export(planted, tmp_path / "site", columns=write(tmp_path / "c.csv", rows[:400]))
    with start_server(planted, columns=tmp_path / "c.csv") as handle:
        for url in (handle.url, site.as_uri()):
            page = visit(url)
            page.get_by_label("Colour").select_option("column0")
            page.get_by_text("400 of 600 images have a value in this column.").wait_for()
            page.evaluate(f"{EXPLORER}.set({{ points: 'only' }})")
            settle(page)
            assert "colour=column0" in link_of(page)
            assert page.locator(".legend h3").inner_text() == "even & <b>"
            _check_colours(page, planted)


def _check_colours(page: Any, planted: Atlas) -> None:
    samples, seen, frame = planted.layers[0].samples, pixels(page), page.evaluate(FRAME)
    live = live_points(samples.positions, samples.state)
    x = frame["left"] + (samples.positions[live, 0] - frame["x"]) * frame["scale"]
    y = frame["top"] + (frame["y"] - samples.positions[live, 1]) * frame["scale"]
    tried = right = 0
    for row, at_x, at_y in zip(live, x, y, strict=True):
        if (np.hypot(x - at_x, y - at_y) < 7).sum() > 1:
            continue
        image = int(samples.image[row])
        # "even" and "odd" are equally common: in the order of their names.
        wanted = [0x8A, 0x8F, 0x98] if image >= 400 else [[0x3F, 0x90, 0xDA], [0xFF, 0xA9, 0x0E]][image % 2]
        around = seen[round(at_y) - 1 : round(at_y) + 2, round(at_x) - 1 : round(at_x) + 2].reshape(-1, 3)
        tried += 1
        right += np.abs(around - wanted).max(axis=1).min() < 40
    assert tried > 50
    assert right > 0.95 * tried, (right, tried)


def kept_by(planted: Atlas, passes: np.ndarray) -> int:
    """Samples on the map whose images pass."""
    samples = planted.layers[0].samples
    return int(passes[samples.image[live_points(samples.positions, samples.state)]].sum())


@pytest.mark.browser
@pytest.mark.parametrize("home", ["server", "thinned server", "site"])
def test_samples_are_filtered_by_columns(
    visit: Visit, planted: Atlas, tmp_path: Path, settle: Settle, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if home == "thinned server":
        monkeypatch.setattr(Shards.__init__, "__kwdefaults__", {**Shards.__init__.__kwdefaults__, "limit": 300})
    rng = np.random.default_rng(0)
    size, kind = rng.normal(100, 20, 600).round(3), rng.integers(0, 3, 600)
    names = ["oak", "elm", "ash"]
    rows = [{"id": one, "size": size[i], "tree": names[kind[i]]} for i, one in enumerate(planted.images.ids)]
    path, known = write(tmp_path / "c.csv", rows[:500]), np.arange(600) < 500
    with start_server(planted, columns=path) as handle:
        page = visit(export(planted, tmp_path / "site", columns=path).as_uri() if home == "site" else handle.url)

        def left(words: str) -> None:
            page.locator(".status").get_by_text(words).wait_for()
            settle(page)
            page.wait_for_timeout(300)  # the panel follows a moment later, and a click while it moves goes astray

        page.locator("summary").get_by_text("tree", exact=True).click()
        page.get_by_role("group", name="tree").get_by_text("elm").click()
        wanted = known & (kind == 1)
        left(f"{kept_by(planted, wanted):,} of 1,798 samples: tree: elm")
        page.get_by_role("group", name="tree").get_by_text("ash").click()
        wanted = known & (kind != 0)
        left(f"{kept_by(planted, wanted):,} of 1,798 samples: tree: ")
        page.locator("summary").get_by_text("size", exact=True).click()
        page.get_by_label("size, least").fill("95.5")
        page.get_by_label("size, least").press("Enter")
        wanted &= size >= 95.5
        left(f"{kept_by(planted, wanted):,} of 1,798 samples: size at least 95.5; tree: ")
        page.get_by_label("size, most").fill(str(size[7]))
        page.get_by_label("size, most").press("Enter")
        wanted &= size <= size[7]  # the very value is within
        left(f"{kept_by(planted, wanted):,} of 1,798 samples: size 95.5 to {size[7]}")
        addressed(page)
        again = visit(link_of(page))
        again.locator(".status").get_by_text(f"{kept_by(planted, wanted):,} of 1,798 samples: size 95.5 to").wait_for()
        again.get_by_text("Show all").click()
        again.locator(".passing").get_by_text("1,798 of 1,798 samples").wait_for()


@pytest.mark.browser
@pytest.mark.parametrize("nonsense", ["9:1", "0:x..y", "1:77", "0:9..1;1:", "::;;,", "0:1..2..3;1:-1"])
def test_a_broken_column_in_a_link_filters_nothing(visit: Visit, planted: Atlas, tmp_path: Path, nonsense: str) -> None:
    rows = [{"id": one, "size": i, "tree": "oak"} for i, one in enumerate(planted.images.ids)]
    with start_server(planted, columns=write(tmp_path / "c.csv", rows)) as handle:
        page = visit(f"{handle.url}#where={nonsense}")
        page.locator(".passing").get_by_text("1,798 of 1,798 samples").wait_for()


@pytest.mark.browser
def test_hostile_columns_stay_text(visit: Visit, hostile: Atlas, tmp_path: Path, settle: Settle) -> None:
    rows = [{"id": one, HOSTILE[0]: HOSTILE[i % len(HOSTILE)]} for i, one in enumerate(hostile.images.ids)]
    with start_server(hostile, columns=write(tmp_path / "h.csv", rows)) as handle:
        page = visit(handle.url)
        page.evaluate("window.alerted = 0; window.alert = () => window.alerted++; 0")
        page.get_by_label("Colour").select_option("column0")
        page.get_by_text("160 of 160 images have a value in this column.").wait_for()
        assert page.locator(".legend h3").inner_text() == HOSTILE[0]
        assert page.evaluate("window.alerted") == 0
