"""How many jobs run at once: unique keys, concurrency limits and rate limits."""
