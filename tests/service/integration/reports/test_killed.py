"""The job may be killed at any line and redelivered: one report, and one email per admin."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from actors import daily_report
from workshed import db
from workshed.contrib.storage import storage
from workshed.settings import settings

pytestmark = pytest.mark.one_in(3)  # a kill at every line, each in its own process

MOST_LINES = 1_000
ADMINS = 3
WAITING = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@pytest.fixture
def day(database, broker, tmp_path, monkeypatch, shop):
    """`day(7)`: a unique date with sales."""
    monkeypatch.setenv("WORKSHED_STORAGE_URL", f"file:{tmp_path}/contents")
    settings.cache_clear()
    for number in range(ADMINS):
        shop.user(f"Admin {number}", admin=True)
    desk = shop.product()

    def sold(number):
        noon = datetime(2026, 3, 1, 12, tzinfo=UTC) - timedelta(days=number)
        shop.order((desk, number, "10.05"), at=noon)
        return str(noon.date())

    return sold


@pytest.fixture
def right(shop):
    """`right("2026-03-01")`: whether its numbers and each admin's email and files are complete."""

    def look(of, units):
        found = shop.report(of)
        query = """
            SELECT count(DISTINCT e.id), count(*), count(DISTINCT f.sha256)
              FROM workshed_mail.emails AS e
              JOIN workshed_mail.email_files AS f ON f.email_id = e.id
             WHERE e.about = %s
        """
        with db.transaction() as conn:
            counts = conn.execute(query, (of,)).fetchone()
        return (found["sales"][0]["top"][0]["units"], *counts) == (units, ADMINS, 2 * ADMINS, 2)

    return look


def sent(shop, actor):
    """Return the argument of each sent job of an actor."""
    query = "SELECT array_agg(body::json #>> '{args,0}') FROM workshed.schedule WHERE actor = %s"
    return shop.one(query, actor) or []


@pytest.mark.timeout(3600)
def test_a_report_is_killed_at_any_line(day, right, shop, killed, scale, lane):
    """At full scale it is killed at each line, otherwise at a few."""
    step = lane(sample=60, exhaustive=31 - scale(30))
    for line in range(1, MOST_LINES, step):
        of = day(line)

        ended = killed(line, "daily_report", of)
        daily_report(of)

        assert right(of, line)
        if ended:
            break
    else:
        pytest.fail("it never came to its end")
    assert line > 100
    mails = shop.one("SELECT array_agg(id::text) FROM workshed_mail.emails")
    assert set(mails) == set(sent(shop, "deliver_email"))
    assert sent(shop, "cleanup_old_reports")
    for sha256 in shop.one("SELECT array_agg(DISTINCT sha256) FROM workshed_mail.email_files"):
        with storage().open(sha256) as file:
            assert hashlib.sha256(file.read()).hexdigest() == sha256


def test_copies_that_run_at_once_store_one_report_and_one_mail_each(day, right, shop):
    for turn in range(1, 6):
        of = day(turn)

        with ThreadPoolExecutor(6) as threads:
            list(threads.map(daily_report, [of] * 6))

        assert right(of, turn)
    assert shop.one("SELECT count(*) FROM workshed_mail.emails") == 5 * ADMINS


def test_a_copy_that_computed_other_numbers_mails_those_that_are_stored(
    day, shop, connect, eventually
):
    of, other = day(1), connect()
    stored = {
        "new_users": 8,
        "active_users": 9,
        "sales": [{"currency": "EUR", "trend": ["0.70"] * 30, "top": []}],
    }
    other.execute("LOCK TABLE shop.daily_report_snapshots IN SHARE ROW EXCLUSIVE MODE")

    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(daily_report, of)
        eventually(lambda: shop.one(WAITING) == 1)
        query = """
            INSERT INTO shop.daily_report_snapshots VALUES (%s, 'UTC', %s, %s, %s)
        """
        other.execute(query, (of, f"{of} 00:00Z", f"{of} 24:00Z", json.dumps(stored)))
        other.commit()
        slow.result()

    assert shop.report(of) == stored
    subjects = "SELECT array_agg(DISTINCT split_part(subject, ': ', 2)) FROM workshed_mail.emails"
    assert shop.one(subjects) == ["0.70 EUR, 8 new users"]
