"""The work itself, and what PostgreSQL remembers about jobs."""

__version__ = "0.1.0"
