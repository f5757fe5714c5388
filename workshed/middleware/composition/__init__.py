"""Jobs that follow from jobs: batches, callbacks, groups, results."""
