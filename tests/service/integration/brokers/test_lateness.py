"""The age of the daily report, as relays report it."""

import math
from datetime import timedelta

import pytest

from shop.report_age_gauge import measure_report_age
from workshed.cronspec import daily
from workshed.jobs.periodic import periodic_jobs

HOUR = timedelta(hours=1)
REPORT = """
    INSERT INTO shop.daily_report_snapshots (business_date, zone, starts_at, ends_at, numbers)
    SELECT (at - interval '1 day')::date, 'UTC', at - interval '1 day', at, '{}'
      FROM (SELECT workshed.now() - %s AS at) AS day
"""


@pytest.fixture
def conn(connect, database):
    """A connection; the shop's tables were made three days ago."""
    found = connect(autocommit=True)
    found.execute("UPDATE workshed.migrations SET applied_at = applied_at - interval '3 days'")
    return found


@pytest.fixture
def declare(conn):
    """`declare("daily_report")`: declare this periodic job, as a worker does."""

    def declare(name):
        job = periodic_jobs.PeriodicDeclaration(name, "low", daily("09:00"))
        periodic_jobs.declare_jobs(conn, [job])

    return declare


@pytest.fixture
def look(conn, counted):
    """`look("report_age_seconds")`: the metric after a new check."""

    def look(name):
        assert measure_report_age(conn) >= 10
        return counted(name, namespace="shop")

    return look


def test_the_age_of_the_report_is_the_time_since_its_day_ended(conn, declare, look):
    declare("daily_report")
    for hours in (30, 6):
        conn.execute(REPORT, (hours * HOUR,))

    assert 6 * 3600 <= look("report_age_seconds") < 6 * 3600 + 100


def test_without_any_report_it_is_the_time_since_there_could_have_been_one(declare, look):
    """Otherwise a job that has failed since its first day would never be missed."""
    declare("daily_report")

    # The template of all databases was migrated when the first test began.
    assert 3 * 86400 <= look("report_age_seconds") < 4 * 86400


@pytest.mark.parametrize(
    "change", ["paused_at = workshed.now()", "seen_at = workshed.now() - interval '2 days'"]
)
def test_a_report_that_is_not_expected_is_not_missing(conn, declare, look, change):
    declare("daily_report")
    conn.execute(f"UPDATE workshed.periodic_jobs SET {change}")  # noqa: S608 -- of the two above

    assert math.isnan(look("report_age_seconds"))


@pytest.mark.fresh_database
def test_without_the_product_there_is_no_report_age(conn, declare, look):
    declare("daily_report")
    conn.execute("DROP SCHEMA shop CASCADE")
    conn.execute("DELETE FROM workshed.migrations WHERE stream = 'shop'")

    assert math.isnan(look("report_age_seconds"))
