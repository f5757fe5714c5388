"""Attempts, runs and results."""
