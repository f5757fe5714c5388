"""Processes beside a worker: relay and exporter of metrics."""
