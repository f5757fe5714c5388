"""Parse JSON strictly: no NaN, no Infinity, limited depth."""

import json
from typing import Any, NoReturn

DEEPEST = 260
"""Levels. A message that can be sent has at most 254; Python's writer fails below 1000."""


def parse_json(text: str | bytes) -> Any:
    """Parse JSON; raises `ValueError`, also for NaN and Infinity, which Python accepts."""
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as err:
        raise ValueError(str(err)) from None
    if measure_depth(found) > DEEPEST:
        raise ValueError(f"nests deeper than {DEEPEST} levels")
    return found


def measure_depth(value: Any) -> int:
    """Return the number of nested levels; a number or a string has one."""
    levels, values = 0, [value]
    while values:
        levels += 1
        values = [inner for each in values for inner in child_values(each)]
    return levels


def child_values(value: Any) -> list[Any]:
    """Return the values in a list or an object."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(constant)
