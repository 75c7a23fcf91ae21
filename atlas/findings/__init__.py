"""Findings: what may be read off an atlas, and how far; numbers in, numbers out."""

from atlas.findings.quality import Quality, cell_trust, measure_quality, measure_stability

__all__ = ["Quality", "cell_trust", "measure_quality", "measure_stability"]
