"""What operators decide: queues, cancellations, and who did what."""
