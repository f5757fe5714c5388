"""Which tables of the product there are: who brings actors of their own needs none."""

from workshed.db import Connection


def has(conn: Connection, table: str) -> bool:
    """Tell whether the product has this table, and this role may read it."""
    query = """
        SELECT count(*) > 0
          FROM pg_class AS c
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = 'product' AND c.relname = %s
           AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
    """
    return bool(next(iter(conn.execute(query, (table,))))[0])
