"""The numbers of a report, compared with those that plain Python computes from the same rows."""

import random
import threading
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, localcontext
from zoneinfo import ZoneInfo

import pytest

from shop import reports
from shop.reports import business_days, numbers
from workshed import db

SPREAD = timedelta(days=40)
NAMES = ["Desk", "Lamp", "chair", "Äpfel", "Zebra", "desk", "مكتب"]
PRICES = ["0", "0.1", "0.2", "0.0001", "19.99", "1234.5678", "99999999999999.999999"]
CURRENCIES = ["EUR", "JPY", "USD"]
CASES = [
    ("UTC", "2025-06-15"),
    ("Europe/Paris", "2025-03-30"),  # 23 hours
    ("Europe/Paris", "2025-10-26"),  # 25 hours
    ("Europe/Paris", "2025-04-10"),  # 24, with one of 23 in its trend
    ("America/Havana", "2025-03-09"),  # without a midnight
    ("America/Havana", "2025-11-02"),  # with two
    ("Africa/Cairo", "2025-10-31"),
    ("Australia/Lord_Howe", "2025-04-06"),  # 24.5 hours
    ("Asia/Kathmandu", "2025-06-15"),
    ("Pacific/Kiritimati", "2025-01-01"),
]


@pytest.fixture
def shop_of(jobs):
    """`shop_of(zone, date, seed)`: a shop with many orders, most of them near a midnight."""

    def fill(zone, of, seed):
        chance = random.Random(seed)  # noqa: S311 -- the same in each run
        midnights = [
            datetime.combine(of + timedelta(days=n), datetime.min.time(), ZoneInfo(zone))
            for n in (-30, -29, -28, -1, 0, 0, 0, 1, 1, 1)
        ]

        def instant():
            if chance.random() < 0.2:
                return midnights[4].astimezone(UTC) + SPREAD * chance.uniform(-1, 0.1)
            away = chance.choice(
                [0, 1, -1, 1_000_000, 3_600_000_000, 3_599_999_999, 40_000_000_000]
            )
            near = chance.choice(midnights).astimezone(UTC)
            return near + chance.choice([-1, 1]) * timedelta(microseconds=away)

        with db.transaction() as conn, conn.cursor() as cur:
            cur.executemany(
                "INSERT INTO shop.users (name, email, created_at) VALUES ('Ada', %s, %s)",
                [(f"a{n}@example.org", instant()) for n in range(60)],
            )
            cur.executemany(
                "INSERT INTO shop.products (name) VALUES (%s)",
                [(chance.choice(NAMES),) for _ in range(12)],
            )
            people = [i for (i,) in conn.execute("SELECT id FROM shop.users")]
            products = [i for (i,) in conn.execute("SELECT id FROM shop.products")]
            for _ in range(250):
                paid = None if chance.random() < 0.2 else instant()
                query = """
                    INSERT INTO shop.orders (user_id, currency, placed_at, paid_at)
                    VALUES (%s, %s, %s, %s) RETURNING id
                """
                who = chance.choice([*people, None])
                values = (who, chance.choice(CURRENCIES), instant(), paid)
                (order_id,) = conn.execute(query, values).fetchone()
                cur.executemany(
                    "INSERT INTO shop.order_lines VALUES (%s, %s, %s, %s, %s)",
                    [
                        (
                            order_id,
                            number,
                            chance.choice(products),
                            chance.choice([1, 2, 3, 2**31 - 1]),
                            chance.choice(PRICES),
                        )
                        for number in range(1, chance.randint(1, 4))
                    ],
                )

    return fill


def counted(of, zone, currency):
    """Compute a report from all rows, by the local time of a zone."""

    def local(at):
        return None if at is None else at.astimezone(ZoneInfo(zone)).date()

    with db.transaction() as conn, localcontext(Context(prec=200)):
        users = conn.execute("SELECT created_at FROM shop.users").fetchall()
        orders = conn.execute("SELECT user_id, placed_at FROM shop.orders").fetchall()
        lines = conn.execute(
            """SELECT o.currency, o.paid_at, p.id, p.name, l.quantity, l.unit_price
                 FROM shop.order_lines AS l
                 JOIN shop.orders AS o ON o.id = l.order_id
                 JOIN shop.products AS p ON p.id = l.product_id"""
        ).fetchall()
        trends, units, revenues, names = {}, Counter(), Counter(), {}
        for code, paid, product, name, quantity, price in lines:
            back = (of - local(paid)).days if paid else None
            if back is not None and 0 <= back < 30:
                trend = trends.setdefault(code, [Decimal(0)] * 30)
                trend[29 - back] += quantity * price
            if back == 0:
                names[product] = name
                units[code, product] += quantity
                revenues[code, product] += quantity * price
        sales = []
        for code in [currency, *sorted(set(trends) - {currency})]:
            sold = [product for other, product in units if other == code]
            sold.sort(key=lambda p: (-revenues[code, p], -units[code, p], names[p], p))
            top = [(names[p], units[code, p], revenues[code, p]) for p in sold[:5]]
            sales.append((code, trends.get(code, [Decimal(0)] * 30), top))
    return (
        sum(local(at) == of for (at,) in users),
        len({user for user, at in orders if user is not None and local(at) == of}),
        sales,
    )


def said(found):
    """Return a report's numbers in the form of `counted`."""
    return (
        found.new_users,
        found.active_users,
        [
            (
                sales.currency,
                list(sales.trend),
                [(one.name, one.units, one.revenue) for one in sales.top],
            )
            for sales in found.sales
        ],
    )


