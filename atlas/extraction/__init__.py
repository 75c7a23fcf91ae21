"""From a dataset and a network to a store of activations, streaming."""

from atlas.extraction.plan import ExtractionPlan, plan_extraction
from atlas.extraction.run import extract
from atlas.extraction.sampling import cells_of, draw_places, relative_places

__all__ = ["ExtractionPlan", "cells_of", "draw_places", "extract", "plan_extraction", "relative_places"]
