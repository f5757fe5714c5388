"""Metrics for Prometheus: their definitions, their storage, and the page `/metrics`."""

from workshed.metrics.metric import Counter, Gauge, Histogram

__all__ = ["Counter", "Gauge", "Histogram"]
