"""Orders and what is sold by them: the rows that reports count."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from psycopg.errors import ForeignKeyViolation
from psycopg.rows import args_row

from workshed.db import Connection
from workshed.jobs import RecordMissing


@dataclass(frozen=True, slots=True)
class OrderLine:
    """So much of a product, at a price each, in the currency of its order."""

    product_id: int
    quantity: int
    unit_price: Decimal

    @property
    def amount(self) -> Decimal:
        """What is paid for it."""
        return self.quantity * self.unit_price


def place(
    conn: Connection,
    user_id: int,
    currency: str,
    lines: Sequence[OrderLine],
    at: datetime | None = None,
) -> int:
    """Store an order that is placed and paid now, or at a time; return its id.

    Order and lines are in the caller's transaction. Raises `RecordMissing` when the user is gone.
    """
    query = """
        INSERT INTO shop.orders (user_id, currency, placed_at, paid_at)
        SELECT %(user_id)s, %(currency)s, now.at, now.at
          FROM (SELECT coalesce(%(at)s::timestamptz, workshed.now()) AS at) AS now
        RETURNING id
    """
    line = """
        INSERT INTO shop.order_lines (order_id, number, product_id, quantity, unit_price)
        VALUES (%s, %s, %s, %s, %s)
    """
    values = {"user_id": user_id, "currency": currency, "at": at}
    try:
        ((order_id,),) = conn.execute(query, values).fetchall()
    except ForeignKeyViolation as err:
        raise RecordMissing("user", user_id) from err
    with conn.cursor() as cur:
        cur.executemany(
            line,
            [
                (order_id, number, one.product_id, one.quantity, one.unit_price)
                for number, one in enumerate(lines, 1)
            ],
        )
    return int(order_id)


def product(conn: Connection, name: str) -> int:
    """Return the id of a product, which is stored if there is none of this name."""
    found = _named(conn, name)
    if found is None:
        # Names may repeat, so no constraint keeps two that come at once from storing it twice.
        conn.execute("LOCK TABLE shop.products IN SHARE ROW EXCLUSIVE MODE")
        found = _named(conn, name)
    if found is None:
        query = "INSERT INTO shop.products (name) VALUES (%s) RETURNING id"
        with conn.cursor(row_factory=args_row(int)) as cur:
            (found,) = cur.execute(query, (name,)).fetchall()
    return found


def _named(conn: Connection, name: str) -> int | None:
    query = "SELECT id FROM shop.products WHERE name = %s ORDER BY id LIMIT 1"
    with conn.cursor(row_factory=args_row(int)) as cur:
        return cur.execute(query, (name,)).fetchone()
