"""Jobs that depend on other jobs: batches, callbacks, groups, results."""
