"""A shop: its users, its sales, and its report."""

import csv
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest

import actors
from tests.service.integration.images.conftest import killed
from tests.service.variables import variable
from workshed import db
from workshed.settings import settings

__all__ = ["killed"]

MONDAY = datetime(2026, 3, 2, 8, tzinfo=UTC)
"""09:00 in Paris, when the report of Sunday, 1 March is due."""
SUNDAY = "2026-03-01"


class Shop:
    """Creates users, products and orders."""

    def one(self, query, *values):
        with db.transaction() as conn:
            return conn.execute(query, values).fetchone()[0]

    def user(self, name="Ada", *, at=MONDAY, admin=False, active=True):
        """Create a user who signed up at a time; return the id."""
        query = """
            INSERT INTO shop.users (name, email, created_at, admin, activated_at)
            VALUES (%s, gen_random_uuid() || '@example.org', %s, %s, %s) RETURNING id
        """
        return self.one(query, name, at, admin, at if active else None)

    def product(self, name="Desk"):
        query = "INSERT INTO shop.products (name) VALUES (%s) RETURNING id"
        return self.one(query, name)

    def order(self, *lines, at, paid="at once", user=None, currency="EUR"):
        """Create an order of lines (product, quantity, price); by default paid when placed."""
        paid_at = at if paid == "at once" else paid
        query = """
            INSERT INTO shop.orders (user_id, currency, placed_at, paid_at)
            VALUES (%s, %s, %s, %s) RETURNING id
        """
        order_id = self.one(query, user, currency, at, paid_at)
        query = "INSERT INTO shop.order_lines VALUES (%s, %s, %s, %s, %s) RETURNING order_id"
        for number, (product, quantity, price) in enumerate(lines, 1):
            self.one(query, order_id, number, product, quantity, Decimal(price))
        return order_id

    def report(self, date=SUNDAY):
        """Return the stored numbers of a day; `None` if there are none."""
        query = """
            SELECT numbers::text FROM shop.daily_report_snapshots WHERE business_date = %s
        """
        with db.transaction() as conn:
            found = conn.execute(query, (date,)).fetchone()
        return found and json.loads(found[0])

    def dates(self):
        query = "SELECT business_date::text FROM shop.daily_report_snapshots ORDER BY 1"
        with db.transaction() as conn:
            return [date for (date,) in conn.execute(query)]


@pytest.fixture
def shop():
    return Shop()


@pytest.fixture
def configured(monkeypatch):
    """`configured(report_currency="JPY")`: settings of this test."""

    def change(**values):
        for name, value in values.items():
            monkeypatch.setenv(variable(name), value)
        settings.cache_clear()

    return change


@pytest.fixture
def paris(configured):
    """Set the time zone of the reported days to Paris."""
    configured(report_time_zone="Europe/Paris")


@pytest.fixture
def sent(jobs):
    """`sent()`: the delivered report emails."""

    def read():
        return [mail for mail in jobs.mailbox if mail["Message-ID"].startswith("<daily_report.")]

    return read


@pytest.fixture
def cells():
    """`cells(mail)`: the rows of its CSV, as dictionaries."""

    def read(mail):
        (attached,) = mail.iter_attachments()
        text = attached.get_payload(decode=True).decode("utf-8-sig")
        return list(csv.DictReader(io.StringIO(text, newline="")))

    return read


@pytest.fixture
def scheduled_for(jobs):
    """`scheduled_for(MONDAY)`: send the run planned for a time."""
    return lambda at: actors.daily_report.send_with_options(
        scheduled_for=int(at.timestamp() * 1000)
    )


@pytest.fixture
def run_python(tmp_path):
    """`run_python("print(1)", NAME=value)`: the output of a separate process."""

    def run(code, **env):
        words = [sys.executable, "-c", code]
        done = subprocess.run(
            words, env={**os.environ, **env}, cwd=tmp_path, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
