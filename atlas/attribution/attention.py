"""Where a transformer's tokens look: attention per block and head, and its rollout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from atlas.errors import AttributionError
from atlas.models import Model
from atlas.models.effects import plain_attention
from atlas.models.layers import classify_calls, record_calls


@dataclass(frozen=True)
class Attention:
    """One picture's attention.

    weights: float32 (blocks, heads, tokens, tokens), row i is where token i looks, and sums to 1. height, width: the
    grid of tokens. prefix: how many stand before it, CLS first.
    """

    weights: NDArray[np.float32]
    height: int
    width: int
    prefix: int

    @property
    def maps(self) -> NDArray[np.float32]:
        """Where CLS looks (without one: where tokens look on average), float32 (blocks, heads, height, width)."""
        rows = self.weights[:, :, 0] if self.prefix else self.weights.mean(2)
        return rows[:, :, self.prefix :].reshape(*rows.shape[:2], self.height, self.width)

    @property
    def rollout(self) -> NDArray[np.float32]:
        """Attention followed through all blocks, half of each block being its shortcut: float32 (height, width).

        The product of (mean over heads + identity) / 2, read at CLS. Abnar and Zuidema 2020, section 3.
        """
        tokens = self.weights.shape[-1]
        through = np.eye(tokens)
        for block in self.weights.astype(np.float64).mean(1):
            through = (block + np.eye(tokens)) / 2 @ through
        row = through[0] if self.prefix else through.mean(0)
        return row[self.prefix :].reshape(self.height, self.width).astype(np.float32)


class _Listen(TorchFunctionMode):
    """Notes the weights of every attention that runs, whichever module calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[torch.Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "scaled_dot_product_attention":
            self.heard.append(_weights(dict(zip(_ORDER, args, strict=False)) | kwargs))
        elif name == "multi_head_attention_forward":
            out, weights = func(*args, **{**kwargs, "need_weights": True, "average_attn_weights": False})
            self.heard.append(weights)
            return out, weights if kwargs.get("need_weights", True) else None
        return func(*args, **kwargs)


# The order of scaled_dot_product_attention's arguments; of them the value and the dropout do not change the weights.
_ORDER = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale")


def _weights(given: Mapping[str, Any]) -> torch.Tensor:
    """The weights of one call of scaled_dot_product_attention, by its arguments' names."""
    query, key, mask, scale = given["query"], given["key"], given.get("attn_mask"), given.get("scale")
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if given.get("is_causal"):
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return functional.softmax(scores, -1)


def attention_maps(model: Model, picture: torch.Tensor) -> Attention:
    """Read the attention of all blocks for one picture, (channels, height, width), uint8 or normalised floats.

    Raises AttributionError for a network without attention over all of a picture's tokens, such as a convolutional
    one or one of windows (Swin).
    """
    batch = picture[None].to(model.device)
    batch = batch if batch.is_floating_point() else model.preprocess.normalise(batch)
    size = (int(batch.shape[1]), int(batch.shape[2]), int(batch.shape[3]))
    listen = _Listen()
    with torch.no_grad(), plain_attention(), listen:
        model.network(batch)
    heard = [weights[0] for weights in listen.heard if weights.ndim == 4 and len(weights) == 1]
    heard = [weights for weights in heard if weights.shape == heard[0].shape and weights.shape[1] == weights.shape[2]]
    shapes = classify_calls(model.network, record_calls(model.network, size, model.device), size)
    tokens = next(
        (
            shape
            for shape in shapes.values()
            if heard and shape is not None and shape.kind == "tokens"
            if shape.prefix + shape.height * shape.width == heard[0].shape[-1]
        ),
        None,
    )
    if tokens is None:
        raise AttributionError(
            f"{model.name} has no attention over all of a picture's tokens, so there is none to show"
        )
    weights = torch.stack(heard).float().cpu().numpy()
    return Attention(weights, tokens.height, tokens.width, tokens.prefix)
