"""Check arguments, in their JSON form, against the annotations of an actor."""

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import PydanticUserError, TypeAdapter, ValidationError

Check = Callable[[object], str | None]
"""Returns what is wrong with a value; `None` if nothing is."""
Checks = Mapping[str, Check]

SINGLE_VALUE_KINDS = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)
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
_EXACT_TYPES: dict[object, tuple[type, ...]] = {
    int: (int,),
    str: (str,),
    bool: (bool,),
    float: (float, int),
}
"""Common types, checked without pydantic because each `send` checks its arguments."""


def build_checks(function: Callable[..., Any]) -> Checks:
    """Return a check for each annotated parameter.

    Parameters have no check if their annotation is missing, has no JSON form, or cannot be
    resolved, for example a name imported only for type checkers. `None` is always accepted if it is
    the default.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return {}
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if (
            name in hints
            and parameter.kind in SINGLE_VALUE_KINDS
            and hints[name] not in (Any, object)
        ):
            found[name] = functools.partial(_find_problem, hints[name], parameter.default is None)
    return found


def find_mismatch(value: object, hint: Any) -> str | None:
    """Return why the JSON form of a value does not fit an annotation; `None` if it fits.

    The value is never quoted, because an argument may be secret.
    """
    exact = _EXACT_TYPES.get(hint) if isinstance(hint, type) else None
    if exact is not None and type(value) in exact:
        return None
    try:
        adapter = _cached_adapter(hint)
    except TypeError:  # the hint has no hash, like `Annotated[int, []]`
        adapter = _build_adapter(hint)
    if adapter is None:
        return None
    try:
        adapter.validate_json(json.dumps(value, ensure_ascii=False), strict=True)
    except ValidationError as err:
        why = err.errors(include_url=False, include_input=False, include_context=False)[0]["msg"]
        return f"{JSON_TYPE_NAMES.get(type(value), type(value).__name__)} does not fit: {why}"
    return None


def _find_problem(hint: Any, takes_none: bool, value: object) -> str | None:  # noqa: FBT001 -- bound once
    return None if value is None and takes_none else find_mismatch(value, hint)


def _build_adapter(hint: Any) -> TypeAdapter[Any] | None:
    """Return a validator of JSON for an annotation; `None` if the annotation has no JSON form."""
    try:
        return TypeAdapter(hint)
    except (PydanticUserError, NameError, TypeError):
        return None


_cached_adapter = functools.lru_cache(maxsize=10_000)(_build_adapter)
"""Cached, because building a validator is slow."""
