"""Commands for what runs: queues, workers, relays, periodic jobs."""
