"""What follows a failure: retries, discards, dead jobs."""
