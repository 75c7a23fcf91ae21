"""Spurious clusters of an atlas: found, tested against the network, judged and kept."""

from atlas.suspects.run import find_suspects

__all__ = ["find_suspects"]
