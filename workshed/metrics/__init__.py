"""Numbers for Prometheus: what they are, where processes keep them, and their page."""
