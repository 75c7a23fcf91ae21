"""A network at one layer, asked about pictures: logits, maps, logits with a map changed, slopes by pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.models import Model, as_grid, capture
from atlas.models.capture import Tap, Watch
from atlas.models.effects import plain_attention
from atlas.records import LayerShape

Pictures = NDArray[np.uint8]
"""Pictures as the network takes them, before they are normalised: (n, channels, height, width)."""
Change = Callable[[torch.Tensor], torch.Tensor]
"""(n, positions, channels) -> the same shape; prefix tokens are among the positions."""


@dataclass(frozen=True)
class Probe:
    """A network, the layer that is looked at, and how an atlas's image is read as the network takes it.

    read(image) gives uint8 (channels, height, width); all images have one size.
    """

    model: Model
    layer: str
    shape: LayerShape
    read: Callable[[int], NDArray[np.uint8]]
    tap: Tap = "output"
    batch: int = 64

    def pictures(self, images: Sequence[int] | NDArray[np.int64]) -> Pictures:
        """Read pictures."""
        return np.stack([self.read(int(image)) for image in images])

    def logits(self, pictures: Pictures, change: Change | None = None) -> NDArray[np.float32]:
        """Logits (n, classes), with the layer's map changed on the way where a change is given."""
        found = []
        for part in self._parts(pictures):
            with torch.inference_mode(), plain_attention():
                if change is None:
                    output = self.model.network(part)
                else:
                    with Watch(self.model.network, [self.layer], self._changed(change), tap=self.tap) as watch:
                        output = self.model.network(part)
                        watch.check_complete()
                found.append(self.model.check_logits(output).cpu().numpy())
        return np.concatenate(found)

    def maps(self, pictures: Pictures) -> NDArray[np.float32]:
        """The layer's map by position: (n, height * width, channels), prefix tokens left out."""
        found = []
        for part in self._parts(pictures):
            with torch.inference_mode(), capture(self.model.network, [self.layer], tap=self.tap) as run:
                found.append(as_grid(run(part)[self.layer], self.shape).float().cpu().numpy())
        return np.concatenate(found)

    def slopes(self, pictures: Pictures, direction: NDArray[np.float32], level: float) -> NDArray[np.float32]:
        """Where in a picture a direction of the layer is answered to: (n, height, width), not negative.

        Of the sum over positions of what the activation has along the direction above `level`: its gradient by pixel,
        squared, summed over the picture's channels.
        """
        found = []
        for part in self._parts(pictures):
            with torch.inference_mode(False), torch.enable_grad(), plain_attention():
                pixels = part.detach().clone().requires_grad_()
                along = torch.from_numpy(direction).to(pixels.device)
                with capture(self.model.network, [self.layer], tap=self.tap) as run:
                    grid = as_grid(run(pixels)[self.layer], self.shape).float()
                above = (grid @ along - level).clamp(min=0).square().sum() / 2
                (slope,) = torch.autograd.grad(above, pixels)
            found.append(slope.square().sum(1).float().cpu().numpy())
        return np.concatenate(found)

    def _parts(self, pictures: Pictures) -> Iterator[torch.Tensor]:
        for start in range(0, len(pictures), self.batch):
            part = torch.from_numpy(pictures[start : start + self.batch]).to(self.model.device)
            yield self.model.preprocess.normalise(part)

    def _changed(self, change: Change) -> Callable[[str, torch.Tensor], torch.Tensor]:
        def see(_: str, tensor: torch.Tensor) -> torch.Tensor:
            if self.shape.kind == "map":
                return change(tensor.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(tensor.shape)
            if self.shape.kind == "map_last":
                return change(tensor.flatten(1, 2)).reshape(tensor.shape)
            return change(tensor) if self.shape.kind == "tokens" else change(tensor[:, None])[:, 0]

        return see


def lowered(direction: NDArray[np.float32], level: float) -> Change:
    """Take from every position what it has along a unit vector above a level."""
    along = torch.from_numpy(direction)

    def change(grid: torch.Tensor) -> torch.Tensor:
        way = along.to(grid.device, grid.dtype)
        above = (grid @ way - level).clamp(min=0)
        return grid - above[..., None] * way

    return change


def raised(direction: NDArray[np.float32], by: NDArray[np.float32]) -> Change:
    """Add so much along a unit vector to each position; by: (positions,), prefix tokens not counted."""
    along, amounts = torch.from_numpy(direction), torch.from_numpy(by)

    def change(grid: torch.Tensor) -> torch.Tensor:
        way = along.to(grid.device, grid.dtype)
        more = amounts.to(grid.device, grid.dtype)
        before = grid.shape[1] - len(more)
        if before:  # prefix tokens get the positions' mean: what is everywhere is in them too
            more = torch.cat([more.mean().expand(before), more])
        return grid + more[:, None] * way

    return change
