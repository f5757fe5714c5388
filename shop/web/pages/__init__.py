"""Pages of the service in the console."""
