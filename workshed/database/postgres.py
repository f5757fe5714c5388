"""What queries need of psycopg, which is imported with the first of them.

Most programs that send jobs only send them to RabbitMQ, and psycopg takes 11 MB.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple, TypeVar

if TYPE_CHECKING:
    import psycopg
    from psycopg.rows import TupleRow
    from psycopg.sql import SQL
    from psycopg.types.json import Jsonb

    Connection = psycopg.Connection[TupleRow]
else:
    Connection = object  # for annotations; `workshed.db.Connection` is the class

Row = TypeVar("Row")


class Statement(NamedTuple):
    """A query in psycopg's style, `%(name)s`, with its values."""

    query: LiteralString
    values: Mapping[str, Any]


class FirstStatement(NamedTuple):
    """A statement that is sent together with BEGIN, and prepared once on each connection."""

    name: bytes
    """Its name in the session."""
    query: LiteralString
    """The query in PostgreSQL's style, `$1`; it returns a single value."""


IDLE = 0
"""The `transaction_status` of a connection outside a transaction."""


def class_row(kind: type[Row]) -> Callable[[Any], Callable[[Sequence[Any]], Row]]:
    """Return a row factory: `kind` is called with the columns of each row as keywords."""

    def for_cursor(cursor: Any) -> Callable[[Sequence[Any]], Row]:
        names = [column.name for column in cursor.description or ()]
        return lambda values: kind(**dict(zip(names, values, strict=True)))

    return for_cursor


def tuple_row(_cursor: Any) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Make each row a tuple, also on a connection with another row factory."""
    return tuple


def to_jsonb(value: object) -> "Jsonb":
    """Return a value as a parameter of type `jsonb`."""
    parameter: Jsonb = importlib.import_module("psycopg.types.json").Jsonb(value)
    return parameter


def to_sql(text: LiteralString) -> "SQL":
    """Return a part of a statement, whose `{}` can be filled with other parts."""
    parameter: SQL = importlib.import_module("psycopg.sql").SQL(text)
    return parameter


def database_now(conn: Connection) -> datetime:
    """Return the current time of PostgreSQL, with which due times are compared."""
    found = conn.execute("SELECT workshed.now()").fetchone()
    assert found is not None  # noqa: S101 -- one row by construction
    now: datetime = found[0]
    return now
