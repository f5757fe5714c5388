"""Records of what has happened already, for deduplication."""
