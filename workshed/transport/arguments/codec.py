"""Encode and decode the values of one annotation; imports pydantic."""

from typing import Any, Protocol

import orjson
from pydantic import TypeAdapter, ValidationError

from workshed import strict_json
from workshed.transport.arguments.equality import is_same
from workshed.transport.arguments.json_kinds import SCALARS, Kinds
from workshed.transport.arguments.mismatch import Mismatch, MismatchError, name_type
from workshed.transport.arguments.msgspec_codec import find_msgspec_codec
from workshed.transport.arguments.set_order import sort_sets
from workshed.transport.arguments.unions import VALUE, schema_kinds
from workshed.transport.arguments.validation import describe_failure, find_adapter


class ValueCodec(Protocol):
    """Turns values of one annotation into plain JSON, and back."""

    def dump(self, value: Any) -> Any:
        """Return the JSON form of a value; may raise anything for a value of another type."""

    def load(self, form: Any) -> Any:
        """Return the value of a JSON form; raises `MismatchError`."""

    @property
    def kinds(self) -> Kinds:
        """The JSON types of the form, or its values if its type lists them."""


class PydanticCodec:
    """A codec for everything that pydantic knows: also dataclasses, enums, UUIDs and times."""

    def __init__(self, adapter: TypeAdapter[Any]) -> None:
        self._adapter = adapter

    def dump(self, value: Any) -> Any:
        """Return the JSON form of a value; may raise anything for a value of another type."""
        form = self._adapter.dump_python(
            value, mode="json", by_alias=True, round_trip=True, warnings=False
        )
        return sort_sets(value, form)

    def load(self, form: Any) -> Any:
        """Return the value of a JSON form; raises `MismatchError`."""
        try:
            return self._adapter.validate_json(orjson.dumps(form), strict=True)
        except ValidationError as err:
            raise MismatchError(describe_failure(form, err)) from None

    @property
    def kinds(self) -> Kinds:
        """The JSON types of the form, or its values if its type lists them."""
        return schema_kinds(self._adapter, "validation")


class ArgumentCodec:
    """Encodes the values of one parameter, and refuses those that would arrive as others."""

    def __init__(self, values: ValueCodec, title: str, *, takes_none: bool) -> None:
        self._values = values
        self._title = title
        self._takes_none = takes_none

    @property
    def kinds(self) -> Kinds:
        """The JSON types of an argument."""
        found = frozenset(
            SCALARS.get(type(orjson.loads(kind[1:])), "array") if kind.startswith(VALUE) else kind
            for kind in self._values.kinds
        )
        return found | {"null"} if self._takes_none else found

    def encode(self, value: Any) -> Any:
        """Return the JSON form of a value; a value that is such a form already stays as it is.

        Raises `MismatchError` for any other value.
        """
        if value is None and self._takes_none:
            return None
        form, problem = self._try_to_encode(value)
        if problem is None:
            return form
        if strict_json.find_inexact(value, "") is None:
            self.decode(value)
            return value
        raise MismatchError(problem)

    def decode(self, form: Any) -> Any:
        """Return the value of a JSON form; raises `MismatchError`."""
        if form is None and self._takes_none:
            return None
        try:
            return self._values.load(form)
        except MismatchError:
            raise
        except Exception as err:  # a validator of the application may raise anything
            raise MismatchError(
                Mismatch(name_type(form), f"{type(err).__name__} was raised by its type")
            ) from err

    def _try_to_encode(self, value: Any) -> tuple[Any, Mismatch | None]:
        """Return the form, and what is wrong with it: it must give back a value that is equal."""
        try:
            form = self._values.dump(value)
            decoded = self._values.load(form)
        except MismatchError as err:
            if err.mismatch.path:
                return None, err.mismatch
            return None, Mismatch(name_type(value), err.mismatch.expected)
        except Exception:  # noqa: BLE001 -- of the wrong type, or not to be written as JSON
            return None, Mismatch(name_type(value), f"it must be {self._title}")
        if is_same(value, decoded):
            return form, None
        return None, Mismatch(
            name_type(value),
            f"it must be {self._title}, and equal after it was written as JSON and read again",
        )


def build_codec(hint: Any, title: str, *, takes_none: bool) -> ArgumentCodec | None:
    """Return a codec for an annotation; `None` if no library here knows its types."""
    adapter = find_adapter(hint)
    values: ValueCodec | None = (
        find_msgspec_codec(hint) if adapter is None else PydanticCodec(adapter)
    )
    return None if values is None else ArgumentCodec(values, title, takes_none=takes_none)
