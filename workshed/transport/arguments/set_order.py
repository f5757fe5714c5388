"""Write sets in one order, so that equal sets are equal JSON and give equal unique keys."""

from typing import Any

import orjson
from pydantic_core import core_schema

SETS = ("set", "frozenset")


def sort_sets(schema: Any) -> Any:
    """Return a copy of a core schema of pydantic in which every set is written in order."""
    if isinstance(schema, list):
        return [sort_sets(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    copied = {name: sort_sets(item) for name, item in schema.items()}
    if copied.get("type") in SETS and "serialization" not in copied:
        copied["serialization"] = core_schema.wrap_serializer_function_ser_schema(_write_in_order)
    return copied


def _write_in_order(values: Any, write: core_schema.SerializerFunctionWrapHandler) -> Any:
    written = write(values)
    return sorted(written, key=orjson.dumps) if isinstance(written, list) else written
