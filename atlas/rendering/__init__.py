"""Directions of a layer and a network -> icons: feature visualisations, each with its scores."""

from atlas.rendering.icons import render_icons, score_icons

__all__ = ["render_icons", "score_icons"]
