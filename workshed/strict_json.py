"""Find values that would not survive a round trip through JSON.

orjson itself silently writes NaN as null, and dates and UUIDs as strings.
"""

import math

from workshed.duration import Milliseconds

INTEGERS = range(-(2**63), 2**64)
INTEGER_TYPES = (int, Milliseconds)


def find_inexact(value: object, path: str) -> str | None:
    """Return what JSON would change in a value, and where; `None` if it changes nothing."""
    if type(value) is int and value in INTEGERS:  # most arguments are ids
        return None
    match value:
        case list() if type(value) is list:
            inner = (find_inexact(item, f"{path}[{at}]") for at, item in enumerate(value))
            return next(filter(None, inner), None)
        case dict() if type(value) is dict:
            return next(filter(None, (_check_item(key, value[key], path) for key in value)), None)
        case str() if type(value) is str:
            return _check_text(value, path)
    if _is_exact(value):
        return None
    return f"{path}: {value!r:.80} ({type(value).__name__}) does not survive JSON exactly"


def _is_exact(value: object) -> bool:
    match value:
        case None | bool():
            return True
        case int():
            return type(value) in INTEGER_TYPES and int(value) in INTEGERS
        case float():
            return type(value) is float and math.isfinite(value)
    return False


def _check_item(key: object, value: object, path: str) -> str | None:
    if type(key) is not str:
        return f"{path}: key {key!r} is not a string"
    return find_inexact(value, f"{path}[{key!r}]")


def _check_text(value: str, path: str) -> str | None:
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"{path}: {value!r:.80} is not valid Unicode"
    return None
