"""Events for browsers."""
