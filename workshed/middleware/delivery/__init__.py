"""What a delivery may still do: duplicates, cancellations, once."""
