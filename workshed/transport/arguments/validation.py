"""Check values, in their JSON form, against annotations of any kind; imports pydantic."""

import functools
import json
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from workshed.transport.arguments.mismatch import Mismatch, locate_mismatch
from workshed.transport.arguments.pydantic_hints import adapt_hint


def find_mismatch(value: object, hint: Any) -> Mismatch | None:
    """Return why the JSON form of a value does not fit an annotation; `None` if it fits."""
    adapter = find_adapter(hint)
    if adapter is None:
        return None
    try:
        adapter.validate_json(json.dumps(value, ensure_ascii=False), strict=True)
    except ValidationError as err:
        return describe_failure(value, err)
    return None


def find_adapter(hint: Any) -> TypeAdapter[Any] | None:
    """Return pydantic's validator for an annotation; `None` if pydantic has none."""
    try:
        return _cached_adapter(hint)
    except TypeError:  # the hint has no hash, like `Annotated[int, []]`
        return _build_adapter(hint)


def describe_failure(value: object, error: ValidationError) -> Mismatch:
    """Return the first mismatch that a validation of a JSON value has found."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    text = first["msg"]
    if first["type"].endswith("_parsing"):
        text = text.partition(", ")[0]  # the rest quotes a part of the value, which may be secret
    return locate_mismatch(value, first["loc"], text)


def _build_adapter(hint: Any) -> TypeAdapter[Any] | None:
    try:
        adapter = TypeAdapter(adapt_hint(hint))
    except (PydanticUserError, NameError, TypeError):
        return None
    return adapter if adapter.pydantic_complete else None


_cached_adapter = functools.lru_cache(maxsize=10_000)(_build_adapter)
"""Cached, because building a validator is slow."""
