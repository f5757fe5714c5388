"""How many of everything a load needs, from what was measured: `python -m bench.capacity`."""
