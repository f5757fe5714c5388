"""Orders and products, which reports count."""

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
    """A quantity of a product with its unit price, in the currency of the order."""

    product_id: int
    quantity: int
    unit_price: Decimal

    @property
    def amount(self) -> Decimal:
        """The price of the line."""
        return self.quantity * self.unit_price


def place_order(
    conn: Connection,
    user_id: int,
    currency: str,
    lines: Sequence[OrderLine],
    at: datetime | None = None,
) -> int:
    """Store an order that is placed and paid at `at`, by default now; return its id.

    Order and lines are in the caller's transaction. Raises `RecordMissing` for a deleted user.
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


def get_or_create_product(conn: Connection, name: str) -> int:
    """Return the id of the product with this name; stores it if there is none."""
    found = _find_product(conn, name)
    if found is None:
        # Names need not be unique, so only this lock keeps two callers from storing it twice.
        conn.execute("LOCK TABLE shop.products IN SHARE ROW EXCLUSIVE MODE")
        found = _find_product(conn, name)
    if found is None:
        query = "INSERT INTO shop.products (name) VALUES (%s) RETURNING id"
        with conn.cursor(row_factory=args_row(int)) as cur:
            (found,) = cur.execute(query, (name,)).fetchall()
    return found


def _find_product(conn: Connection, name: str) -> int | None:
    query = "SELECT id FROM shop.products WHERE name = %s ORDER BY id LIMIT 1"
    with conn.cursor(row_factory=args_row(int)) as cur:
        return cur.execute(query, (name,)).fetchone()
