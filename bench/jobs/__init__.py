"""The same jobs for each of the peers; a worker loads one of these modules."""
