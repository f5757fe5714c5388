"""Benchmarks of Workshed and its peers, in one run: `python -m bench`. Not in the wheel."""
