"""Capacity planning: what a load needs, from measured figures: `python -m bench.capacity`."""
