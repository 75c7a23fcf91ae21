"""Parts of a picture: planted groups are found again, and what is told of them is what it says."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.attribution import find_parts
from atlas.errors import AttributionError


def planted(noise: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three regions of a map of 6 x 5, each with channels of its own: values, masks, directions."""
    rng = np.random.default_rng(0)
    masks = np.zeros((3, 6, 5))
    masks[0, :3, :] = 3  # the largest
    masks[1, 3:, :2] = 2
    masks[2, 3:, 2:] = 1
    directions = np.zeros((3, 12))
    for part in range(3):
        directions[part, 4 * part : 4 * part + 4] = rng.uniform(0.5, 1, 4)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    values = np.einsum("khw,kc->chw", masks, directions)
    return values + noise * rng.normal(size=values.shape), masks, directions


def test_planted_parts_are_found_the_largest_first() -> None:
    values, masks, directions = planted()
    found = find_parts(values, 3)
    assert np.abs(found.directions @ directions.T - np.eye(3)).max() < 1e-3
    np.testing.assert_allclose(found.weights, masks, atol=0.02)
    assert found.explained == pytest.approx(1, abs=1e-4)
    assert found.negative == 0
    np.testing.assert_array_equal(found.leading, masks.argmax(0))


def test_what_is_left_out_is_told() -> None:
    values, *_ = planted(noise=0.2)
    found = find_parts(values, 2)
    positive = values.clip(0)
    again = np.einsum("khw,kc->chw", found.weights.astype(float), found.directions.astype(float))
    assert found.explained == pytest.approx(1 - ((positive - again) ** 2).sum() / (positive**2).sum(), abs=1e-4)
    assert found.negative == pytest.approx(1 - (positive**2).sum() / (values**2).sum())
    assert 0.3 < found.explained < 0.99
    assert (found.weights >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(found.directions, axis=1), 1, rtol=1e-5)


def test_the_scale_of_the_values_changes_nothing_else() -> None:
    values, *_ = planted(noise=0.1)
    one, other = find_parts(values, 3), find_parts(values * 1e-6, 3)
    np.testing.assert_allclose(one.directions, other.directions, atol=1e-3)
    np.testing.assert_allclose(one.weights, other.weights * 1e6, atol=1e-2)


def test_fewer_parts_where_less_differs_and_none_where_nothing_is_positive() -> None:
    one = np.einsum("c,hw->chw", np.arange(1.0, 4), np.arange(1.0, 7).reshape(2, 3))
    found = find_parts(one, 4)
    assert len(found) == 1
    assert found.explained == pytest.approx(1, abs=1e-6)
    half = one.copy()
    half[:, 0] = 0
    np.testing.assert_array_equal(find_parts(half, 1).leading[0], [-1, -1, -1])
    with pytest.raises(AttributionError, match="no activation of this picture is positive"):
        find_parts(-one, 2)
    for count in (0, 9):
        with pytest.raises(AttributionError, match="1 to 8 parts"):
            find_parts(one, count)
