"""Messages: envelope and signature."""
