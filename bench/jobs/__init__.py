"""The same jobs for Workshed and each peer; a worker loads one of these modules."""

import os

PREFETCH = int(os.environ.get("BENCH_PREFETCH", "128"))
"""Deliveries that a Workshed worker prefetches: what docs advise for jobs of a millisecond."""
