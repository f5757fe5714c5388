"""Server-sent events for browsers."""
