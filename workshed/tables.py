"""Which tables of the product there are: who brings actors of their own needs none."""

from workshed.db import Connection


def has(conn: Connection, table: str) -> bool:
    """Tell whether the product has this table."""
    query = "SELECT to_regclass('product.' || %s) IS NOT NULL"
    return bool(next(iter(conn.execute(query, (table,))))[0])
