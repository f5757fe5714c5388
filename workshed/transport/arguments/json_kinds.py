"""The JSON types that the values of an annotation have."""

import collections.abc
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from workshed.transport.arguments.annotations import UNRESOLVED, strip_alias

Kinds = frozenset[str]

ANYTHING = frozenset(("array", "boolean", "integer", "null", "number", "object", "string"))
SCALARS: Mapping[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    NoneType: "null",
    None: "null",
}
ARRAYS = (
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
    collections.abc.Iterable,
)
"""A worker gets a list for each of these, as long as their items are plain."""
OBJECTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def plain_kinds(hint: Any, outer: frozenset[Any] = frozenset()) -> Kinds | None:
    """Return the JSON types of an annotation that JSON represents as it is; `None` for others.

    Arguments of such an annotation are sent and received unchanged. `outer`: the typed dicts and
    the aliases that it is a part of.
    """
    if (target := strip_alias(hint)) is not hint:
        return frozenset() if hint in outer else plain_kinds(target, outer | {hint})
    if hint in (Any, object) or isinstance(hint, TypeVar):
        return ANYTHING
    if isinstance(hint, type | None) and hint in SCALARS:
        return frozenset((SCALARS[hint],))
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return _literal_kinds(inner)
    if origin is Annotated:
        return plain_kinds(inner[0], outer)
    return _composed_kinds(hint, origin, inner, outer)


def _literal_kinds(values: tuple[Any, ...]) -> Kinds | None:
    if any(type(value) not in SCALARS for value in values):
        return None
    return frozenset(SCALARS[type(value)] for value in values)


def _composed_kinds(
    hint: Any, origin: Any, inner: tuple[Any, ...], outer: frozenset[Any]
) -> Kinds | None:
    if is_typeddict(hint):
        return _typed_dict_kinds(hint, outer)
    members = [plain_kinds(item, outer) for item in inner]
    known = [kinds for kinds in members if kinds is not None]
    if len(known) < len(members):
        return None
    if origin in (Union, UnionType):
        return frozenset().union(*known)
    base = hint if origin is None else origin
    if base in ARRAYS:
        return frozenset(("array",))
    has_names = base in OBJECTS and (not inner or inner[0] in (str, Any))
    return frozenset(("object",)) if has_names else None


def _typed_dict_kinds(hint: Any, outer: frozenset[Any]) -> Kinds | None:
    try:
        fields = get_type_hints(hint).values()
    except UNRESOLVED:
        return None
    inside = outer | {hint}
    is_plain = hint in outer or all(plain_kinds(item, inside) is not None for item in fields)
    return frozenset(("object",)) if is_plain else None
