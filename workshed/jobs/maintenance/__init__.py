"""Deletes what is old."""
