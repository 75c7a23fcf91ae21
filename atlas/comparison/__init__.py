"""Two checkpoints or more compared: paired, measured, laid out on one map, and told."""

from atlas.comparison.run import compare

__all__ = ["compare"]
