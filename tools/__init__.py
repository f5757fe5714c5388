"""Tools for maintainers: generated documentation, moving modules. Not in the wheel."""
