"""Options of actors as objects: retries, unique keys, limits."""
