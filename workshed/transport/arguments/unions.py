"""Refuse unions whose members JSON cannot tell apart; imports pydantic."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import (
    Annotated,
    Any,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import orjson
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from workshed.transport.arguments.annotations import UNRESOLVED, strip_alias
from workshed.transport.arguments.json_kinds import ANYTHING, Kinds, plain_kinds
from workshed.transport.arguments.validation import find_adapter

Schema = Mapping[str, Any]
VALUE = "="
"""Prefix of a single value among JSON types."""


class QuietSchema(GenerateJsonSchema):
    """Does not warn of a default that JSON cannot represent, because only types are read."""

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Drop a warning."""


def find_ambiguous_union(hint: Any) -> str | None:
    """Return two members of a union that have the same JSON form; `None` if all differ.

    For example, `date | str`: a worker could not know which of the two was sent. Looks into
    containers, dataclasses, typed dicts and named tuples. Models of pydantic and msgspec have rules
    of their own, and so has a union with a discriminator.
    """
    return next(_ambiguous_unions(hint, set()), None)


def _ambiguous_unions(hint: Any, seen: set[Any]) -> Iterator[str]:
    if (target := strip_alias(hint)) is not hint:
        if hint not in seen:
            seen.add(hint)
            yield from _ambiguous_unions(target, seen)
        return
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if any(getattr(item, "discriminator", None) for item in inner[1:]):
            return
        inner = inner[:1]
    if origin in (Union, UnionType):
        for one, other in itertools.combinations(inner, 2):
            if _overlap(one, other):
                yield f"{_format_hint(one)} and {_format_hint(other)}"
    for item in (*inner, *_field_hints(hint, seen)):
        yield from _ambiguous_unions(item, seen)


def _field_hints(hint: Any, seen: set[Any]) -> Iterator[Any]:
    has_fields = isinstance(hint, type) and (
        dataclasses.is_dataclass(hint) or is_typeddict(hint) or hasattr(hint, "_fields")
    )
    if not has_fields or hint in seen:
        return
    seen.add(hint)
    try:
        yield from get_type_hints(hint, include_extras=True).values()
    except UNRESOLVED:
        return


def _overlap(one: Any, other: Any) -> bool:
    if plain_kinds(one) is not None and plain_kinds(other) is not None:
        return False  # Python's values and JSON's are the same
    first, second = _form_kinds(one), _form_kinds(other)
    return bool(first & second) or _has_value_of(first, second) or _has_value_of(second, first)


def _has_value_of(values: Kinds, types: Kinds) -> bool:
    """Return whether one of the values has one of the types."""
    names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    single = (orjson.loads(kind[1:]) for kind in values if kind.startswith(VALUE))
    return any(names.get(type(value), "array") in types for value in single)


def _form_kinds(hint: Any) -> Kinds:
    """Return the JSON types, or the single JSON values, that an annotation is written as."""
    if (plain := plain_kinds(hint)) is not None:
        return _with_integers(plain)
    adapter = find_adapter(hint)
    if adapter is None:  # a struct of msgspec, which has rules of its own
        return frozenset()
    return _with_integers(schema_kinds(adapter, "serialization"))


def _with_integers(kinds: Kinds) -> Kinds:
    return kinds | {"integer"} if "number" in kinds else kinds


def schema_kinds(adapter: TypeAdapter[Any], mode: Any) -> Kinds:
    """Return the JSON types of a validator's JSON Schema, and its values if it lists them."""
    try:
        schema = adapter.json_schema(mode=mode, schema_generator=QuietSchema)
    except Exception:  # noqa: BLE001 -- a type of the application may raise anything
        return ANYTHING
    return collect_kinds(schema, schema.get("$defs", {}))


def collect_kinds(schema: Schema, definitions: Schema) -> Kinds:
    """Return the JSON types of a JSON Schema, and its values if it lists them."""
    if "$ref" in schema:
        return collect_kinds(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for name in ("anyOf", "oneOf"):
        if name in schema:
            found = (collect_kinds(one, definitions) for one in schema[name])
            return frozenset().union(*found)
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is not None:
        return frozenset(VALUE + orjson.dumps(value).decode() for value in values)
    kind = schema.get("type")
    return ANYTHING if kind is None else frozenset([kind] if isinstance(kind, str) else kind)


def _format_hint(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
