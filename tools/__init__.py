"""Generators of documentation from the code; not in the wheel."""
