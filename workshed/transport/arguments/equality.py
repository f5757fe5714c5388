"""Compare a value with what a worker will read."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any


def is_same(value: Any, other: Any) -> bool:
    """Return whether two values are equal, or have equal parts.

    Python says that a `datetime` in the hour in which clocks are set back, or forward, equals none
    of another zone. A dataclass with `eq=False` equals only itself.
    """
    if value == other:
        return True
    if type(value) is not type(other):
        return False
    if isinstance(value, datetime):
        return _strip_zone(value) == _strip_zone(other) and value.utcoffset() == other.utcoffset()
    if isinstance(value, list | tuple):
        return len(value) == len(other) and all(map(is_same, value, other))
    fields, others = _read_parts(value), _read_parts(other)
    if fields is None or others is None or fields.keys() != others.keys():
        return False
    return all(is_same(fields[name], others[name]) for name in fields)


def read_fields(value: Any) -> Mapping[str, Any] | None:
    """Return the fields that a dataclass, a model or a struct compares; `None` for others."""
    if dataclasses.is_dataclass(value):
        compared = [field.name for field in dataclasses.fields(value) if field.compare]
        return {name: getattr(value, name) for name in compared}
    names = getattr(type(value), "__struct_fields__", None)  # of msgspec
    if names is not None:
        return {name: getattr(value, name) for name in names}
    if hasattr(type(value), "__pydantic_fields__"):
        return {**vars(value), **(value.__pydantic_extra__ or {})}
    return None


def _read_parts(value: Any) -> Mapping[Any, Any] | None:
    if isinstance(value, dict):
        return value
    fields = read_fields(value)
    private = getattr(value, "__pydantic_private__", None)
    return fields if not private else {**(fields or {}), **private}


def _strip_zone(value: datetime) -> datetime:
    return value.replace(tzinfo=None, fold=0)
