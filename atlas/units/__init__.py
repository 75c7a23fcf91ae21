"""Single units: pictures of what raises them, and a page of a layer's channels with all that is known of each."""

from atlas.units.evidence import Evidence, study_units
from atlas.units.run import Unit, render_units

__all__ = ["Evidence", "Unit", "render_units", "study_units"]
