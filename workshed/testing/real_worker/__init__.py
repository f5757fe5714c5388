"""A real worker in tests."""
