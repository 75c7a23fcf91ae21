"""Looking at single pictures: which parts speak for a class, and what a layer makes of them."""

from atlas.attribution.activations import ActivationMaps, Filters, activation_maps, first_filters
from atlas.attribution.attention import Attention, attention_maps
from atlas.attribution.attribute import attribute
from atlas.attribution.maps import METHODS, TITLES, Attribution, Balance, Method
from atlas.attribution.parts import Parts, find_parts
from atlas.attribution.sanity import Sanity, sanity_check

__all__ = [
    "METHODS",
    "TITLES",
    "ActivationMaps",
    "Attention",
    "Attribution",
    "Balance",
    "Filters",
    "Method",
    "Parts",
    "Sanity",
    "activation_maps",
    "attention_maps",
    "attribute",
    "find_parts",
    "first_filters",
    "sanity_check",
]
