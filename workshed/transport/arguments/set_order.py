"""Write sets in one order, so that equal sets are equal JSON and give equal unique keys."""

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import RootModel

from workshed.transport.arguments.equality import read_fields


def sort_sets(value: Any, form: Any) -> Any:
    """Return the JSON form of a value with the items of every set in order.

    Walks the value, not the schema of pydantic, because pydantic writes a model inside of another
    one with the schema that it has built before.
    """
    if isinstance(value, RootModel):
        return sort_sets(value.root, form)
    if isinstance(form, dict):
        return _sort_in_object(value, form)
    if not isinstance(form, list) or not isinstance(value, list | tuple | set | frozenset):
        return form
    if len(value) != len(form):  # the application writes it in its own way
        return form
    items = [sort_sets(item, written) for item, written in zip(value, form, strict=True)]
    return sorted(items, key=orjson.dumps) if isinstance(value, set | frozenset) else items


def _sort_in_object(value: Any, form: dict[str, Any]) -> dict[str, Any]:
    inner = _read_by_name(value, form)
    return {
        name: sort_sets(inner[name], item) if name in inner else item for name, item in form.items()
    }


def _read_by_name(value: Any, form: dict[str, Any]) -> Mapping[str, Any]:
    """Return the parts of a value by the names that they have in its form."""
    if isinstance(value, Mapping):
        return dict(zip(form, value.values(), strict=True)) if len(value) == len(form) else {}
    known = getattr(type(value), "__pydantic_fields__", {})  # of models and pydantic's dataclasses
    aliases = {name: field.serialization_alias for name, field in known.items()}
    fields = read_fields(value) or {}
    return {aliases.get(name) or name: item for name, item in fields.items()}
