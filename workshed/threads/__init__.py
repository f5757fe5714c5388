"""Threads of the library that repeat their work until they are stopped."""
