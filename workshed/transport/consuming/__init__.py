"""Consuming: from a delivery to its outcome."""
