"""Rewrite annotations that pydantic does not read as they are meant; imports pydantic."""

import collections.abc
import enum
import sys
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import typing_extensions
from pydantic import AfterValidator

from workshed.transport.arguments.annotations import strip_alias

ITERATORS = (collections.abc.Iterable, collections.abc.Generator)
"""Pydantic makes iterators of these, which check an item only when the actor gets to it."""


def adapt_hint(hint: Any, outer: frozenset[Any] = frozenset()) -> Any:
    """Return an annotation for pydantic.

    A literal of enum members becomes the enum with a check, because pydantic compares JSON with the
    members themselves. An iterable becomes a list. Before Python 3.12, a `TypedDict` of `typing`
    becomes one of `typing_extensions`, because pydantic reads no other. Fields of classes stay as
    they are, and so do `outer`, the typed dicts and the aliases that it is a part of.
    """
    if (target := strip_alias(hint)) is not hint:
        return hint if hint in outer else adapt_hint(target, outer | {hint})
    if get_origin(hint) is Literal:
        return _adapt_literal(hint)
    if get_origin(hint) in ITERATORS:
        return adapt_hint(list[get_args(hint)[0]], outer)  # type: ignore[misc]
    if sys.version_info < (3, 12) and is_typeddict(hint) and hint not in outer:
        return _copy_typed_dict(hint, outer | {hint})
    inner = get_args(hint)
    adapted = tuple(adapt_hint(item, outer) for item in _types_in(hint, inner))
    if not inner or adapted == _types_in(hint, inner):
        return hint
    return _replace_types(hint, adapted)


def _adapt_literal(hint: Any) -> Any:
    values = get_args(hint)
    kinds = {type(value) for value in values}
    if len(kinds) != 1 or not issubclass(kind := kinds.pop(), enum.Enum):
        return hint

    def refuse_others(value: Any) -> Any:
        if value not in values:
            named = " or ".join(repr(item.value) for item in values)
            raise ValueError(f"Input should be {named}")
        return value

    return Annotated[kind, AfterValidator(refuse_others)]


def _copy_typed_dict(hint: Any, outer: frozenset[Any]) -> Any:
    fields = {
        # `total=` is that of its own fields only, and not of those that it inherits.
        name: adapt_hint(_mark_presence(item, is_required=name in hint.__required_keys__), outer)
        for name, item in get_type_hints(hint, include_extras=True).items()
    }
    make: Any = typing_extensions.TypedDict
    return make(hint.__name__, fields)


def _mark_presence(hint: Any, *, is_required: bool) -> Any:
    if get_origin(hint) in (Required, NotRequired):
        return hint
    return Required[hint] if is_required else NotRequired[hint]


def _types_in(hint: Any, inner: tuple[Any, ...]) -> tuple[Any, ...]:
    return inner[:1] if get_origin(hint) is Annotated else inner


def _replace_types(hint: Any, inner: tuple[Any, ...]) -> Any:
    origin = get_origin(hint)
    if origin is Annotated:
        return Annotated[inner[0], *hint.__metadata__]
    if origin in (Union, UnionType):
        return Union[inner]  # noqa: UP007 -- their number varies
    return hint.copy_with(inner) if hasattr(hint, "copy_with") else origin[inner]
