"""What `atlas health` tells: a record that goes to JSON and comes back, and its table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atlas.errors import DataError
from atlas.findings.health import Cost, Gap, LayerHealth, Rounding, Separability

SCHEMA = 1


@dataclass(frozen=True)
class Health:
    """What `atlas health` tells. layers: in the order in which they run. findings: sentences.

    weights: the network's hash. dataset: its name. other: where a second dataset was given, its name, its images and
    the accuracy on it; `trained` says which of the two the network was trained on.
    """

    model: str
    weights: str
    dataset: str
    images: int
    accuracy: float | None
    layers: tuple[LayerHealth, ...]
    findings: tuple[str, ...]
    other: Other | None = None

    @property
    def title(self) -> str:
        """Which network, on how many images, how accurate: one line."""
        words = f"{self.model}: {self.images:,} images of {self.dataset}{_accuracy(self.accuracy)}"
        if self.other is None:
            return words
        kind = "trained on" if self.other.trained else "held out"
        other = self.other
        return f"{words}; {other.images:,} {kind}, of {other.dataset}{_accuracy(other.accuracy)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"kind": "health", "schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, document: Any, where: str) -> Health:
        """Read what `to_dict` wrote. Raises DataError; where: what the message calls it."""
        try:
            if document["kind"] != "health" or document["schema"] != SCHEMA:
                raise ValueError("of another kind or schema")
            layers = tuple(_layer(layer) for layer in document["layers"])
            other = None if document["other"] is None else Other(**document["other"])
            rest = {name: document[name] for name in ("model", "weights", "dataset", "images", "accuracy")}
            return cls(**rest, layers=layers, findings=tuple(map(str, document["findings"])), other=other)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{where} is no layer health ({error}): make it with 'atlas health PIPELINE.toml --json > {where}'"
            ) from None

    @classmethod
    def read(cls, path: str | Path) -> Health:
        """Read a file that `atlas health --json` printed. Raises DataError."""
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise DataError(
                f"{path} cannot be read as JSON ({error}): make it with 'atlas health PIPELINE.toml --json'"
            ) from None
        return cls.from_dict(document, str(path))

    def table(self) -> list[dict[str, str]]:
        """A line for each layer, for a person; columns that no layer has are left out."""
        rows = [_row(layer) for layer in self.layers]
        filled = [name for name in rows[0] if any(row[name] for row in rows)]
        return [{name: row[name] for name in filled} for row in rows]


@dataclass(frozen=True)
class Other:
    """A second dataset: pictures that the network was trained on, or that were held out."""

    dataset: str
    images: int
    accuracy: float | None
    trained: bool


def _accuracy(value: float | None) -> str:
    return "" if value is None else f", accuracy {value:.1%}"


def _row(layer: LayerHealth) -> dict[str, str]:
    def share(value: float | None) -> str:
        return "" if value is None else f"{value:.0%}"

    def points(cost: Cost | None) -> str:
        if cost is None:
            return ""
        return f"{cost.changed:.1%} flip" if cost.accuracy is None else f"{100 * cost.accuracy:+.1f} pt"

    apart, rounding, gap = layer.separability, layer.rounding, layer.gap
    return {
        "layer": layer.name,
        "kind": layer.kind,
        "units": f"{layer.channels:,}",
        "dead": str(layer.dead),
        "stuck": str(layer.stuck),
        "zeros": share(layer.sparsity),
        "norm": f"{layer.norm:.3g}",
        "gradient": "" if layer.gradient is None else f"{layer.gradient:.2g}",
        "rank": f"{layer.effective_rank:.1f}",
        "spread": "" if layer.spread is None else f"{layer.spread:.2f}",
        "nearest mean": share(apart.centroid if apart else None),
        "probe": share(apart.probe if apart else None),
        "on fitted": share(apart.probe_fitted if apart else None),
        "trained on": share(gap.trained if gap else None),
        "held out": share(gap.held_out if gap else None),
        "half": share(layer.half),
        "8 bit": share(layer.eight_bit),
        "half, accuracy": points(rounding.half if rounding else None),
        "8 bit, accuracy": points(rounding.eight_bit if rounding else None),
        "kB": f"{layer.bytes / 1000:,.1f}",
        "time": share(layer.time_share),
    }


def _layer(values: Mapping[str, Any]) -> LayerHealth:
    values = dict(values)
    kinds: dict[str, Any] = {"separability": Separability, "gap": Gap}
    for name, kind in kinds.items():
        values[name] = None if values[name] is None else kind(**values[name])
    if values["rounding"] is not None:
        rounding = values["rounding"]
        values["rounding"] = Rounding(rounding["images"], Cost(**rounding["half"]), Cost(**rounding["eight_bit"]))
    return LayerHealth(**values)
