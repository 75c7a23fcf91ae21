from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from atlas.config import PreprocessConfig
from atlas.errors import ModelError, PictureError
from atlas.models import Preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    shape = (height, width) if mode == "L" else (height, width, 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), mode)


def ramp(width: int, height: int) -> Image.Image:
    """Red grows to the right and green downwards, by shares of the picture."""
    y, x = np.mgrid[:height, :width]
    blue = np.zeros_like(x)
    return Image.fromarray(np.stack([(x + 0.5) / width * 255, (y + 0.5) / height * 255, blue], -1).astype(np.uint8))


sides = st.integers(3, 90)


@settings(max_examples=60, deadline=None)
@given(
    width=sides, height=sides, resize=st.integers(4, 70), crop=st.integers(2, 80), seed=st.integers(0, 9),
    mode=st.sampled_from(["bilinear", "bicubic", "nearest"]),
)  # fmt: skip
def test_equals_torchvisions_transforms(width, height, resize, crop, seed, mode) -> None:
    image = noise(width, height, seed=seed)
    transforms = ImageClassification(
        crop_size=crop, resize_size=resize, mean=MEAN, std=STD, interpolation=InterpolationMode(mode)
    )
    preprocess = Preprocess.from_transforms(transforms)
    pixels = preprocess.picture(image)
    unscaled = ImageClassification(
        crop_size=crop, resize_size=resize, mean=(0.0,) * 3, std=(1.0,) * 3, interpolation=InterpolationMode(mode)
    )
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, (unscaled(image) * 255).round().byte().numpy())
    found = preprocess.normalise(torch.from_numpy(pixels)[None])[0]
    assert found.dtype == torch.float32
    assert torch.allclose(found, transforms(image), atol=1e-6, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    width=sides, height=sides, mode=st.sampled_from(["center", "squash", "border"]),
    pct=st.sampled_from([0.7, 0.875, 0.95, 1.0]), size=st.sampled_from([(32, 32), (24, 40)]),
)  # fmt: skip
def test_equals_timms_transforms(width, height, mode, pct, size) -> None:
    timm = pytest.importorskip("timm")
    image = noise(width, height)
    config = {
        "input_size": (3, *size), "interpolation": "bicubic", "mean": MEAN, "std": STD, "crop_pct": pct,
        "crop_mode": mode,
    }  # fmt: skip
    expected = timm.data.create_transform(**config, is_training=False)(image)
    preprocess = Preprocess.from_timm(config)
    found = preprocess.normalise(preprocess.stack([preprocess.picture(image)]))[0]
    assert preprocess.input_shape == (3, *size)
    assert torch.allclose(found, expected, atol=1e-6, rtol=0)


def test_reads_the_weights_of_every_torchvision_classifier() -> None:
    from torchvision import models

    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            transforms = weights.transforms()
            preprocess = Preprocess.from_transforms(transforms)
            assert preprocess.input_shape == (3, transforms.crop_size[0], transforms.crop_size[0])
            assert [preprocess.resize] == transforms.resize_size
            assert preprocess.interpolation == transforms.interpolation.value


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(MEAN, STD, resize=64, crop=(48, 48)),
        Preprocess(MEAN, STD, resize=(40, 60)),
        Preprocess(MEAN, STD, resize=(60, 60), crop=(50, 40), fit="cover"),
        Preprocess(MEAN, STD, crop=(31, 63)),
        Preprocess(MEAN, STD, resize=50),
    ],
)
@pytest.mark.parametrize("size", [(200, 100), (90, 240), (128, 128)])
def test_visible_box_is_what_the_network_sees(preprocess, size) -> None:
    pixels = preprocess.picture(ramp(*size)).astype(float) / 255
    left, top, right, bottom = preprocess.visible_box(*size)
    _, height, width = pixels.shape
    # The centre of the first and last pixel, in shares of the original picture.
    x = left + (np.arange(width) + 0.5) / width * (right - left)
    y = top + (np.arange(height) + 0.5) / height * (bottom - top)
    assert np.abs(pixels[0].mean(0) - x)[1:-1].max() < 0.012
    assert np.abs(pixels[1].mean(1) - y)[1:-1].max() < 0.012


def test_a_box_of_the_input_shows_the_same_pixels_in_the_picture() -> None:
    preprocess = Preprocess(MEAN, STD, resize=100, crop=(80, 60))
    image = ramp(300, 150)
    boxes = preprocess.to_picture_boxes([[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.5, 0.25]], [300, 300], 150)
    pixels = preprocess.picture(image) / 255
    for box, (left, top, right, bottom) in zip(boxes, [(15, 40, 45, 80), (0, 0, 30, 20)], strict=True):
        inside = pixels[:, top:bottom, left:right]
        assert np.allclose(inside[0].mean(), (box[0] + box[2]) / 2, atol=0.01)
        assert np.allclose(inside[1].mean(), (box[1] + box[3]) / 2, atol=0.01)


