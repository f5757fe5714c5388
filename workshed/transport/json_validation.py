"""Check values, in their JSON form, against annotations of any kind; imports pydantic."""

import functools
import json
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

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


def find_mismatch(value: object, hint: Any) -> str | None:
    """Return why the JSON form of a value does not fit an annotation; `None` if it fits."""
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


def _build_adapter(hint: Any) -> TypeAdapter[Any] | None:
    """Return a validator of JSON for an annotation; `None` if the annotation has no JSON form."""
    try:
        return TypeAdapter(hint)
    except (PydanticUserError, NameError, TypeError):
        return None


_cached_adapter = functools.lru_cache(maxsize=10_000)(_build_adapter)
"""Cached, because building a validator is slow."""
