"""Directions of a layer and a network -> icons: feature visualisations, each with its scores."""

from atlas.rendering.icons import render_icons, score_icons
from atlas.rendering.image import faded

__all__ = ["faded", "render_icons", "score_icons"]
