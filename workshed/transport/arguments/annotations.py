"""Read the annotations of a function's parameters."""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, NewType, get_type_hints

if sys.version_info >= (3, 14):
    import annotationlib

UNRESOLVED = (NameError, TypeError, AttributeError, SyntaxError)
"""What an annotation raises that names something that does not exist at run time."""


def resolve_annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of the parameters, without those that cannot be resolved.

    For example, a name that is imported only for type checkers cannot be resolved.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except UNRESOLVED:
        hints = _resolve_one_by_one(inspect.unwrap(function))
    return {name: strip_alias(hint) for name, hint in hints.items() if name != "return"}


def strip_alias(hint: Any) -> Any:
    """Return the type that a `NewType` or a `type` statement stands for."""
    while True:
        if isinstance(hint, NewType):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":  # of `typing` from Python 3.12 on
            try:
                hint = hint.__value__
            except UNRESOLVED:
                return hint
        else:
            return hint


def _resolve_one_by_one(function: Callable[..., Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    names = getattr(function, "__globals__", {})
    for name, annotation in _read_annotations(function).items():
        try:
            found |= get_type_hints(_carrier(name, annotation), names, include_extras=True)
        except UNRESOLVED:
            continue
    return found


def _carrier(name: str, annotation: Any) -> Callable[..., Any]:
    """Return a function with only this annotation, because `get_type_hints` takes no other."""

    def function() -> None: ...

    function.__annotations__ = {name: annotation}
    return function


def _read_annotations(function: Callable[..., Any]) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        return annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(function)


cached_annotations = functools.lru_cache(maxsize=1_000)(resolve_annotations)
"""Cached, because the checks, the codecs and the shape of an actor all need them."""
