"""The actors that report, with the middleware around a job."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from actors import cleanup_old_reports, daily_report, deliver_email
from shop import reports
from shop.reports import DayRefusedError, business_days
from shop.settings import settings as shop_settings
from tests.service.integration.reports.conftest import MONDAY, SUNDAY
from tests.service.variables import variable
from workshed import db
from workshed.errors import SettingsError
from workshed.settings import settings

NOON = datetime(2026, 3, 1, 11, tzinfo=UTC)
HOUR, A_DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def grace(jobs, shop, paris):
    """The active admin."""
    return shop.user("Grace", admin=True)


def yesterday(zone="Europe/Paris"):
    """Return yesterday's date; a test may run at midnight."""
    return str(business_days.previous_day(datetime.now(UTC), zone).date)


def sent_now(jobs, actor):
    return [job for job in jobs.enqueued if job.actor == actor.actor_name]


# The reported day


def test_it_is_planned_daily_at_the_time_of_the_settings_in_their_zone():
    spec = daily_report.options["periodic"].spec

    assert str(spec) == f"daily {shop_settings().report_time}"
    assert (spec.tz, daily_report.queue_name) == (None, "scheduled")
    assert cleanup_old_reports.queue_name == "low"


def test_the_time_and_zone_of_settings_are_those_of_the_clock(run_python):
    code = "import actors; print(actors.daily_report.options['periodic'])"

    said = run_python(code, SHOP_REPORT_TIME="07:30", SHOP_REPORT_TIME_ZONE="Asia/Tokyo")

    assert said == "daily 07:30 Asia/Tokyo\n"


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("REPORT_TIME", "9:00", "must be HH:MM"),
        ("REPORT_TIME", "24:00", "must be HH:MM"),
        ("REPORT_TIME_ZONE", "Europe/Pari", "did you mean Europe/Paris"),
        ("REPORT_CURRENCY", "eur", "three capital letters"),
    ],
)
def test_settings_that_mean_nothing_are_refused(monkeypatch, name, value, why):
    monkeypatch.setenv(variable(name), value)
    settings.cache_clear()

    with pytest.raises(SettingsError, match=f"{variable(name)}: .*{why}"):
        shop_settings()


@pytest.mark.parametrize(
    ("at", "reported", "hours"),
    [
        ("2026-03-02T08:00", "2026-03-01", 24),
        ("2026-03-01T23:30", "2026-03-01", 24),  # 00:30 on Monday
        ("2026-03-01T22:30", "2026-02-28", 24),
        ("2026-03-30T07:00", "2026-03-29", 23),
        ("2026-03-29T07:00", "2026-03-28", 24),
        ("2025-10-27T08:00", "2025-10-26", 25),
        ("2025-10-26T08:00", "2025-10-25", 24),
    ],
)
def test_a_run_reports_the_day_before_it_was_planned(
    jobs, grace, shop, scheduled_for, at, reported, hours
):
    """The time at which it runs does not matter: now is months later."""
    scheduled_for(datetime.fromisoformat(at).replace(tzinfo=UTC))

    jobs.drain()

    assert shop.dates() == [reported]
    query = "SELECT extract(epoch FROM ends_at - starts_at) FROM shop.daily_report_snapshots"
    assert shop.one(query) == hours * 3600


def test_a_run_that_is_late_and_fails_reports_the_same_day(jobs, grace, shop, scheduled_for, sent):
    scheduled_for(MONDAY)
    jobs.fail_next(daily_report, TimeoutError("no answer"))
    jobs.fail_next(daily_report, TimeoutError("no answer"))

    for _ in range(2):
        jobs.advance(days=3)
        with jobs.expect_retry():
            jobs.drain()
    jobs.advance(days=3)
    jobs.drain()

    assert shop.dates() == [SUNDAY]
    assert len(sent()) == 1


def test_one_that_is_sent_by_hand_reports_the_day_before_it_was_sent(jobs, grace, shop):
    wanted = yesterday()
    daily_report.send()
    jobs.fail_next(daily_report, TimeoutError("no answer"))

    jobs.advance(days=2)
    with jobs.expect_retry():
        jobs.drain()
    jobs.advance(days=2)
    jobs.drain()

    assert shop.dates() == [wanted]


def test_outside_a_job_it_is_the_day_before_now(grace, shop):
    wanted = yesterday()

    daily_report()

    assert shop.dates() == [wanted]


