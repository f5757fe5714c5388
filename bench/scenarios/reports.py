"""How long a daily report takes in a shop with many orders."""

import json
from typing import Any

import psycopg

from bench.measurement import Measurement, median_figures, report_alone
from bench.processes import BenchError, run_python
from bench.size import Size
from bench.world import World
from workshed.migrate import apply_pending, list_streams

DATE, ZONE = "2026-03-01", "Europe/Paris"
DAYS, ADMINS, USERS, PRODUCTS = 30, 100, 50_000, 1_000
WITHIN_S = 600.0
CODE = """
import json, sys, time
from datetime import date
import actors
from shop import reports
from workshed import db
from shop.reports import business_days

with db.transaction() as conn:  # opened before timing, as in a running worker
    conn.execute("SELECT")
began = time.perf_counter()
made = reports.get_or_create(business_days.day_of(date.fromisoformat(sys.argv[1]), sys.argv[2]))
stored = time.perf_counter()
actors.daily_report(sys.argv[1])
print(json.dumps({
    "stored": stored - began,
    "mailed": time.perf_counter() - began,
    "revenue": str(made.numbers.sales[0].revenue),
}))
"""


def reports(world: World, size: Size) -> list[Measurement]:
    """Fill a shop, and report its last day in a separate process, as a worker does."""
    with world.connect_database() as conn:
        apply_pending(conn, list_streams())
        fill_shop(conn, size.orders)
        revenue = compute_revenue(conn)
    rounds = [_measure_report(world, revenue) for _ in range(size.rounds)]
    found, count = median_figures(rounds), f"{size.orders:,}".replace(",", " ")
    return [
        report_alone(f"report of {count} orders, stored", found["stored"], "s", at_most=10),
        report_alone(f"the same, with chart and {ADMINS} mails", found["mailed"], "s"),
    ]


def fill_shop(conn: psycopg.Connection[Any], orders: int) -> None:
    """Store orders of thirty days in two currencies, with two lines an order on average."""
    conn.execute("TRUNCATE shop.users, shop.products, shop.orders CASCADE")
    conn.execute(
        """INSERT INTO shop.users (name, email, created_at, admin, activated_at)
           SELECT 'Ada', 'a' || n || '@example.org', %(end)s::timestamptz - n * interval '1 minute',
                  n <= %(admins)s, %(end)s
             FROM generate_series(1, %(users)s) AS n""",
        {"end": f"{DATE} 12:00Z", "admins": ADMINS, "users": USERS},
    )
    conn.execute(
        "INSERT INTO shop.products (name) SELECT 'Product ' || n FROM generate_series(1, %s) n",
        (PRODUCTS,),
    )
    conn.execute(
        """INSERT INTO shop.orders (user_id, currency, placed_at, paid_at)
           SELECT u.first + n %% %(users)s, CASE WHEN n %% 10 = 0 THEN 'USD' ELSE 'EUR' END, at,
                  CASE WHEN n %% 20 > 0 THEN at + interval '5 minutes' END
             FROM (SELECT min(id) AS first FROM shop.users) AS u
            CROSS JOIN generate_series(1, %(orders)s) AS n
            CROSS JOIN LATERAL (
                  SELECT %(end)s::timestamptz
                       - n * interval '1 day' * %(days)s / %(orders)s AS at) AS placed""",
        {"end": f"{DATE} 23:00Z", "users": USERS, "orders": orders, "days": DAYS},
    )
    conn.execute(
        """INSERT INTO shop.order_lines (order_id, number, product_id, quantity, unit_price)
           SELECT o.id, n, p.first + (o.id * 7 + n * 13) %% %(products)s, 1 + (o.id + n) %% 5,
                  (1 + (o.id * n) %% 20000) / 100.0
             FROM (SELECT min(id) AS first FROM shop.products) AS p
            CROSS JOIN shop.orders AS o
            CROSS JOIN LATERAL generate_series(1, 1 + o.id %% 3) AS n""",
        {"products": PRODUCTS},
    )
    # In a shop that was not filled a moment ago, autovacuum has done this.
    conn.execute("VACUUM (ANALYZE)")


def compute_revenue(conn: psycopg.Connection[Any]) -> str:
    """Return the revenue of the day, computed independently with PostgreSQL's calendar."""
    query = """
        SELECT sum(l.quantity * l.unit_price)
          FROM shop.orders AS o JOIN shop.order_lines AS l ON l.order_id = o.id
         WHERE o.currency = 'EUR' AND (o.paid_at AT TIME ZONE %s)::date = %s
    """
    found = conn.execute(query, (ZONE, DATE)).fetchone()
    return str(found and found[0])


def _measure_report(world: World, revenue: str) -> dict[str, float]:
    with world.connect_database() as conn:
        conn.execute("TRUNCATE shop.daily_report_snapshots, workshed_mail.emails CASCADE")
    environment = world.environment(
        "ours",
        WORKSHED_STORAGE_URL=f"file:{world.folder}/contents",
        SHOP_REPORT_TIME_ZONE=ZONE,
    )
    found: dict[str, Any] = json.loads(run_python(["-c", CODE, DATE, ZONE], environment, WITHIN_S))
    if found.pop("revenue") != revenue:
        raise BenchError(f"the report says {found}, and {revenue} was paid")
    return found