@pytest.mark.sample(5)
@pytest.mark.parametrize(("zone", "of"), CASES)
@pytest.mark.parametrize("currency", ["EUR", "CHF"])
def test_a_report_says_what_an_independent_count_says(shop_of, configured, zone, of, currency):
    configured(report_currency=currency)
    of = date.fromisoformat(of)
    shop_of(zone, of, f"{zone} {of} {currency}")

    report = reports.get_or_create(business_days.day_of(of, zone))

    wanted = counted(of, zone, currency)
    assert said(report.numbers) == wanted
    assert wanted[0] > 5
    assert wanted[1] > 5
    assert sum(any(trend) for _, trend, _ in wanted[2]) == 3


def test_sums_are_exact(jobs, shop, paris):
    noon = datetime(2025, 6, 15, 12, tzinfo=UTC)
    desk = shop.product()
    for price in ("0.1", "0.2", "0.0001", "99999999999999.999999"):
        shop.order((desk, 1, price), at=noon)
    shop.order((desk, 3, "0.1"), (desk, 2_147_483_647, "99999999999999.999999"), at=noon)

    (sales,) = reports.get_or_create(
        business_days.day_of(noon.date(), "Europe/Paris")
    ).numbers.sales

    assert sales.revenue == Decimal("214748364799999999997853.116452")


def test_products_that_brought_in_as_much_are_ordered_by_units_and_then_by_name(jobs, shop):
    noon = datetime(2025, 6, 15, 12, tzinfo=UTC)
    for name, quantity, price in [
        ("b", 1, "6"),
        ("B", 1, "6"),
        ("a", 2, "3"),
        ("ä", 1, "6.00"),
        ("free", 9, "0"),
        ("also free", 9, "0"),
    ]:
        shop.order((shop.product(name), quantity, price), at=noon)

    (sales,) = reports.get_or_create(business_days.day_of(noon.date(), "UTC")).numbers.sales

    assert [one.name for one in sales.top] == ["a", "B", "b", "ä", "also free"]


def test_products_of_the_same_name_stay_apart(jobs, shop):
    noon = datetime(2025, 6, 15, 12, tzinfo=UTC)
    for _ in range(2):
        shop.order((shop.product("Desk"), 1, "6"), at=noon)

    (sales,) = reports.get_or_create(business_days.day_of(noon.date(), "UTC")).numbers.sales

    assert [(one.name, one.units) for one in sales.top] == [("Desk", 1)] * 2


def test_an_order_counts_when_it_is_paid_and_its_user_when_it_is_placed(jobs, shop):
    noon = datetime(2025, 6, 15, 12, tzinfo=UTC)
    desk, ada, bob = shop.product(), shop.user("Ada"), shop.user("Bob")
    shop.order((desk, 1, "1"), at=noon, paid=None, user=ada)
    shop.order((desk, 1, "2"), at=noon, paid=noon + timedelta(days=1), user=ada)
    shop.order((desk, 1, "4"), at=noon - timedelta(days=1), paid=noon, user=bob)

    found = reports.get_or_create(business_days.day_of(noon.date(), "UTC")).numbers

    assert (found.active_users, found.sales[0].revenue) == (1, 4)


def test_sales_outlive_their_buyers(jobs, shop):
    noon = datetime(2025, 6, 15, 12, tzinfo=UTC)
    ada = shop.user("Ada", at=noon)
    shop.order((shop.product(), 1, "5"), at=noon, user=ada)
    with db.transaction() as conn:
        conn.execute("DELETE FROM shop.users")

    found = reports.get_or_create(business_days.day_of(noon.date(), "UTC")).numbers

    assert (found.new_users, found.active_users, found.sales[0].revenue) == (0, 0, 5)


@pytest.mark.parametrize("price", ["NaN", "Infinity", "-0.01", "1e15", "0.0000000000001"])
def test_an_invalid_price_is_refused(jobs, shop, price):
    desk = shop.product()

    with pytest.raises(db.errors.CheckViolation, match="order_lines_unit_price"):
        shop.order((desk, 1, price), at=datetime(2025, 6, 15, tzinfo=UTC))


def test_all_numbers_are_of_one_moment(database, connect, eventually, shop):
    """Rows committed between two queries of a report are in none of its numbers."""
    noon = datetime(2025, 6, 15, 12, tzinfo=UTC)
    desk = shop.product()
    shop.order((desk, 1, "5"), at=noon, user=shop.user("Ada", at=noon))
    found, watch, other = [], connect(autocommit=True), connect()

    def compute():
        with db.snapshot() as conn:
            found.append(
                numbers.compute_numbers(conn, business_days.day_of(noon.date(), "UTC"), "EUR")
            )

    # The report has counted the users, and waits for the orders.
    other.execute("LOCK TABLE shop.orders")
    thread = threading.Thread(target=compute)
    thread.start()
    waits = """
        SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'
    """
    eventually(lambda: watch.execute(waits).fetchone() == (1,))
    other.execute(
        "INSERT INTO shop.users (name, email, created_at) VALUES ('Eve', 'e@x.org', %s)", (noon,)
    )
    other.execute(
        """WITH placed AS (
               INSERT INTO shop.orders (user_id, currency, placed_at, paid_at)
               SELECT id, 'EUR', created_at, created_at FROM shop.users WHERE name = 'Eve'
               RETURNING id)
           INSERT INTO shop.order_lines SELECT id, 1, %s, 1, 100 FROM placed""",
        (desk,),
    )
    other.commit()
    thread.join()

    (report,) = found
    assert (report.new_users, report.active_users, report.sales[0].revenue) == (1, 1, 5)
    assert report.sales[0].top[0].units == 1
