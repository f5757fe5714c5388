"""Images: what people upload, and what is made of it."""
