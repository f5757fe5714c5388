"""Thirty days of orders, and the report of the last day."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from actors import daily_report
from shop import orders, people, reports
from shop.demo.people import read_people as signed_up
from shop.demo.shop.offers import CURRENCY, OFFERS
from shop.orders import OrderLine
from shop.reports import StoredReport
from shop.settings import settings
from workshed import db, schedule
from workshed.contrib.storage import storage
from workshed.db import Connection

DAYS, ORDERS_A_DAY = 30, 40
ADMINS = (("Grace Hopper", "grace@shop.example"), ("Barbara Liskov", "barbara@shop.example"))


@dataclass(slots=True)
class ReportDemo:
    """The demo's report, and what was seen of it so far."""

    expected_revenue: Decimal
    """Yesterday's revenue, added up while the orders were stored."""
    picture: Path
    report: StoredReport | None = None
    mails: int = 0

    @property
    def title(self) -> str:
        """Say what it is."""
        return f"{DAYS} days of orders; `daily_report` says of yesterday"

    @property
    def progress(self) -> tuple[str, int, int]:
        """How many admins were sent the report."""
        return "reports", self.mails, len(ADMINS)

    @property
    def pending(self) -> list[str]:
        """Name the expected events that were not seen yet."""
        seen = {
            "stored": self.report is not None,
            f"revenue {self.expected_revenue}": self._revenue == self.expected_revenue,
            f"{len(ADMINS)} mails": self.mails == len(ADMINS),
            "its chart": self.picture.exists(),
        }
        return [f"report of yesterday: {what}" for what, is_seen in seen.items() if not is_seen]

    def update(self, conn: Connection) -> None:
        """Look once; save the report's chart to `picture` once it was sent."""
        if self.report is None:
            day = reports.resolve_day(conn, None, settings().report_zone)
            self.report = reports.find_report(conn, day.date)
        query = """
            SELECT count(*) FROM workshed_mail.emails
             WHERE kind = 'daily_report' AND state = 'sent'
        """
        ((self.mails,),) = conn.execute(query).fetchall()
        if self.mails and not self.picture.exists():
            _save_chart(conn, self.picture)

    def summary_lines(self) -> Iterator[str]:
        """Yield lines that say what the report says."""
        if self.report is None:
            yield "-"
            return
        numbers = self.report.numbers
        yield f"{numbers.new_users} new users, {numbers.active_users} active"
        for sales in numbers.sales:
            yield f"{sales.revenue} {sales.currency}, most of it by {sales.top[0].name}"
        yield f"mailed to {self.mails} admins; its chart is in {self.picture}"

    @property
    def _revenue(self) -> Decimal | None:
        return None if self.report is None else self.report.numbers.sales[0].revenue


def open_shop(picture: Path) -> ReportDemo:
    """Store admins and orders of thirty days, and send the job that reports yesterday."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.unlink(missing_ok=True)
    with db.transaction() as conn:
        yesterday = reports.resolve_day(conn, None, settings().report_zone)
        query = """
            UPDATE shop.users SET admin = true, activated_at = workshed.now(), created_at = %s
             WHERE id = %s
        """
        for name, email in ADMINS:
            admin = people.create(conn, name=name, email=email)
            conn.execute(query, (yesterday.starts_at, admin.id))
        sold = _place_orders(conn, yesterday.ends_at)
        schedule.send(conn, daily_report.message())
    return ReportDemo(sold, picture)


def _place_orders(conn: Connection, until: datetime) -> Decimal:
    """Store more orders on some days than on others; return the revenue of the last day."""
    # Imported users do not buy: the import is running, so the report would differ from run to run.
    buyers = [*(person.email for person in signed_up()), *(email for _, email in ADMINS)]
    query = "SELECT id FROM shop.users WHERE email = ANY(%s) ORDER BY id"
    users = [row[0] for row in conn.execute(query, (buyers,))]
    products = [orders.get_or_create_product(conn, offer.name) for offer in OFFERS]
    revenue = Decimal(0)
    for back in range(DAYS):
        for number in range(ORDERS_A_DAY + (back * 7) % 25):
            at = until - timedelta(days=back, minutes=1 + number * 20)
            paid = _place_order(conn, users[number % len(users)], at, products, back + number)
            revenue += 0 if back else paid
    return revenue


def _place_order(
    conn: Connection, user_id: int, at: datetime, products: list[int], number: int
) -> Decimal:
    """Store an order of one or two products; return what it costs."""
    lines = []
    for position in range(1, 2 + number % 2):
        place = (number * position) % len(products)
        lines.append(OrderLine(products[place], 1 + number % 3, OFFERS[place].price))
    orders.place_order(conn, user_id, CURRENCY, lines, at)
    return sum((line.amount for line in lines), Decimal(0))


def _save_chart(conn: Connection, path: Path) -> None:
    query = """
        SELECT f.sha256
          FROM workshed_mail.email_files AS f JOIN workshed_mail.emails AS e ON e.id = f.email_id
         WHERE e.kind = 'daily_report' AND f.content_id IS NOT NULL
         LIMIT 1
    """
    for (sha256,) in conn.execute(query):
        with storage().open(sha256) as content, path.open("wb") as file:
            shutil.copyfileobj(content, file)