def test_a_day_that_is_not_over_by_postgresql_is_waited_for(jobs, grace, shop, scheduled_for):
    """The clock that made the run at midnight is ahead of PostgreSQL's."""
    tomorrow = business_days.previous_day(datetime.now(UTC) + A_DAY, "Europe/Paris")
    scheduled_for(tomorrow.ends_at)

    jobs.drain()
    assert shop.dates() == []
    assert [run.outcome.kind for run in jobs.runs] == ["snoozed"]
    jobs.advance(hours=26)
    jobs.drain()

    assert shop.dates() == [str(tomorrow.date)]


@pytest.mark.parametrize(
    "text",
    ["2026-02-30", "20260301", "2026-W09-7", "yesterday", "", "2026-03-01T00:00", "٢٠٢٦-03-01"],
)
def test_an_invalid_date_is_dead_at_once(jobs, grace, shop, text):
    daily_report.send(text)

    with pytest.raises(DayRefusedError, match="write YYYY-MM-DD"):
        jobs.drain()

    (dead,) = jobs.dead
    assert dead.error_class == "DayRefusedError"
    assert (shop.dates(), jobs.mailbox) == ([], [])


@pytest.mark.parametrize("away", [0, 1, 400])
def test_a_day_that_is_not_over_is_dead_at_once(jobs, grace, shop, away):
    of = datetime.now(UTC).date() + timedelta(days=1 + away)
    daily_report.send(str(of))

    with pytest.raises(DayRefusedError, match="not over yet in Europe/Paris; ask for it when"):
        jobs.drain()

    assert len(jobs.dead) == len(jobs.runs) == 1
    assert (shop.dates(), jobs.mailbox) == ([], [])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("9999-12-31", "not over yet"),
        ("0001-01-01", "from 1970-01-01 on"),
        ("1969-12-31", "from 1970-01-01 on"),
        (20260301, "write YYYY-MM-DD"),
    ],
)
def test_impossible_days_are_refused(jobs, grace, text, why):
    with pytest.raises(DayRefusedError, match=why):
        daily_report(text)


def test_a_day_that_the_clocks_passed_over_is_refused(jobs, configured):
    configured(report_time_zone="Pacific/Apia")

    with pytest.raises(DayRefusedError, match="passed over that day"):
        daily_report("2011-12-30")


def test_a_day_is_over_to_the_moment(jobs, grace, shop):
    """PostgreSQL's clock decides, in the zone of the report."""
    now = jobs.freeze()
    today = business_days.day_of(now.astimezone(UTC).date(), "UTC")
    with db.transaction() as conn:
        conn.execute(
            "UPDATE workshed.clock SET stopped_at = %s", (today.ends_at - business_days.MOMENT,)
        )
    with pytest.raises(DayRefusedError), db.transaction() as conn:
        reports.resolve_day(conn, str(today.date), "UTC")

    with db.transaction() as conn:
        conn.execute("UPDATE workshed.clock SET stopped_at = %s", (today.ends_at,))
        assert reports.resolve_day(conn, str(today.date), "UTC") == today


# Repeated runs


def test_a_past_date_keeps_its_first_report(jobs, grace, shop, sent):
    desk = shop.product()
    order = shop.order((desk, 2, "10.05"), at=NOON)
    daily_report.send(SUNDAY)
    jobs.drain()
    before, subject = shop.report(), sent()[0]["Subject"]

    shop.order((desk, 1, "99"), at=NOON)
    shop.user("Eve", at=NOON)
    with db.transaction() as conn:
        conn.execute("DELETE FROM shop.orders WHERE id = %s", (order,))
    late = shop.user("Linus", admin=True)
    daily_report.send(SUNDAY)
    jobs.drain()

    assert shop.report() == before
    assert before["sales"][0]["trend"][-1] == "20.10"
    assert [mail["To"].split()[0] for mail in sent()] == ["Grace", "Linus"]
    assert {mail["Subject"] for mail in sent()} == {subject}
    assert late


def test_each_active_admin_is_mailed_once_however_often_it_runs(
    jobs, grace, shop, scheduled_for, sent
):
    shop.user("Linus", admin=True)
    shop.user("Not yet", admin=True, active=False)
    shop.user("Stranger")

    for _ in range(3):
        scheduled_for(MONDAY)
        daily_report.send(SUNDAY)
    jobs.drain()
    scheduled_for(MONDAY)
    jobs.drain()

    assert sorted(mail["To"].split()[0] for mail in sent()) == ["Grace", "Linus"]
    assert shop.dates() == [SUNDAY]
    assert len({mail["Message-ID"] for mail in sent()}) == 2


