"""Processes alongside a worker: the relay, and the exporter of metrics and probes."""
