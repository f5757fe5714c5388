"""The same jobs for each of the peers; a worker loads one of these modules."""

import os

PREFETCH = int(os.environ.get("BENCH_PREFETCH", "128"))
"""Deliveries that a worker of ours holds: what docs advise for jobs of a millisecond."""
