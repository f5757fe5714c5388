"""How many jobs run at once: unique keys, limits."""
