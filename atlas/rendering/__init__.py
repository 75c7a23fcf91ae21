"""Directions of a layer and a network -> icons: feature visualisations, each with its scores."""

from atlas.rendering.icons import render_icons, score_icons
from atlas.rendering.image import faded
from atlas.rendering.score import most_alike

__all__ = ["faded", "most_alike", "render_icons", "score_icons"]
