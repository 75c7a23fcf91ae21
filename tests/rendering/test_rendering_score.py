"""Scores against a slow re-implementation with loops, scipy and Pillow."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from rendering_networks import real_directions, tiny_model
from scipy import ndimage

from atlas.errors import RenderError
from atlas.models import Model, as_grid, capture, layer_shapes
from atlas.rendering import render_icons, score_icons
from atlas.rendering.score import most_alike, rank_directions

Picture = NDArray[np.float64]


def grid_of(model: Model, layer: str, picture: Picture) -> Picture:
    """The layer's map (height, width, channels) for one picture (h, w, channels) in [0, 1]."""
    batch = torch.from_numpy(picture.transpose(2, 0, 1)[None].copy()).float()
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (model.preprocess.mean, model.preprocess.std))
    with torch.no_grad(), capture(model.network, [layer]) as run:
        found = run((batch - mean) / std)[layer]
    shape = layer_shapes(model, [layer], tuple(batch.shape[1:]))[layer]  # type: ignore[arg-type]
    return as_grid(found, shape)[0].reshape(shape.height, shape.width, -1).double().numpy()


def cosine(a: Picture, b: NDArray[np.float32]) -> float:
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norms) if norms else 0.0


def sampled(picture: Picture, matrix: Picture, move: Picture) -> Picture:
    """Output pixel p shows the source at matrix @ (p - centre - move) + centre, bilinear, 0.5 outside."""
    size = len(picture)
    middle = (size - 1) / 2
    padded = np.pad(picture, ((1, 1), (1, 1), (0, 0)), constant_values=0.5)
    out = np.full_like(picture, 0.5)
    for row in range(size):
        for column in range(size):
            x, y = matrix @ (np.array([column, row]) - middle - move) + middle
            if not (-1 <= x < size and -1 <= y < size):
                continue
            left, top = math.floor(x), math.floor(y)
            a, b = x - left, y - top
            square = padded[top + 1 : top + 3, left + 1 : left + 3]
            out[row, column] = (
                square[0, 0] * (1 - a) * (1 - b) + square[0, 1] * a * (1 - b)
                + square[1, 0] * (1 - a) * b + square[1, 1] * a * b
            )  # fmt: skip
    return out


def variants(image: NDArray[np.uint8]) -> list[Picture]:
    picture = image / 255
    size, still, none = len(image), np.eye(2), np.zeros(2)
    cosine_8, sine_8 = math.cos(math.radians(8)), math.sin(math.radians(8))
    turn = np.array([[cosine_8, sine_8], [-sine_8, cosine_8]])
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=50)
    return [
        sampled(picture, still, np.array([0.05 * size, 0])),
        sampled(picture, still, np.array([0, -0.05 * size])),
        sampled(picture, turn, none),
        sampled(picture, turn.T, none),
        sampled(picture, still / 0.92, none),
        sampled(picture, still / 1.08, none),
        ndimage.gaussian_filter(picture, (1, 1, 0), mode="mirror", truncate=4),
        np.asarray(Image.open(buffer)) / 255,
    ]


