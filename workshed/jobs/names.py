"""Filters by name: one name, or several of which any matches."""

from collections.abc import Sequence

Names = str | Sequence[str] | None
"""`None` matches every name."""


def to_name_array(names: Names) -> list[str] | None:
    """Return the names as a parameter of type `text[]`, which is NULL for `None`."""
    if names is None:
        return None
    return [names] if isinstance(names, str) else list(names)


def split_names(names: Names) -> tuple[str | None, list[str] | None]:
    """Return a single name, or several as a parameter of type `text[]`; the other is `None`.

    Only `=` with a single name reads an index on the name and a time in the order of the times.
    """
    found = to_name_array(names)
    return (found[0], None) if found is not None and len(found) == 1 else (None, found)
