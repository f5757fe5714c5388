"""Encode and decode structs of msgspec, in programs that use it; Workshed does not need it."""

import re
import sys
from typing import Any

import orjson

from workshed.transport.arguments.json_kinds import Kinds
from workshed.transport.arguments.mismatch import Mismatch, MismatchError, locate_mismatch
from workshed.transport.arguments.unions import collect_kinds

LIBRARY = "msgspec"
PLACE = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


class MsgspecCodec:
    """A codec for structs, and for what else msgspec knows together with them."""

    def __init__(self, hint: Any, schema: dict[str, Any]) -> None:
        self._library: Any = sys.modules[LIBRARY]
        self._hint = hint
        self._schema = schema

    def dump(self, value: Any) -> Any:
        """Return the JSON form of a value; may raise anything for a value of another type."""
        found = self._library.to_builtins(value, str_keys=True, order="deterministic")
        return orjson.loads(orjson.dumps(found))  # which makes lists of tuples

    def load(self, form: Any) -> Any:
        """Return the value of a JSON form; raises `MismatchError`."""
        try:
            return self._library.json.decode(orjson.dumps(form), type=self._hint)
        except self._library.ValidationError as err:
            raise MismatchError(_locate(form, str(err))) from None

    @property
    def kinds(self) -> Kinds:
        """The JSON types of the form, or its values if its type lists them."""
        return collect_kinds(self._schema, self._schema.get("$defs", {}))


def find_msgspec_codec(hint: Any) -> MsgspecCodec | None:
    """Return a codec if the program has imported msgspec, and msgspec knows the annotation."""
    library: Any = sys.modules.get(LIBRARY)
    if library is None:
        return None
    try:
        return MsgspecCodec(hint, library.json.schema(hint))
    except (TypeError, NameError):
        return None


def _locate(form: object, text: str) -> Mismatch:
    """Return the mismatch of an error such as "Expected `int`, got `str` - at `$.lines[0]`"."""
    reason, _, path = text.partition(" - at `$")
    places = [name or int(number) for name, number in PLACE.findall(path.rstrip("`"))]
    # Some errors quote the value, which may be secret.
    return locate_mismatch(form, places, reason.partition(" '")[0])
