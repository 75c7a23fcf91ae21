"""Looking at single pictures: which parts speak for a class, and what a layer makes of them."""

from atlas.attribution.attribute import attribute
from atlas.attribution.maps import METHODS, TITLES, Attribution, Balance, Method

__all__ = ["METHODS", "TITLES", "Attribution", "Balance", "Method", "attribute"]
