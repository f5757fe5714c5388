"""The example of docs/reports.md, run with real workers."""

import re
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from actors import activate_user
from shop import people
from shop.settings import ShopSettings
from tests import pages
from workshed import db
from workshed.settings import settings

PAGE = pages.text("docs/reports.md")
[(NAME, TEXT)] = pages.files("docs/reports.md").items()
[SUBJECT] = re.findall(r"The mail's subject is then `(.+?)`", PAGE)


@pytest.fixture
def grace(broker, environment, tmp_path, monkeypatch):
    """The user whom the page makes an admin."""
    monkeypatch.setenv("WORKSHED_STORAGE_URL", f"file:{tmp_path}/contents")
    settings.cache_clear()
    with db.transaction() as conn:
        user = people.create(conn, name="Grace", email="grace@example.org")
        activate_user(conn, user.id)


def test_the_example_of_the_page_is_mailed(
    grace, tmp_path, run, environment, start_worker, mail_server, eventually
):
    (tmp_path / NAME).write_text(TEXT)
    start_worker()

    code, said = run(NAME, **environment)

    assert code == 0, said
    (mail,) = eventually(lambda: mail_server.received)
    assert mail.recipients == ("grace@example.org",)
    assert mail.message["Subject"] == SUBJECT


def test_the_calendar_reports_each_day_at_the_time_of_its_zone(
    grace, start_worker, mail_server, conn, count, eventually
):
    """After two days without a worker, each has its own report, about the day before it was due."""
    conn.autocommit = True
    conn.execute("UPDATE shop.users SET admin = true")
    paris = ZoneInfo("Europe/Paris")
    two_days_ago = datetime.now(paris).date() - timedelta(days=2)
    due = [
        datetime.combine(two_days_ago + timedelta(days=number), time(0, 1), paris)
        for number in range(3)
    ]
    start_worker(env={"SHOP_REPORT_TIME": "00:01", "SHOP_REPORT_TIME_ZONE": paris.key})
    eventually(lambda: count("workshed.periodic_jobs WHERE name = 'daily_report'") == 1)
    conn.execute(
        "UPDATE workshed.periodic_jobs SET next_at = %s WHERE name = 'daily_report'", (due[0],)
    )

    past = [at for at in due if at < datetime.now(paris)]
    eventually(lambda: len(mail_server.received) >= len(past))

    scheduled_for = (
        "SELECT scheduled_for FROM workshed.periodic_runs "
        "WHERE job = 'daily_report' ORDER BY scheduled_for"
    )
    dates = "SELECT business_date FROM shop.daily_report_snapshots ORDER BY business_date"
    assert len(past) >= 2
    assert [at for (at,) in conn.execute(scheduled_for)][: len(past)] == past
    reported = [of for (of,) in conn.execute(dates)]
    assert reported[: len(past)] == [at.date() - timedelta(days=1) for at in past]
    assert len({str(one.message["Subject"]) for one in mail_server.received}) >= len(past)


def test_the_settings_of_the_page_are_those_there_are():
    names = set(re.findall(r"`SHOP_(REPORT_\w+)`", PAGE))

    assert names == {
        name.upper() for name in ShopSettings.model_fields if name.startswith("report_")
    }
