"""The numbers of a business day, computed from users, orders and order lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from shop.reports import business_days
from shop.reports.business_days import Day
from workshed.db import Connection

TREND_DAYS = 30
"""Days whose revenue is shown; the reported day is the last one."""
MAX_TOP_PRODUCTS = 5
MAX_CHART_SERIES = 6
"""Currencies in the chart; with all that exist it would be 40 000 pixels high."""
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class ProductSales:
    """The sales of a product on the day, in one currency."""

    name: str
    units: int
    revenue: Decimal


@dataclass(frozen=True, slots=True)
class Sales:
    """The sales in one currency; amounts in different currencies are never added."""

    currency: str
    trend: tuple[Decimal, ...]
    """The revenue of each of thirty days; the reported day is the last one."""
    top: tuple[ProductSales, ...]
    """The products with the most revenue on the day."""

    @property
    def revenue(self) -> Decimal:
        """The revenue of the reported day."""
        return self.trend[-1]


@dataclass(frozen=True, slots=True)
class ReportNumbers:
    """Everything that a report says about its day."""

    new_users: int
    """Users who were created on the day."""
    active_users: int
    """Users who placed an order on the day."""
    sales: tuple[Sales, ...]
    """The configured currency first, then each other currency in which something was paid."""

    @property
    def chart_series(self) -> list[Sales]:
        """The currencies in the chart: the first, then preferably those with sales on the day."""
        first, *others = self.sales
        return [first, *sorted(others, key=lambda one: not one.revenue)][:MAX_CHART_SERIES]


def compute_numbers(conn: Connection, day: Day, currency: str) -> ReportNumbers:
    """Compute the numbers of a day; call it in a `db.snapshot`, so that all are of one moment.

    An order counts as revenue of the day on which it was paid.
    """
    return ReportNumbers(
        _new_users(conn, day), _active_users(conn, day), _sales(conn, day, currency)
    )


def as_json(numbers: ReportNumbers) -> dict[str, Any]:
    """Return the numbers as JSON, with decimals as strings to keep them exact."""
    return {
        "new_users": numbers.new_users,
        "active_users": numbers.active_users,
        "sales": [
            {
                "currency": sales.currency,
                "trend": [f"{amount:f}" for amount in sales.trend],
                "top": [
                    {"name": one.name, "units": one.units, "revenue": f"{one.revenue:f}"}
                    for one in sales.top
                ],
            }
            for sales in numbers.sales
        ],
    }


def from_json(stored: Mapping[str, Any]) -> ReportNumbers:
    """Read the result of `as_json`."""
    return ReportNumbers(
        stored["new_users"],
        stored["active_users"],
        tuple(
            Sales(
                sales["currency"],
                tuple(map(Decimal, sales["trend"])),
                tuple(
                    ProductSales(one["name"], one["units"], Decimal(one["revenue"]))
                    for one in sales["top"]
                ),
            )
            for sales in stored["sales"]
        ),
    )


def _new_users(conn: Connection, day: Day) -> int:
    query = """
        SELECT count(*)
          FROM shop.users
         WHERE created_at >= %(starts_at)s AND created_at < %(ends_at)s
    """
    return _count(conn.execute(query, _span(day)).fetchone())


def _active_users(conn: Connection, day: Day) -> int:
    query = """
        SELECT count(DISTINCT user_id)
          FROM shop.orders
         WHERE placed_at >= %(starts_at)s AND placed_at < %(ends_at)s
    """
    return _count(conn.execute(query, _span(day)).fetchone())


def _sales(conn: Connection, day: Day, currency: str) -> tuple[Sales, ...]:
    trends, tops = _trends(conn, day), _top_products(conn, day)
    unsold = (ZERO,) * TREND_DAYS
    return tuple(
        Sales(code, tuple(trends.get(code, unsold)), tuple(tops.get(code, ())))
        for code in [currency, *sorted(trends.keys() - {currency})]
    )


def _trends(conn: Connection, day: Day) -> dict[str, Sequence[Decimal]]:
    """Return the revenue of each day of the trend, by currency."""
    query = """
        SELECT o.currency, width_bucket(o.paid_at, %(starts)s::timestamptz[]),
               sum(l.quantity * l.unit_price)
          FROM shop.orders AS o
          JOIN shop.order_lines AS l ON l.order_id = o.id
         WHERE o.paid_at >= %(first)s AND o.paid_at < %(ends_at)s
         GROUP BY 1, 2
    """
    starts = [
        business_days.day_start(date, day.zone)
        for date in business_days.range_ending(day.date, TREND_DAYS)
    ]
    values = {"starts": starts, "first": starts[0], "ends_at": day.ends_at}
    found: dict[str, list[Decimal]] = {}
    for code, number, amount in conn.execute(query, values):
        found.setdefault(code, [ZERO] * TREND_DAYS)[number - 1] = amount
    return dict(found)


def _top_products(conn: Connection, day: Day) -> dict[str, Sequence[ProductSales]]:
    """Return the products with the most revenue on the day, by currency.

    Names are compared by code point, so that the order is the same in every database.
    """
    query = """
        WITH sold AS (
            SELECT o.currency, l.product_id, sum(l.quantity) AS units,
                   sum(l.quantity * l.unit_price) AS revenue
              FROM shop.orders AS o
              JOIN shop.order_lines AS l ON l.order_id = o.id
             WHERE o.paid_at >= %(starts_at)s AND o.paid_at < %(ends_at)s
             GROUP BY 1, 2
        ), ranked AS (
            SELECT s.currency, p.name, s.units, s.revenue,
                   row_number() OVER (
                       PARTITION BY s.currency
                       ORDER BY s.revenue DESC, s.units DESC, p.name COLLATE "C", p.id
                   ) AS place
              FROM sold AS s
              JOIN shop.products AS p ON p.id = s.product_id
        )
        SELECT currency, name, units, revenue
          FROM ranked
         WHERE place <= %(top)s
         ORDER BY currency, place
    """
    found: dict[str, list[ProductSales]] = {}
    for code, *product in conn.execute(query, {**_span(day), "top": MAX_TOP_PRODUCTS}):
        found.setdefault(code, []).append(ProductSales(*product))
    return dict(found)


def _span(day: Day) -> dict[str, object]:
    return {"starts_at": day.starts_at, "ends_at": day.ends_at}


def _count(row: tuple[int] | None) -> int:
    assert row is not None  # noqa: S101 -- one row by construction
    return row[0]
