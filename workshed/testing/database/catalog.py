"""The tables of a database, as the kit copies and compares them."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from psycopg import sql
from psycopg.rows import class_row

from workshed.db import Connection
from workshed.value_class import value_class


class ColumnName(NamedTuple):
    """A column of a table."""

    schema: str
    table: str
    column: str


@value_class
class Column:
    """A column, with what makes its values differ between runs."""

    schema: str
    table: str
    name: str
    is_generated: bool
    is_time: bool
    is_number: bool
    """PostgreSQL generates its numbers: identity, or a sequence."""
    to_schema: str | None
    to_table: str | None
    to_name: str | None
    """The column that its foreign key refers to."""

    @property
    def full_name(self) -> ColumnName:
        """Its full name."""
        return ColumnName(self.schema, self.table, self.name)

    @property
    def target(self) -> ColumnName | None:
        """The column that it refers to, if it is a foreign key."""
        if self.to_schema is None or self.to_table is None or self.to_name is None:
            return None
        return ColumnName(self.to_schema, self.to_table, self.to_name)


@value_class
class CatalogTable:
    """A table with its columns, in order."""

    schema: str
    name: str
    columns: Sequence[Column]
    has_triggers: bool

    @property
    def title(self) -> str:
        """Its name with its schema."""
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        """Its name as an SQL identifier."""
        return sql.Identifier(self.schema, self.name)


def truncatable_tables(conn: Connection) -> list[CatalogTable]:
    """Return all tables that may be emptied and refilled."""
    columns, triggers = _columns(conn), _tables_with_triggers(conn)
    return [
        CatalogTable(*names, tuple(found), names in triggers)
        for names, found in groupby(columns, key=lambda column: (column.schema, column.table))
    ]


def _columns(conn: Connection) -> list[Column]:
    query = """
        SELECT n.nspname AS schema, c.relname AS table, a.attname AS name,
               a.attgenerated <> '' AS is_generated,
               a.atttypid = ANY ('{timestamptz,timestamp,timetz,time}'::regtype[]) AS is_time,
               a.attidentity <> '' OR d.source LIKE 'nextval(%' AS is_number,
               k.to_schema, k.to_table, k.to_name
          FROM pg_class AS c
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
          JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         CROSS JOIN LATERAL (
               SELECT COALESCE(min(pg_get_expr(adbin, adrelid)), '') AS source
                 FROM pg_attrdef
                WHERE adrelid = c.oid AND adnum = a.attnum) AS d
          LEFT JOIN LATERAL (
               SELECT tn.nspname AS to_schema, t.relname AS to_table, ta.attname AS to_name
                 FROM pg_constraint AS f, unnest(f.conkey, f.confkey) AS pair (own, other),
                      pg_class AS t, pg_namespace AS tn, pg_attribute AS ta
                WHERE f.contype = 'f' AND f.conrelid = c.oid AND pair.own = a.attnum
                  AND t.oid = f.confrelid AND tn.oid = t.relnamespace
                  AND ta.attrelid = t.oid AND ta.attnum = pair.other
                LIMIT 1) AS k ON true
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
           AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
           AND c.oid IS DISTINCT FROM to_regclass('workshed.audit')  -- of which nothing is deleted
         ORDER BY n.nspname, c.relname, a.attnum
    """
    with conn.cursor(row_factory=class_row(Column)) as cur:
        return cur.execute(query).fetchall()


def _tables_with_triggers(conn: Connection) -> set[tuple[str, str]]:
    query = """
        SELECT DISTINCT n.nspname, c.relname
          FROM pg_trigger AS t
          JOIN pg_class AS c ON c.oid = t.tgrelid
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE NOT t.tgisinternal
    """
    return {(schema, table) for schema, table in conn.execute(query)}
