"""What is wrong with an argument, and where; no value is quoted, because it may be secret."""

from collections.abc import Sequence
from typing import Any

from workshed.value_class import value_class

JSON_TYPE_NAMES = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    tuple: "an array",
    dict: "an object",
}


@value_class
class Mismatch:
    """A value that does not fit its annotation."""

    given: str
    expected: str
    path: str = ""
    """Where it is inside of the argument: `.lines[2].price`."""

    def __str__(self) -> str:
        """Return what is wrong, without the path."""
        return f"{self.given} does not fit: {self.expected}"


class MismatchError(Exception):
    """Raised by a codec; callers turn it into an error that names the actor."""

    def __init__(self, mismatch: Mismatch) -> None:
        super().__init__(str(mismatch))
        self.mismatch = mismatch


def locate_mismatch(value: object, places: Sequence[int | str], expected: str) -> Mismatch:
    """Return the mismatch at these keys and indexes of a JSON value.

    A place that the value does not have is left out, for example the name of a member of a union,
    unless it is a missing field, the last of its places.
    """
    path: str = ""
    inner: Any = value
    for number, place in enumerate(places):
        if _has_place(inner, place):
            inner = inner[place]
            path += _format_place(place)
        elif isinstance(inner, dict) and number == len(places) - 1:
            return Mismatch("nothing", expected, f"{path}{_format_place(place)}")
    return Mismatch(name_type(inner), expected, path)


def _has_place(value: object, place: int | str) -> bool:
    if isinstance(value, list):
        return isinstance(place, int) and place < len(value)
    return isinstance(value, dict) and place in value


def name_type(value: Any) -> str:
    """Return the name of a value's type, as JSON calls it."""
    return JSON_TYPE_NAMES.get(type(value), type(value).__name__)


def _format_place(place: int | str) -> str:
    if isinstance(place, str) and place.isidentifier():
        return f".{place}"
    return f"[{place!r}]"
