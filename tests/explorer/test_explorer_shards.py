"""Shards: packed numbers, safe JSON, and that each holds what the atlas says, at the right place."""

from __future__ import annotations

import base64
import io
import itertools
import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from atlas.explorer.answers import answers_by_layer
from atlas.explorer.encode import contact_sheet, number, pack, picture_uri, to_json
from atlas.explorer.header import page_header
from atlas.explorer.patchbook import PAGE, PatchBook
from atlas.explorer.points import PointBook, live_points, percents, tally, tiles_of
from atlas.explorer.shards import Shards
from atlas.explorer.shelf import Shelf
from atlas.explorer.site import shard_name
from atlas.storage.atlas import Atlas

POINT_TYPES = {
    "row": "<u4", "x": "<u2", "y": "<u2", "image": "<u4", "label": "<i4", "prediction": "<i4", "confidence": "u1"
}  # fmt: skip


def picture(uri: str) -> np.ndarray:
    assert uri.startswith("data:image/jpeg;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_json_comes_back_and_no_parser_can_misread_it(value: object) -> None:
    text = to_json(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


def test_json_refuses_what_it_cannot_say() -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_json({"value": float("nan")})


@given(st.floats())
def test_number_is_finite_or_absent(value: float) -> None:
    said = number(value)
    if np.isfinite(value):
        assert said == pytest.approx(value, rel=1e-3)
    else:
        assert said is None


@given(
    hnp.arrays(st.sampled_from([np.dtype(t) for t in ("u1", "<u2", ">u2", "<i4", ">i4")]), hnp.array_shapes(max_dims=2))
)
def test_packed_numbers_are_little_endian(values: np.ndarray) -> None:
    read = np.frombuffer(base64.b64decode(pack(values)), values.dtype.newbyteorder("<"))
    np.testing.assert_array_equal(read, values.reshape(-1))


def test_contact_sheet_counts_slots_from_the_top_left() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    sheet = contact_sheet({1: red}, 2, 4)
    assert (sheet[:4, 4:] == red).all()
    assert (sheet[4:] == 255).all()
    assert (sheet[:4, :4] == 255).all()


def test_tiles_hold_every_cell_once_and_its_own_icon(planted: Atlas) -> None:
    shards = Shards(planted)
    layer = planted.layers[1]
    level = layer.levels[1]
    seen = set()
    for ty in range(2):
        for tx in range(2):
            tile = shards.value("tile", 1, 1, tx, ty)
            sheet = picture(tile["icons"])
            for cell in tile["cells"]:
                # Slots count down from the top, rows of cells up from the bottom.
                column, row = tx * 8 + cell["slot"] % 8, ty * 8 + 7 - cell["slot"] // 8
                index = level.find(column, row)
                assert index is not None
                seen.add(index)
                counts = level.statistics.label_counts[index]
                pairs = np.reshape(cell["labels"], (-1, 2))
                assert dict(pairs.tolist()) == {int(c): int(counts[c]) for c in np.flatnonzero(counts)}
                assert (np.diff(pairs[:, 1]) <= 0).all()
                assert cell["images"] == level.level.images[index]
                assert cell["samples"] == level.level.samples[index]
                assert cell["icon"] == level.has_icon[index]
                if cell["icon"]:
                    top, left = cell["slot"] // 8 * 96, cell["slot"] % 8 * 96
                    drawn = sheet[top : top + 96, left : left + 96].astype(int)
                    assert np.abs(drawn - level.icon(index)).mean() < 6
    assert seen == set(range(len(level)))


def test_details_name_the_cells_patches(planted: Atlas) -> None:
    shards, layer = Shards(planted), planted.layers[0]
    level = layer.levels[0]
    details = shards.value("detail", 0, 0, 0, 0)["cells"]
    assert set(details) == {str(cell["slot"]) for cell in shards.value("tile", 0, 0, 0, 0)["cells"]}
    for detail in list(details.values())[::7]:
        patches = [p for p in level.patches[detail["cell"]].tolist() if p >= 0]
        for patch, record in zip(patches, detail["patches"], strict=True):
            row = layer.patch_rows[patch]
            assert record["image"] == layer.samples.image[row]
            assert record["id"] == planted.images.ids[record["image"]]
            assert record["label"] == planted.images.label[record["image"]]
            assert record["box"] == pytest.approx(layer.samples.box[row].tolist(), abs=1e-3)
        best = detail["patches"][0]["page"]
        sent = picture(shards.value("patch", 0, best[0])["pictures"][best[1]])
        assert np.abs(sent.astype(int) - layer.patch(patches[0])).mean() < 6


def test_real_pictures_lie_in_the_slots_of_their_cells(planted: Atlas) -> None:
    shards, level = Shards(planted), planted.layers[0].levels[2]
    sent = shards.value("real", 0, 2, 1, 2)["pictures"]
    for slot, uri in sent.items():
        cell = level.find(8 + int(slot) % 8, 16 + 7 - int(slot) // 8)
        assert cell is not None
        wanted = planted.layers[0].patch(int(level.patches[cell, 0]))
        assert np.abs(picture(uri).astype(int) - wanted).mean() < 6
    assert len(sent) == len(shards.cells(0, 2).in_tile(1, 2))


def test_a_shard_of_images_agrees_with_the_atlas(planted: Atlas) -> None:
    shard = Shards(planted).value("image", 2)
    assert shard["ids"] == planted.images.ids[128:192]
    assert shard["label"] == planted.images.label[128:192].tolist()
    sheet = picture(shard["sheet"])
    for image in (128, 137, 191):
        top, left = (image - 128) // 8 * 96, (image - 128) % 8 * 96
        assert np.abs(sheet[top : top + 96, left : left + 96].astype(int) - planted.thumbnail(image)).mean() < 6


def test_a_shelf_reads_each_picture_once_and_in_order() -> None:
    asked: list[int] = []

    def read(index: int) -> np.ndarray:
        asked.append(index)
        return np.full((8, 8, 3), index * 10, np.uint8)

    shelf = Shelf(read, 20)
    first = shelf.uris([9, 3, 9])
    assert asked == [3, 9]
    assert [int(picture(uri).mean()) for uri in first] == pytest.approx([90, 30, 90], abs=2)
    shelf.fill()
    assert sorted(asked) == list(range(20))
    assert shelf.uris([3]) == first[1:2]


def test_a_patch_book_holds_each_shown_patch_once_and_cells_together(planted: Atlas) -> None:
    layer, book = planted.layers[0], PatchBook(planted.layers[0])
    shown = np.unique(np.concatenate([level.patches[level.patches >= 0] for level in layer.levels]))
    np.testing.assert_array_equal(np.sort(book.order), shown)
    np.testing.assert_array_equal(book.place[book.order], np.arange(len(shown)))
    coarse = layer.levels[0].patches
    for cell in coarse:
        pages = {int(book.place[p]) // PAGE for p in cell if p >= 0}
        assert len(pages) <= 2


def test_points_are_the_samples_on_the_map(planted: Atlas) -> None:
    shards, samples, images = Shards(planted), planted.layers[0].samples, planted.images
    shard = shards.value("points", 0, 0, 0, 0)
    column = {name: np.frombuffer(base64.b64decode(shard[name]), kind) for name, kind in POINT_TYPES.items()}
    rows = live_points(samples.positions, samples.state)
    np.testing.assert_array_equal(np.sort(column["row"]), rows)
    assert shards.points[0].total == len(rows) == len(samples) - 2
    order = column["row"]
    np.testing.assert_allclose(column["x"] / 65535, samples.positions[order, 0], atol=1e-4)
    np.testing.assert_allclose(column["y"] / 65535, samples.positions[order, 1], atol=1e-4)
    np.testing.assert_array_equal(column["image"], samples.image[order])
    np.testing.assert_array_equal(column["label"], images.label[samples.image[order]])
    np.testing.assert_array_equal(column["confidence"], np.floor(100 * images.confidence[samples.image[order]] + 1e-4))


@pytest.mark.parametrize("limit", [1, 7, 100, 1798, 5000])
def test_slices_hold_every_sample_once_each_in_its_tile(planted: Atlas, limit: int) -> None:
    samples = planted.layers[0].samples
    book = PointBook(samples, limit=limit)
    found = []
    for slice_, tx, ty in book.tiles():
        rows = book.rows(slice_, tx, ty)
        side = tiles_of(slice_)
        for x, y in samples.positions[rows]:
            assert (min(side - 1, int(x * side)), min(side - 1, int(y * side))) == (tx, ty)
        found += rows.tolist()
    assert sorted(found) == live_points(samples.positions, samples.state).tolist()
    assert book.ends[0] == min(limit, 1798)
    assert book.ends[-1] == 1798
    assert all(after <= 2 * before for before, after in itertools.pairwise(book.ends))


def test_a_first_slice_is_an_even_thinning(planted: Atlas) -> None:
    samples = planted.layers[0].samples
    first = PointBook(samples, limit=600).rows(0, 0, 0)
    label = planted.images.label[samples.image]
    share, whole = (np.bincount(label[rows][label[rows] >= 0]) for rows in (first, np.arange(len(samples))))
    # 600 of 1,798 drawn without replacement: 5 standard deviations of a class's count are 43.
    assert np.abs(share - whole * 600 / 1798).max() < 43


def test_the_density_counts_every_sample_in_its_square(planted: Atlas) -> None:
    samples, counts = planted.layers[0].samples, PointBook(planted.layers[0].samples).density()
    slow = np.zeros_like(counts)
    for x, y in samples.positions[live_points(samples.positions, samples.state)]:
        slow[min(255, int(y * 256)), min(255, int(x * 256))] += 1
    np.testing.assert_array_equal(counts, slow)


def test_the_tally_counts_what_filters_look_at(planted: Atlas) -> None:
    samples, images = planted.layers[0].samples, planted.images
    rows = live_points(samples.positions, samples.state)
    slow = Counter(
        (int(images.label[i]), int(images.prediction[i]), int(np.floor(float(images.confidence[i]) * 100 + 1e-4)))
        for i in samples.image[rows]
    )
    assert {
        tuple(row[:3]): row[3]
        for row in tally(samples.image[rows], images.label, answers_by_layer(planted)[0]).tolist()
    } == slow


def test_percents_round_down_and_keep_what_is_unknown() -> None:
    told = np.array([0, 0.29, 0.57, 0.999, 1, np.nan], np.float32)
    assert percents(told).tolist() == [0, 29, 57, 99, 100, 255]


def test_places_are_where_an_images_samples_lie(planted: Atlas) -> None:
    samples = planted.layers[1].samples
    shard = Shards(planted).value("places", 1, 2)
    live = live_points(samples.positions, samples.state)
    for image in (128, 150, 191):
        here = [(x, y) for at, x, y in zip(shard["image"], shard["x"], shard["y"], strict=True) if at == image]
        wanted = samples.positions[live[samples.image[live] == image]]
        np.testing.assert_allclose(here, wanted, atol=1e-4)


def test_the_nearest_cells_are_those_of_the_most_alike_means(planted: Atlas) -> None:
    cells = Shards(planted).cells(0, 1)
    level, mean = cells.level.level, cells.level.arrays("mean")["mean"].astype(float)
    for cell in (0, 5, len(level.column) - 1):
        alike = [
            (float(mean[i] @ mean[cell] / np.linalg.norm(mean[i]) / np.linalg.norm(mean[cell])), i)
            for i in np.flatnonzero(level.kept)
            if i != cell
        ]
        wanted = [(int(level.column[i]), int(level.row[i])) for _, i in sorted(alike, reverse=True)[:6]]
        assert [(column, row) for column, row, _ in cells.nearest(cell)] == wanted


def test_effects_of_a_class_are_those_of_the_cells(planted: Atlas) -> None:
    cells = Shards(planted).cells(0, 2)
    shard, statistics = cells.effects_of(0), cells.level.statistics
    for output in range(len(planted.outputs)):
        of = shard["classes"][str(output)]
        cell, value = (
            np.frombuffer(base64.b64decode(of[name]), kind) for name, kind in (("cell", "<u4"), ("value", "<f4"))
        )
        for i, own in zip(cell, value, strict=True):
            at = statistics.effect_class[i].tolist().index(output)
            assert statistics.effect_value[i, at] == own
    with pytest.raises(LookupError):
        cells.effects_of(1)


def test_live_points_leave_out_outliers_and_what_has_no_place() -> None:
    positions = np.array([[0.5, 0.5], [np.nan, 0.5], [1.5, 0.5], [1, 0], [0.2, 0.2]], np.float32)
    assert live_points(positions, np.array([0, 2, 2, 1, 2], np.uint8)).tolist() == [0, 3]


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        *(("tile", numbers) for numbers in ((0, 0, 1, 0), (2, 0, 0, 0), (0, 3, 0, 0), (-1, 0, 0, 0), (0, 0, 0))),
        *(("patch", numbers) for numbers in ((0, 10**6), (0, -1), (5, 0), (-1, 0))),
        *(("image", (number,)) for number in (10**6, -1)),
        *(
            ("real", (0, 0, 0, -1)),
            ("detail", (0, 0, 0, 9)),
            ("points", (2, 0, 0, 0)),
            ("points", (0, 1, 0, 0)),
            ("cells", (0, 9)),
            ("places", (0, 99)),
            ("etc", (0,)),
            ("_tile", (0, 0, 0, 0)),
        ),
    ],
)
def test_numbers_out_of_range_are_refused(planted: Atlas, kind: str, numbers: tuple[int, ...]) -> None:
    with pytest.raises(LookupError):
        Shards(planted).value(kind, *numbers)


def test_without_pictures_no_shard_holds_one(planted: Atlas) -> None:
    shards = Shards(planted, pictures=False)
    kinds = {kind for kind, _ in shards.all_keys()}
    assert not kinds & {"real", "patch"}
    for kind in ("real", "patch"):
        with pytest.raises(LookupError):
            shards.value(kind, *(0,) * (4 if kind == "real" else 2))
    assert all(shards.value("image", n)["sheet"] is None for n in range(3))


def test_every_key_has_its_shard(hostile: Atlas) -> None:
    shards = Shards(hostile)
    names = [shard_name(key) for key in shards.all_keys()]
    assert len(names) == len(set(names))
    for kind, numbers in shards.all_keys():
        to_json(shards.value(kind, *numbers))
    to_json(page_header(shards, "site", "site"))


def test_the_header_knows_which_tiles_exist(planted: Atlas) -> None:
    shards = Shards(planted)
    for level in page_header(shards, "site", "site")["layers"][0]["levels"]:
        bits = np.unpackbits(np.frombuffer(base64.b64decode(level["tiles"]), np.uint8), bitorder="little")
        tiles = level["side"] // 8
        there = {(int(i) % tiles, int(i) // tiles) for i in np.flatnonzero(bits)}
        assert there == set(shards.cells(0, level["level"]).tiles)


def test_a_picture_survives_its_uri() -> None:
    gradient = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    assert np.abs(picture(picture_uri(gradient)).astype(int) - gradient).mean() < 4


def test_the_explorer_never_imports_torch(planted: Atlas) -> None:
    code = (
        "import sys; from atlas.explorer import figure; from atlas.explorer.shards import Shards; "
        "from atlas.explorer.header import page_header; from atlas.storage.atlas import open_atlas; "
        f"figure(page_header(Shards(open_atlas({str(planted.path)!r})), 'site', 'site')); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_scores_say_which_icons_to_believe(planted: Atlas) -> None:
    cells = Shards(planted).cells(0, 1)
    believable, nearest = cells.level.trust.believable, cells.level.trust.nearest
    assert 0 < believable[cells.level.has_icon].sum() < cells.level.has_icon.sum()
    for cell in np.flatnonzero(cells.level.has_icon):
        told = cells.scores(int(cell))
        assert told is not None
        assert told["believable"] == believable[cell]
        other = nearest[cell] != cell
        where = [int(cells["column"][nearest[cell]]), int(cells["row"][nearest[cell]])] if other else None
        assert told["shows"] == where
    kept = np.frombuffer(base64.b64decode(cells.table()["kept"]), "<f4")
    np.testing.assert_array_equal(kept, cells.level.layout_trust)
