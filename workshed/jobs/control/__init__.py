"""Operators' controls: queues, workers, cancellations, and the audit log."""
