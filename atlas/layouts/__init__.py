"""Layouts: activations to positions in the unit square, positions to cells, cells to what they hold."""

from atlas.layouts.cells import describe_cells
from atlas.layouts.comparing import layout_between, turn_onto
from atlas.layouts.grid import bin_into_cells, choose_levels, gridded, measure_levels
from atlas.layouts.layout import compute_layout

__all__ = [
    "bin_into_cells",
    "choose_levels",
    "compute_layout",
    "describe_cells",
    "gridded",
    "layout_between",
    "measure_levels",
    "turn_onto",
]
