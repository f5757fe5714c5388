"""Commands to set up and to check."""
