"""Authentication and authorization of the console."""