def test_the_next_day_has_mails_of_its_own(jobs, grace, scheduled_for, sent):
    scheduled_for(MONDAY)
    scheduled_for(MONDAY + A_DAY)
    jobs.drain()

    assert [mail["Subject"] for mail in sent()] == [
        "Report of Sunday, 1 March 2026: 0.00 EUR, 0 new users",
        "Report of Monday, 2 March 2026: 0.00 EUR, 1 new user",
    ]


def test_no_data_is_a_report_of_zeros(jobs, shop, sent, cells):
    grace = shop.user("Grace", admin=True)
    with db.transaction() as conn:
        conn.execute("UPDATE shop.users SET created_at = '2020-01-01' WHERE id = %s", (grace,))
    daily_report.send(SUNDAY)
    jobs.drain()

    assert shop.report() == {
        "new_users": 0,
        "active_users": 0,
        "sales": [{"currency": "EUR", "trend": ["0"] * 30, "top": []}],
    }
    (mail,) = sent()
    assert {row["value"] for row in cells(mail)} == {"0", "0.00"}
    assert "Nothing was sold" in mail.get_body(("plain",)).get_content()
    assert "Nothing was sold" in mail.get_body(("html",)).get_content()


def test_without_admins_a_day_is_stored_and_no_mail_is_sent(jobs, shop):
    daily_report.send(SUNDAY)
    jobs.drain()

    assert shop.dates() == [SUNDAY]
    assert jobs.mailbox == []


def test_its_mails_and_its_cleanup_are_sent_with_it(jobs, grace):
    jobs.perform(daily_report, SUNDAY)

    assert len(sent_now(jobs, deliver_email)) == 1
    assert len(sent_now(jobs, cleanup_old_reports)) == 1


# Cleanup


def test_reports_and_their_mails_are_deleted_after_their_retention(jobs, grace, shop, sent):
    daily_report.send(SUNDAY)
    jobs.drain()
    mails = "SELECT count(*) FROM workshed_mail.emails"

    jobs.advance(days=729)
    daily_report.send("2026-03-02")
    jobs.drain()
    assert (shop.dates(), shop.one(mails)) == ([SUNDAY, "2026-03-02"], 2)
    jobs.advance(days=2)
    jobs.perform(cleanup_old_reports)

    assert (shop.dates(), shop.one(mails)) == (["2026-03-02"], 1)
    assert shop.one("SELECT count(*) FROM workshed_mail.email_files") == 2


def test_mails_that_wait_and_mails_of_other_kinds_are_left(jobs, grace, shop):
    daily_report.send(SUNDAY)
    jobs.drain()
    with db.transaction() as conn:
        conn.execute("UPDATE workshed_mail.emails SET state = 'pending', sent_at = NULL")
        conn.execute(
            """INSERT INTO workshed_mail.emails
                      (kind, recipient, recipient_name, subject, text_body, message_id, state,
                       sent_at)
               VALUES ('welcome', 'a@example.org', 'Ada', 'Hello', '', '<1@x>', 'sent',
                       workshed.now())"""
        )

    jobs.advance(days=800)
    jobs.perform(cleanup_old_reports)

    assert shop.one("SELECT count(*) FROM workshed_mail.emails") == 2
    assert shop.dates() == []


def test_the_retention_is_that_of_the_settings(jobs, grace, shop, configured):
    configured(report_retention="3600")
    daily_report.send(SUNDAY)
    jobs.drain()

    jobs.advance(minutes=59)
    jobs.perform(cleanup_old_reports)
    assert shop.dates() == [SUNDAY]
    jobs.advance(minutes=2)
    jobs.perform(cleanup_old_reports)

    assert shop.dates() == []


def test_a_stored_report_is_read_as_it_was_made(jobs, shop, paris):
    shop.order((shop.product(), 3, "0.1"), at=NOON)
    day = business_days.day_of(date.fromisoformat(SUNDAY), "Europe/Paris")

    made = reports.get_or_create(day)

    assert made.day == day
    assert made.numbers.sales[0].revenue == Decimal("0.3")
    with db.transaction() as conn:
        assert reports.find_report(conn, day.date) == made
        assert reports.find_report(conn, day.date - A_DAY) is None
