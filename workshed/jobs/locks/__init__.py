"""Unique keys, limits and run locks."""