def test_padding_is_no_part_of_the_picture() -> None:
    preprocess = Preprocess((0.5,), (0.5,), crop=(40, 40))
    assert preprocess.visible_box(20, 30) == (0, 0, 1, 1)
    box = preprocess.to_picture_boxes([[0, 0, 0.1, 0.1]], 20, 30)[0]
    assert np.allclose(box, [0, 0, 1 / 20, 1 / 30])
    assert preprocess.picture(noise(20, 30))[:, 0].max() == 0


@settings(max_examples=50, deadline=None)
@given(width=sides, height=sides, resize=st.integers(4, 60), crop=st.one_of(st.none(), st.integers(2, 70)))
def test_boxes_stay_inside_the_picture(width, height, resize, crop) -> None:
    preprocess = Preprocess(MEAN, STD, resize=resize, crop=None if crop is None else (crop, crop))
    boxes = np.random.default_rng(0).random((20, 4))
    boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1)
    found = preprocess.to_picture_boxes(boxes, width, height)
    assert found.dtype == np.float32
    assert (found >= 0).all()
    assert (found <= 1).all()
    assert (found[:, :2] < found[:, 2:]).all()


def test_grey_networks_read_grey_pictures() -> None:
    preprocess = Preprocess.from_config(PreprocessConfig(mean=(0.1307,), std=(0.3081,), resize=28, crop=28, channels=1))
    image = noise(28, 28)
    assert np.array_equal(preprocess.picture(image)[0], np.asarray(image.convert("L")))
    assert np.array_equal(preprocess.picture(noise(28, 28, "L"))[0], np.asarray(noise(28, 28, "L")))
    assert preprocess.input_shape == (1, 28, 28)


def test_one_value_serves_all_channels() -> None:
    assert Preprocess((0.5,), (0.25,)).mean == (0.5, 0.5, 0.5)
    with pytest.raises(ModelError, match="mean has 2 values for 3 channels"):
        Preprocess((0.5, 0.5), (0.25,))


def test_grey_and_transparent_pictures_become_rgb() -> None:
    preprocess = Preprocess(MEAN, STD, resize=10, crop=(10, 10))
    for mode in ("L", "RGBA", "P", "CMYK"):
        assert preprocess.picture(noise(12, 14).convert(mode)).shape == (3, 10, 10)


def test_pictures_of_different_sizes_are_refused_with_the_remedy() -> None:
    preprocess = Preprocess(MEAN, STD, resize=16)
    assert preprocess.input_shape is None
    same = [preprocess.picture(noise(20, 30)), preprocess.picture(noise(20, 30, seed=1))]
    assert preprocess.stack(same).shape == (2, 3, 24, 16)
    with pytest.raises(ModelError, match=r"different sizes \(24x16, 16x24\).*add crop"):
        preprocess.stack([same[0], preprocess.picture(noise(30, 20))])


def test_denormalise_undoes_normalise() -> None:
    preprocess = Preprocess(MEAN, STD)
    batch = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(preprocess.denormalise(preprocess.normalise(batch)), batch / 255, atol=1e-6)


def test_every_field_changes_the_fingerprint() -> None:
    base = {"mean": MEAN, "std": STD}
    variants = [
        base, {**base, "mean": (0.5,)}, {**base, "std": (0.5,)}, {**base, "resize": 32}, {**base, "resize": (32, 32)},
        {**base, "crop": (32, 32)}, {**base, "interpolation": "bicubic"}, {**base, "fit": "cover"},
        {"mean": (0.5,), "std": (0.5,), "channels": 1},
    ]  # fmt: skip
    assert len({Preprocess(**variant).fingerprint for variant in variants}) == len(variants)


def test_unknown_transforms_are_refused() -> None:
    with pytest.raises(ModelError, match="give torchvision's classification transforms"):
        Preprocess.from_transforms(lambda image: image)


@pytest.mark.parametrize("size", [(1, 50_000), (50_000, 1)])
@pytest.mark.parametrize("preprocess", [
    Preprocess(MEAN, STD, resize=256, crop=(224, 224)),
    Preprocess(MEAN, STD, resize=(256, 250), crop=(224, 224), fit="cover"),
])  # fmt: skip
def test_a_strip_is_refused_before_it_fills_the_memory(size: tuple[int, int], preprocess: Preprocess) -> None:
    with pytest.raises(PictureError, match=r"too large once resized: .* would become .*square"):
        preprocess.picture(Image.new("RGB", size))


def test_a_strip_that_is_not_enlarged_beyond_the_limit_is_read() -> None:
    assert Preprocess(MEAN, STD, resize=8, crop=(8, 8)).picture(Image.new("RGB", (1, 50_000))).shape == (3, 8, 8)
    fitted = Preprocess(MEAN, STD, resize=(32, 32), crop=(32, 32), fit="contain")
    assert fitted.picture(Image.new("RGB", (1, 50_000))).shape == (3, 32, 32)
    large = Image.new("L", (8_000, 7_000), 9)  # no resize: nothing is made larger than what was decoded
    assert Preprocess((0.5,), (0.5,), channels=1).picture(large).shape == (1, 7_000, 8_000)
