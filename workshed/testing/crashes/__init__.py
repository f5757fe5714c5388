"""Crashes of workers in tests."""
