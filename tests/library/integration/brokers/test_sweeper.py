"""Runs that no clock created are created by a relay, from the rows alone, within their window."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from workshed.cronspec import cron, daily, every
from workshed.jobs.periodic import periodic_jobs, periodic_runs
from workshed.jobs.periodic.periodic_jobs import PeriodicDeclaration
from workshed.transport.relay.missed_runs import BATCH, POLL_S, create_missed_runs
from workshed.transport.relay.relay import run_relay

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

pytestmark = pytest.mark.fresh_database  # most tests replace the clock of the database


@pytest.fixture
def relay(connect):
    """The connection of a relay."""
    return connect(autocommit=True)


@pytest.fixture
def note(relay):
    """`note(daily("09:00"))`: a running worker declares such a job."""

    def note(spec, name="report", **options):
        periodic_jobs.declare_jobs(relay, [PeriodicDeclaration(name, "low", spec, options)])

    return note


@pytest.fixture
def rows(relay):
    return lambda query, *values: relay.execute(query, values).fetchall()


@pytest.fixture
def outage(rows):
    """`outage(DAY)`: no run was created for so long, until now."""
    return lambda span: rows(
        "UPDATE workshed.periodic_jobs SET next_at = next_at - %s RETURNING 1", span
    )


@pytest.fixture
def at(relay):
    """`at("2026-03-29T00:59")`: stop PostgreSQL's clock at that time."""
    relay.execute("CREATE TABLE public.clock (now timestamptz)")
    relay.execute("INSERT INTO public.clock VALUES (NULL)")
    relay.execute("""
        CREATE OR REPLACE FUNCTION workshed.now() RETURNS timestamptz
            LANGUAGE sql STABLE
            RETURN (SELECT COALESCE(now, statement_timestamp()) FROM public.clock)
    """)

    def at(text):
        relay.execute("UPDATE public.clock SET now = %s", (datetime.fromisoformat(text + "Z"),))

    return at


@pytest.fixture
def alive(rows):
    """Let workers confirm that they have the job, whatever the clock was set to."""
    return lambda: rows("UPDATE workshed.periodic_jobs SET seen_at = workshed.now() RETURNING 1")


@pytest.fixture
def scheduled_for(rows):
    """The runs that were created, as `day hour:minute` in UTC."""

    def scheduled_for():
        found = rows("SELECT scheduled_for FROM workshed.periodic_runs ORDER BY scheduled_for")
        return [one.astimezone(UTC).strftime("%d %H:%M") for (one,) in found]

    return scheduled_for


def test_a_run_that_no_clock_created_is_created(relay, note, outage, rows, counted):
    note(every(HOUR))
    outage(HOUR)
    before = counted("periodic_runs_total", actor="report", by="catch_up")

    wait = create_missed_runs(relay)

    assert counted("periodic_runs_total", actor="report", by="catch_up") == before + 1

    [(job, created_by, message_id)] = rows(
        "SELECT job, created_by, message_id FROM workshed.periodic_runs"
    )
    assert (wait, job, created_by) == (POLL_S, "report", "catch_up")
    assert rows("SELECT message_id, actor, queue FROM workshed.schedule") == [
        (message_id, "report", "low")
    ]


def test_a_run_that_a_clock_created_is_not_created_again(relay, note, outage, rows):
    """Neither locks the row; the first to commit wins."""
    note(every(HOUR))
    outage(HOUR)
    [(due,)] = rows("SELECT next_at FROM workshed.periodic_jobs")
    periodic_runs.create_run(relay, "report", due, "clock")

    create_missed_runs(relay)

    assert rows("SELECT created_by FROM workshed.periodic_runs") == [("clock",)]
    assert len(rows("SELECT 1 FROM workshed.schedule")) == 1


def test_several_relays_create_one_run(note, outage, rows, connect, in_threads):
    note(every(HOUR))
    outage(HOUR)

    in_threads(create_missed_runs, [connect(autocommit=True) for _ in range(8)], threads=4)

    assert len(rows("SELECT 1 FROM workshed.schedule")) == 1


# An outage of three days


def test_after_three_days_the_last_run_is_created_with_once(relay, note, at, alive, scheduled_for):
    at("2026-03-02T12:00")
    note(daily("09:00"))

    at("2026-03-05T12:00")
    alive()
    create_missed_runs(relay)

    assert scheduled_for() == ["05 09:00"]


def test_after_three_days_each_run_is_created_with_all(relay, note, at, alive, scheduled_for):
    at("2026-03-02T12:00")
    note(daily("09:00", misfire="all"))

    at("2026-03-05T12:00")
    alive()
    create_missed_runs(relay)

    assert scheduled_for() == ["03 09:00", "04 09:00", "05 09:00"]


def test_after_three_days_no_run_is_created_with_skip(
    relay, note, at, alive, scheduled_for, caplog
):
    at("2026-03-02T12:00")
    note(daily("09:00", misfire="skip"))

    at("2026-03-05T12:00")
    alive()
    create_missed_runs(relay)

    assert scheduled_for() == []
    assert "are skipped, because of misfire='skip' and misfire_window=0:01:00" in caplog.text
    at("2026-03-06T09:00:05")
    alive()
    create_missed_runs(relay)
    assert scheduled_for() == ["06 09:00"]


def test_no_run_is_created_later_than_its_window(relay, note, at, alive, scheduled_for):
    at("2026-03-02T12:00")
    note(daily("09:00", misfire="all", misfire_window=timedelta(days=2)))

    at("2026-03-05T10:00")
    alive()
    create_missed_runs(relay)

    assert scheduled_for() == ["04 09:00", "05 09:00"]