@pytest.mark.parametrize(("kind", "layer"), [("map", "second"), ("map", "head"), ("last", "norm"), ("tokens", "block")])
def test_scores_are_those_of_the_recipe(kind: str, layer: str) -> None:
    model = tiny_model(kind)
    directions = real_directions(model, layer, 3)
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (3, 6, 6, 3), dtype=np.uint8)
    images = np.stack(
        [np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)) for image in coarse]
    )
    scored = score_icons(model, layer, directions, images, device="cpu")
    for index, (image, direction) in enumerate(zip(images, directions, strict=True)):
        grid = grid_of(model, layer, image / 255)
        height, width, _ = grid.shape
        middle = grid[height // 2, width // 2]
        weights = np.array(
            [
                [math.sin(math.pi * (y + 1) / (height + 1)) ** 2 * math.sin(math.pi * (x + 1) / (width + 1)) ** 2
                 for x in range(width)]
                for y in range(height)
            ]
        )  # fmt: skip
        weights /= weights.sum()
        windowed = sum(weights[y, x] * cosine(grid[y, x], direction) for y in range(height) for x in range(width))
        moved = [grid_of(model, layer, variant) for variant in variants(image)]
        robust = np.mean([cosine(other[height // 2, width // 2], direction) for other in moved])
        assert scored.centre[index] == pytest.approx(cosine(middle, direction), abs=1e-5)
        assert scored.windowed[index] == pytest.approx(windowed, abs=1e-5)
        assert scored.strength[index] == pytest.approx(middle @ direction / (direction @ direction), rel=1e-4, abs=1e-5)
        assert scored.robust[index] == pytest.approx(robust, abs=1e-4)
    np.testing.assert_array_equal(scored.images, images)


def test_pictures_of_a_grey_network_are_scored_by_their_lightness() -> None:
    model = tiny_model("grey")
    directions = real_directions(model, "second", 2)
    grey = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), dtype=np.uint8).repeat(3, 3)
    scored = score_icons(model, "second", directions, grey, device="cpu")
    grid = grid_of(model, "second", grey[0, :, :, :1] / 255)
    assert scored.centre[0] == pytest.approx(cosine(grid[4, 4], directions[0]), abs=1e-5)


def test_a_position_of_zeros_has_cosine_zero() -> None:
    model = tiny_model()
    for module in (model.network.second[0],):
        module.bias.data.fill_(-100)
    scored = score_icons(model, "second", np.ones((1, 12)), np.zeros((1, 32, 32, 3), np.uint8), device="cpu")
    assert (scored.centre[0], scored.windowed[0], scored.robust[0], scored.strength[0]) == (0, 0, 0, 0)


def test_pictures_that_are_no_icons_are_refused(model: Model, directions: NDArray[np.float32]) -> None:
    with pytest.raises(RenderError, match=r"images are float64 of shape \(4, 32, 32, 3\): give uint8"):
        score_icons(model, "second", directions, np.zeros((4, 32, 32, 3)))  # type: ignore[arg-type]
    with pytest.raises(RenderError, match="one picture per direction"):
        score_icons(model, "second", directions, np.zeros((3, 32, 32, 3), np.uint8))


def test_the_nearest_direction_is_found_by_comparing_with_each() -> None:
    rng = np.random.default_rng(0)
    directions = rng.gamma(1.0, size=(40, 9)).astype(np.float32)
    pooled = directions + rng.normal(size=(40, 9)).astype(np.float32) * 0.8
    nearest, nearer = rank_directions(pooled, directions)
    middle = directions.mean(0)
    for icon in range(40):
        cosines = [cosine((pooled[icon] - middle).astype(float), direction - middle) for direction in directions]
        assert nearest[icon] == int(np.argmax(cosines))
        assert nearer[icon] == sum(other > cosines[icon] for other in cosines)
    assert 0 < (nearer == 0).sum() < 40


def test_what_cannot_be_compared_counts_as_its_own() -> None:
    alone = np.ones((1, 3), np.float32)
    assert [values.tolist() for values in rank_directions(alone * 2, alone)] == [[0], [0]]
    twins = np.ones((2, 3), np.float32)
    assert rank_directions(twins, twins)[0].tolist() == [0, 1]
    assert rank_directions(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32))[0].shape == (0,)


def test_the_most_alike_is_found_by_comparing_with_each() -> None:
    rng = np.random.default_rng(2)
    directions, others, mean = (rng.gamma(1.0, size=shape).astype(np.float32) for shape in ((1030, 6), (9, 6), (6,)))
    found = most_alike(directions, others, mean)
    for index in (0, 1, 500, 1023, 1024, 1029):
        cosines = [cosine((directions[index] - mean).astype(float), other - mean) for other in others]
        assert found[index] == int(np.argmax(cosines))
    assert most_alike(directions[:0], others, mean).shape == (0,)


def test_an_activation_that_is_not_finite_is_near_to_nothing_and_changes_no_other() -> None:
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(6, 5)).astype(np.float32)
    pooled = directions[[0, 2, 1, 3, 4, 5]]
    broken = pooled.copy()
    broken[4, 2], broken[5, 0] = np.nan, np.inf
    nearest, nearer = rank_directions(broken, directions)
    assert nearest.tolist() == [0, 2, 1, 3, -1, -1]
    assert nearer[4:].tolist() == [6, 6]
    assert nearer[:4].tolist() == rank_directions(pooled, directions)[1][:4].tolist()


def test_an_icon_alone_is_compared_with_nothing() -> None:
    model = tiny_model()
    alone = real_directions(model, "second", 1)
    assert render_icons(model, "second", alone, size=32, device="cpu", steps=2).nearest is None
    assert score_icons(model, "second", alone, np.zeros((1, 32, 32, 3), np.uint8), device="cpu").nearest is None


@pytest.mark.parametrize("scale", [1e-10, 1e-25, 1e15])
def test_angles_do_not_hang_on_a_directions_length(scale: float) -> None:
    model = tiny_model()
    directions = real_directions(model, "second", 3)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    plain, scaled = (score_icons(model, "second", directions * by, images, device="cpu") for by in (1, scale))
    for name in ("centre", "robust", "windowed"):
        np.testing.assert_allclose(getattr(scaled, name), getattr(plain, name), rtol=1e-4)
    np.testing.assert_allclose(scaled.strength * scale, plain.strength, rtol=1e-4)


def test_swapped_pictures_are_nearest_to_each_other_and_not_to_be_believed() -> None:
    model = tiny_model()
    directions = real_directions(model, "second")
    icons = render_icons(model, "second", directions, size=32, device="cpu", steps=64, mean=directions.mean(0))
    assert icons.nearest is not None
    assert icons.nearest.tolist() == [0, 1, 2, 3]
    assert icons.believable(0).all()
    assert not icons.believable(1.01).any()
    swapped = score_icons(model, "second", directions, icons.images[[1, 0, 2, 3]], device="cpu")
    assert swapped.nearest is not None
    assert swapped.nearest.tolist() == [1, 0, 2, 3]
    assert swapped.believable(0).tolist() == [False, False, True, True]
