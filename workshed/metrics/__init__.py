"""Numbers for Prometheus: what they are, where processes keep them, and their page."""

from workshed.metrics.meter import Counter, Gauge, Histogram

__all__ = ["Counter", "Gauge", "Histogram"]
