"""The chain behind `atlas health`: passes over a dataset, and what they say of every block."""

from atlas.findings.health_record import Health
from atlas.layer_health.run import health

__all__ = ["Health", "health"]
