"""The database of a test."""
