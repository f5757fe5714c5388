"""Whether a delivery may still run: duplicates, cancellations, once."""
