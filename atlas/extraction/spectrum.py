"""The spectrum that a dataset's pictures share, measured on a few of them."""

from __future__ import annotations

import numpy as np
from scipy import fft

from atlas.datasets import ImageSource
from atlas.errors import DataError, StoreError
from atlas.extraction.reading import read_pictures
from atlas.models import Preprocess
from atlas.models.light import to_light
from atlas.records import Spectrum
from atlas.storage import ActivationStore

PICTURES = 64
"""A coefficient's mean over so many pictures is known to about 7 %: more than an eye can tell."""


def spectrum_of(store: ActivationStore | None, source: ImageSource, preprocess: Preprocess) -> Spectrum:
    """The spectrum that a store holds, else that of the source's pictures, measured now.

    Raises StoreError where the preprocessing fixes no size to measure at, DataError where no picture can be read.
    """
    found = store.spectrum if store is not None else None
    if found is not None:
        return found
    if preprocess.input_shape is None:
        raise StoreError(
            "the preprocessing fixes no size, so the pictures' spectrum has to come from a store: run 'atlas extract' "
            "first"
        )
    found = measure_spectrum(source, preprocess, preprocess.input_shape)
    if found is None:
        raise DataError(f"{source.name} has no picture that can be read: check its manifest")
    return found


def measure_spectrum(
    source: ImageSource, preprocess: Preprocess, shape: tuple[int, int, int], *, workers: int = 0
) -> Spectrum | None:
    """Measure up to 64 pictures, spread evenly over the manifest, as the network gets them.

    shape: (channels, height, width) of its input; pictures that cannot be read, or give another shape, are left out.
    None when no picture is left. The result does not depend on `workers`.
    """
    count = len(source)
    chosen = np.unique(np.linspace(0, count - 1, min(count, PICTURES)).round().astype(int)).tolist()
    channels, height, width = shape
    amplitude = np.zeros((channels, height, width // 2 + 1))
    level, pictures = np.zeros(channels), 0
    for picture in read_pictures(source, preprocess, chosen, workers=workers, ahead=16):
        if picture.pixels is None or picture.pixels.shape != shape:
            continue
        light = to_light(picture.pixels[None])[0]
        amplitude += np.abs(fft.rfft2(light, norm="ortho"))
        level += light.mean((1, 2))
        pictures += 1
    if not pictures:
        return None
    return Spectrum((amplitude / pictures).astype(np.float32), (level / pictures).astype(np.float32), pictures)
