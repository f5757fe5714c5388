"""The effects of jobs, in a form in which two runs can be compared."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from psycopg import sql

from workshed.db import Connection
from workshed.testing import enqueued as rows
from workshed.testing import text
from workshed.testing.database.catalog import CatalogTable, Column, ColumnName
from workshed.value_class import value_class

MOST_LISTED_ROWS = 5
"""Rows of each table that are shown."""

Row = tuple[str | None, ...]


@value_class
class TableContent:
    """The rows of one table, with values that differ between runs normalised."""

    title: str
    columns: Sequence[str]
    rows: Counter[Row]


class DatabaseSnapshot:
    """Reads all tables except Workshed's own, and the waiting jobs.

    A time counts only as set or not, and a job's id only as such. A number that PostgreSQL has
    generated since the start counts by its order in its column, even where a foreign key refers to
    it.
    """

    def __init__(
        self, conn: Connection, tables: Iterable[CatalogTable], ignore: Sequence[str]
    ) -> None:
        """Leave out the columns and tables in `ignore`. Raises `ValueError` for an unknown one."""
        self._conn = conn
        all_ = [table for table in tables if table.schema != "workshed"]
        known = {name for table in all_ for c in table.columns for name in column_names(c)}
        known |= {name for table in all_ for name in (table.name, table.title)}
        if unknown := sorted(set(ignore) - known - {"workshed.schedule"}):
            raise ValueError(f"ignore names neither a column nor a table: {', '.join(unknown)}")
        self._ignore = set(ignore)
        self._tables = [t for t in all_ if self._ignore.isdisjoint((t.name, t.title))]
        self._references = {c.full_name: c.target for t in all_ for c in t.columns if c.target}
        self._statement = _read_statement(self._tables)
        self._initial_numbers = {
            place: set(given) for place, given in self._numbers(self._read()).items()
        }

    def read(self, message_ids: Iterable[str]) -> list[TableContent]:
        """Read all tables; `message_ids` are the ids of the jobs so far."""
        found = self._read()
        ids = dict.fromkeys(message_ids, "id of a job")
        names = {
            place: _name_by_order(
                number for number in given if number not in self._initial_numbers[place]
            )
            for place, given in self._numbers(found).items()
        }
        contents = [
            self._content(table, rows, names, ids)
            for table, rows in zip(self._tables, found, strict=True)
        ]
        if "workshed.schedule" not in self._ignore:
            contents.append(read_waiting_jobs(self._conn))
        return contents

    def _read(self) -> list[list[Row]]:
        found: list[list[Row]] = [[] for _ in self._tables]
        if self._tables:
            for number, row in self._conn.execute(self._statement):
                found[number].append(tuple(row))
        return found

    def _numbers(self, found: Iterable[list[Row]]) -> dict[ColumnName, list[str]]:
        """Return the numbers that PostgreSQL generated, by column, in order."""
        return {
            column.full_name: sorted(filter(None, (row[n] for row in rows)), key=int)
            for table, rows in zip(self._tables, found, strict=True)
            for n, column in enumerate(table.columns)
            if column.is_number
        }

    def _content(
        self,
        table: CatalogTable,
        found: Iterable[Row],
        names: Mapping[ColumnName, Mapping[str, str]],
        ids: Mapping[str, str],
    ) -> TableContent:
        columns = [
            (n, column.name, names.get(self._root(column.full_name), ids))
            for n, column in enumerate(table.columns)
            if self._ignore.isdisjoint(column_names(column))
        ]
        counted = Counter(
            tuple(given.get(row[n] or "", row[n]) for n, _, given in columns) for row in found
        )
        return TableContent(table.title, [name for _, name, _ in columns], counted)

    def _root(self, place: ColumnName) -> ColumnName:
        """Follow foreign keys to the column that the value comes from."""
        seen = {place}
        while (target := self._references.get(place)) and target not in seen:
            place = target
            seen.add(place)
        return place


def _name_by_order(numbers: Iterable[str]) -> dict[str, str]:
    """Name values that differ between runs by their order."""
    return {number: f"new {n}" for n, number in enumerate(numbers, 1)}


def _read_statement(tables: Iterable[CatalogTable]) -> sql.Composed:
    """Read all tables at once, as text, which is exact and comparable for every type."""
    as_text = sql.SQL("{}::text")
    as_time = sql.SQL("CASE WHEN {} IS NOT NULL THEN 'set' END")
    selects = []
    for number, table in enumerate(tables):
        values = [
            (as_time if column.is_time else as_text).format(sql.Identifier(column.name))
            for column in table.columns
        ]
        select = sql.SQL("SELECT {}, ARRAY[{}] FROM {}")
        selects.append(select.format(number, sql.SQL(", ").join(values), table.identifier))
    return sql.SQL(" UNION ALL ").join(selects)


def column_names(column: Column) -> set[str]:
    """Return the names of a column: alone, with its table, and with its schema."""
    table = f"{column.table}.{column.name}"
    return {column.name, table, f"{column.schema}.{table}"}


def read_waiting_jobs(conn: Connection) -> TableContent:
    """Return the waiting jobs, without their ids and times."""
    found: Counter[Row] = Counter(
        (text.sent_text(job), job.queue) for job in rows.list_enqueued(conn)
    )
    return TableContent("jobs that wait", ("job", "queue"), found)


def describe_differences(
    expected: Sequence[TableContent], found: Sequence[TableContent]
) -> list[str]:
    """Describe the differences, table by table."""
    lines: list[str] = []
    for before, after in zip(expected, found, strict=True):
        if before.rows != after.rows:
            lines += ["", *_difference(before, after)]
    return lines[1:]


def _difference(before: TableContent, after: TableContent) -> list[str]:
    missing = list((before.rows - after.rows).elements())
    extra = list((after.rows - before.rows).elements())
    lines = [_summary(before, after)]
    changed = _pairs(missing, extra)
    for old, new in changed[:MOST_LISTED_ROWS]:
        lines.append(f"  {_change(before.columns, old, new)}")
    lines += [f"  too many  {_row_text(before.columns, row)}" for row in extra[:MOST_LISTED_ROWS]]
    lines += [f"  missing   {_row_text(before.columns, row)}" for row in missing[:MOST_LISTED_ROWS]]
    unseen = sum(max(len(kind) - MOST_LISTED_ROWS, 0) for kind in (changed, extra, missing))
    return [*lines, f"  … and {unseen} more"] if unseen else lines


def _summary(before: TableContent, after: TableContent) -> str:
    number, wanted = after.rows.total(), before.rows.total()
    if number == wanted:
        return f"{after.title}: other values"
    return f"{after.title}: {number} {'row' if number == 1 else 'rows'}, not {wanted}"


def _pairs(missing: list[Row], extra: list[Row]) -> list[tuple[Row, Row]]:
    """Move rows that are mostly equal from both lists into pairs of the same, changed row."""
    pairs = []
    for old in list(missing):
        new = max(extra, key=lambda row: _count_equal(old, row), default=None)
        if new is not None and _count_equal(old, new) * 2 >= len(old):
            missing.remove(old)
            extra.remove(new)
            pairs.append((old, new))
    return pairs


def _count_equal(one: Row, other: Row) -> int:
    return sum(a == b for a, b in zip(one, other, strict=True))


def _row_text(columns: Sequence[str], row: Row) -> str:
    return "  ".join(f"{name}={_value(v)}" for name, v in zip(columns, row, strict=True))


def _change(columns: Sequence[str], old: Row, new: Row) -> str:
    values = list(zip(columns, old, new, strict=True))
    same = next((f"{name}={_value(a)}  " for name, a, b in values if a == b), "")
    return same + ", ".join(
        f"{name} is {_value(b)}, not {_value(a)}" for name, a, b in values if a != b
    )


def _value(value: str | None) -> str:
    return "NULL" if value is None else value
