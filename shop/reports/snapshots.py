"""The report of each day as it was first computed: stored once, and never changed."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from shop.reports import numbers
from shop.reports.business_days import Day
from shop.reports.numbers import ReportNumbers
from shop.settings import settings
from workshed import db
from workshed.db import Connection
from workshed.pruning import delete_old_rows


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A row of `shop.daily_report_snapshots`."""

    day: Day
    numbers: ReportNumbers
    made_at: datetime


def get_or_create(day: Day) -> StoredReport:
    """Return the report of a day; computes and stores it if there is none.

    If several jobs compute it at the same time, one of them stores it, and all return that one.
    """
    with db.transaction() as conn:
        found = find_report(conn, day.date)
    if found is not None:
        return found
    with db.snapshot() as conn:
        fresh = numbers.compute_numbers(conn, day, settings().report_currency)
    with db.transaction() as conn:
        store_snapshot(conn, day, fresh)
        found = find_report(conn, day.date)
    assert found is not None  # noqa: S101 -- it was just stored, and is too new to be pruned
    return found


def find_report(conn: Connection, of: date) -> StoredReport | None:
    """Return the report of a date; `None` if there is none."""
    query = """
        SELECT business_date, zone, starts_at, ends_at, numbers, made_at
          FROM shop.daily_report_snapshots
         WHERE business_date = %s
    """
    with conn.cursor(row_factory=dict_row) as cur:
        row = cur.execute(query, (of,)).fetchone()
    return None if row is None else _to_report(row)


def list_reports(conn: Connection, limit: int, *, before: date | None = None) -> list[StoredReport]:
    """Return reports, latest day first; with `before`, only those of earlier days."""
    query = """
        SELECT business_date, zone, starts_at, ends_at, numbers, made_at
          FROM shop.daily_report_snapshots
         WHERE %(before)s::date IS NULL OR business_date < %(before)s
         ORDER BY business_date DESC
         LIMIT %(limit)s
    """
    with conn.cursor(row_factory=dict_row) as cur:
        rows = cur.execute(query, {"before": before, "limit": limit}).fetchall()
    return [_to_report(row) for row in rows]


def store_snapshot(conn: Connection, day: Day, fresh: ReportNumbers) -> None:
    """Store the numbers of a day, unless it has a report.

    Waits for a concurrent transaction that stores them.
    """
    query = """
        INSERT INTO shop.daily_report_snapshots
               (business_date, zone, starts_at, ends_at, numbers)
        VALUES (%(date)s, %(zone)s, %(starts_at)s, %(ends_at)s, %(numbers)s)
            ON CONFLICT (business_date) DO NOTHING
    """
    row = {
        "date": day.date,
        "zone": day.zone,
        "starts_at": day.starts_at,
        "ends_at": day.ends_at,
        "numbers": Jsonb(numbers.as_json(fresh)),
    }
    conn.execute(query, row)


def prune_snapshots(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete reports that were made so long ago, at most `limit`; return how many."""
    return delete_old_rows(conn, "shop.daily_report_snapshots", "made_at", older_than, limit)


def _to_report(row: dict[str, Any]) -> StoredReport:
    day = Day(row["business_date"], row["zone"], row["starts_at"], row["ends_at"])
    return StoredReport(day, numbers.from_json(row["numbers"]), row["made_at"])
