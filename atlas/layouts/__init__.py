"""Layouts: activations to positions in the unit square, positions to cells, cells to what they hold."""

from atlas.layouts.cells import describe_cells
from atlas.layouts.grid import bin_into_cells, choose_levels, gridded, measure_levels

__all__ = ["bin_into_cells", "choose_levels", "describe_cells", "gridded", "measure_levels"]
