"""What Workshed does in programs of others that run or plan its jobs: `dramatiq` and `periodiq`."""
