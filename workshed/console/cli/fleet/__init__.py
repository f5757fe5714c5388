"""Commands for the running system: queues, workers, relays, periodic jobs."""
