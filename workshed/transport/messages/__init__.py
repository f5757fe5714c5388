"""What a message is: envelope and signature."""
