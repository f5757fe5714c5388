"""JSON as it is specified, every number exact."""

import json
from typing import Any, NoReturn

DEEPEST = 260
"""Levels; a message that can be sent has at most 254, and Python's own writer ends below 1000."""


def loads(text: str | bytes) -> Any:
    """Read it; raises `ValueError`, also for NaN and Infinity, which Python would take."""
    try:
        found = json.loads(text, parse_constant=_refuse)
    except RecursionError as err:
        raise ValueError(str(err)) from None
    if depth(found) > DEEPEST:
        raise ValueError(f"nests deeper than {DEEPEST} levels")
    return found


def depth(value: Any) -> int:
    """Return how many levels it has; a number or a string is one."""
    levels, values = 0, [value]
    while values:
        levels += 1
        values = [inner for each in values for inner in contents(each)]
    return levels


def contents(value: Any) -> list[Any]:
    """Return what a list or an object holds."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