def test_a_missed_sunday_run_is_created_on_tuesday(relay, note, at, alive, scheduled_for):
    at("2026-03-07T12:00")
    note(cron("0 3 * * SUN"))

    at("2026-03-10T12:00")
    alive()
    create_missed_runs(relay)

    assert scheduled_for() == ["08 03:00"]


def test_the_day_on_which_the_clocks_are_put_forward_has_its_run(
    relay, note, at, alive, scheduled_for
):
    at("2026-03-28T12:00")
    note(daily("02:30", tz="Europe/Paris"))

    for now in ("2026-03-29T00:59", "2026-03-29T01:00", "2026-03-29T01:30", "2026-03-29T02:30"):
        at(now)
        alive()
        create_missed_runs(relay)

    assert scheduled_for() == ["29 01:00"]


def test_the_day_on_which_the_clocks_are_put_back_has_one_run(
    relay, note, at, alive, scheduled_for
):
    at("2026-10-24T12:00")
    note(daily("02:30", tz="Europe/Paris"))

    for now in ("2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:30", "2026-10-25T02:30"):
        at(now)
        alive()
        create_missed_runs(relay)

    assert scheduled_for() == ["25 00:30"]


def test_a_long_outage_of_a_frequent_job_is_caught_up_in_batches(relay, note, outage, rows):
    """In one transaction the row would be locked for minutes, and its clock would wait."""
    note(every(timedelta(seconds=10), misfire="all"))
    outage(timedelta(seconds=10 * (BATCH + 10)))

    waits = [create_missed_runs(relay), create_missed_runs(relay)]

    assert waits == [0, POLL_S]
    [(number, different)] = rows(
        "SELECT count(*), count(DISTINCT scheduled_for) FROM workshed.periodic_runs"
    )
    assert number == different
    assert BATCH + 10 <= number <= BATCH + 11


# Wrong clocks


def test_a_clock_that_is_put_forward_and_back_creates_each_run_once(
    relay, note, at, alive, scheduled_for
):
    at("2026-03-02T08:00")
    note(daily("09:00"))

    for now in ("2026-03-02T10:00", "2026-03-02T08:30", "2026-03-02T09:00", "2026-03-03T09:00"):
        at(now)
        alive()
        create_missed_runs(relay)

    assert scheduled_for() == ["02 09:00", "03 09:00"]


# Runs that are not created


def test_a_new_job_has_no_past_runs(relay, note, rows):
    note(cron("* * * * *", misfire="all"))

    create_missed_runs(relay)

    assert rows("SELECT 1 FROM workshed.periodic_runs") == []


def test_runs_that_fall_into_a_pause_are_not_caught_up(relay, note, at, alive, scheduled_for):
    """Otherwise a week of runs would begin when an operator ends the pause."""
    at("2026-03-02T12:00")
    note(daily("09:00", misfire="all"))
    periodic_jobs.pause_job(relay, "report")
    for now in ("2026-03-03T10:00", "2026-03-04T10:00"):
        at(now)
        alive()
        create_missed_runs(relay)

    [job] = periodic_jobs.list_periodic_jobs(relay)
    assert periodic_jobs.resume_job(relay, job)
    create_missed_runs(relay)
    at("2026-03-05T09:00")
    alive()
    create_missed_runs(relay)

    assert scheduled_for() == ["05 09:00"]


def test_no_run_is_created_of_a_job_that_no_live_release_has(relay, note, outage, rows):
    """No worker would know its actor: each run would be retried for an hour and die."""
    note(every(HOUR))
    outage(HOUR)
    rows(
        "UPDATE workshed.periodic_jobs SET seen_at = workshed.now() - interval '11 min' RETURNING 1"
    )

    create_missed_runs(relay)

    assert rows("SELECT 1 FROM workshed.periodic_runs") == []


def test_a_run_is_created_when_a_worker_comes_back_in_time(relay, note, outage, rows):
    note(every(HOUR))
    outage(HOUR)
    rows(
        "UPDATE workshed.periodic_jobs SET seen_at = workshed.now() - interval '1 day' RETURNING 1"
    )
    create_missed_runs(relay)

    note(every(HOUR))
    create_missed_runs(relay)

    assert len(rows("SELECT 1 FROM workshed.periodic_runs")) == 1


@pytest.mark.parametrize("change", ["kind = 'lunar'", "zone = 'Mars/Olympus'", "spec = 'x'"])
def test_a_row_that_this_release_cannot_read_holds_up_no_other_job(
    relay, note, outage, rows, change, caplog
):
    note(daily("00:00"), name="another")
    note(every(HOUR))
    outage(2 * DAY)
    rows(f"UPDATE workshed.periodic_jobs SET {change} WHERE name = 'another' RETURNING 1")  # noqa: S608 -- of those above

    create_missed_runs(relay)

    assert rows("SELECT job FROM workshed.periodic_runs") == [("report",)]
    assert "another is left to another relay" in caplog.text


def test_a_relay_sweeps(note, outage, rows, broker, eventually, monkeypatch, relay):
    """With relays but no clock, periodic jobs still run, a few seconds late."""
    monkeypatch.setattr("workshed.transport.relay.relay.get_broker", lambda: broker)
    note(every(HOUR))
    outage(HOUR)
    stop = threading.Event()
    thread = threading.Thread(target=run_relay, args=[stop])

    thread.start()
    try:
        eventually(lambda: rows("SELECT 1 FROM workshed.periodic_runs"))
    finally:
        stop.set()
        thread.join(60)
