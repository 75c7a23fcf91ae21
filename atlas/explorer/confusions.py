"""What the network takes for what in a cell."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PAIRS_TOLD = 8


def is_wrong(label: NDArray[np.integer], prediction: NDArray[np.integer]) -> NDArray[np.bool_]:
    """True where both are known (not -1) and differ, (images,)."""
    return (label >= 0) & (prediction >= 0) & (label != prediction)


def confusions(label: NDArray[np.integer], prediction: NDArray[np.integer]) -> dict[str, Any]:
    """Wrong predictions of a cell's distinct images, (images,) each, -1 unknown, by label and prediction.

    {"images": how many are wrong, "pairs": [label, prediction, images], the most frequent first and at most
    PAIRS_TOLD, "others": how many of the wrong ones are in no pair told}. Ties are in order of label, then prediction.
    """
    wrong = is_wrong(label, prediction)
    pairs, counts = np.unique(np.stack([label[wrong], prediction[wrong]], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:PAIRS_TOLD]
    told = np.column_stack([pairs[order], counts[order]]).tolist()
    return {"images": int(wrong.sum()), "pairs": told, "others": int(wrong.sum() - counts[order].sum())}
