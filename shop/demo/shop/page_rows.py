"""A user's orders and newest import, as shown on the page."""

from dataclasses import dataclass
from decimal import Decimal

from psycopg.rows import class_row

from shop import imports
from shop.imports import Import
from shop.reports import money
from workshed.db import Connection

MAX_LINES = 5
"""Order lines on the page."""


@dataclass(frozen=True, slots=True)
class OrderRow:
    """A line of an order."""

    order_id: int
    product: str
    quantity: int
    amount: Decimal
    currency: str

    @property
    def amount_text(self) -> str:
        """The amount as shown on the page."""
        return f"{money.format_grouped(self.amount, self.currency)} {self.currency}"


def list_order_lines(conn: Connection, user_id: int) -> list[OrderRow]:
    """Return a user's order lines, newest order first, at most `SHOWN`."""
    query = """
        SELECT o.id AS order_id, p.name AS product, l.quantity,
               l.quantity * l.unit_price AS amount, o.currency
          FROM shop.orders AS o
          JOIN shop.order_lines AS l ON l.order_id = o.id
          JOIN shop.products AS p ON p.id = l.product_id
         WHERE o.user_id = %(user_id)s
         ORDER BY o.id DESC, l.number
         LIMIT %(limit)s
    """
    with conn.cursor(row_factory=class_row(OrderRow)) as cur:
        return cur.execute(query, {"user_id": user_id, "limit": MAX_LINES}).fetchall()


def find_newest_import(conn: Connection, user_id: int) -> Import | None:
    """Return a user's newest import; `None` if there is none."""
    query = "SELECT max(id) FROM shop.imports WHERE owner_id = %s"
    ((newest,),) = conn.execute(query, (user_id,)).fetchall()
    return None if newest is None else imports.get_import(conn, newest)
