"""Whether arguments are of the types that an actor's annotations say, as JSON has them."""

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import PydanticUserError, TypeAdapter, ValidationError

Check = Callable[[object], str | None]
"""Says what is wrong with a value, or nothing."""
Checks = Mapping[str, Check]

ONE = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)
WORDS = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    tuple: "an array",
    dict: "an object",
}
_EXACT: dict[object, tuple[type, ...]] = {
    int: (int,),
    str: (str,),
    bool: (bool,),
    float: (float, int),
}
"""The usual ones, told without pydantic: each `send` asks."""


def checks_of(function: Callable[..., Any]) -> Checks:
    """Return a check for each parameter that says what it takes.

    There is none for a parameter without an annotation, or with one that means nothing in JSON or
    cannot be read here, as a name that is imported for type checkers alone. `None` is always taken
    where it is the default.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return {}
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in hints and parameter.kind in ONE and hints[name] not in (Any, object):
            found[name] = functools.partial(_problem, hints[name], parameter.default is None)
    return found


def find_mismatch(value: object, hint: Any) -> str | None:
    """Say what is wrong with a value, as JSON has it; nothing where it fits.

    Nothing of the value is quoted: an argument may be secret.
    """
    exact = _EXACT.get(hint) if isinstance(hint, type) else None
    if exact is not None and type(value) in exact:
        return None
    try:
        adapter = _known_adapter(hint)
    except TypeError:  # it has no hash, as `Annotated[int, []]`
        adapter = _made(hint)
    if adapter is None:
        return None
    try:
        adapter.validate_json(json.dumps(value, ensure_ascii=False), strict=True)
    except ValidationError as err:
        why = err.errors(include_url=False, include_input=False, include_context=False)[0]["msg"]
        return f"{WORDS.get(type(value), type(value).__name__)} does not fit: {why}"
    return None


def _problem(hint: Any, takes_none: bool, value: object) -> str | None:  # noqa: FBT001 -- bound once
    return None if value is None and takes_none else find_mismatch(value, hint)


def _made(hint: Any) -> TypeAdapter[Any] | None:
    """Return what checks JSON against an annotation; `None` for what no JSON has a form for."""
    try:
        return TypeAdapter(hint)
    except (PydanticUserError, NameError, TypeError):
        return None


_known_adapter = functools.lru_cache(maxsize=10_000)(_made)
"""It takes long to make one."""
