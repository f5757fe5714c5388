"""How arguments of a job are shown to people."""

HIDDEN = "[redacted]"
"""Stands for a value that its actor names in `redact=`."""
