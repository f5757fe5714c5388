"""Periodic jobs: declared when their program starts, and created once however many clocks fire."""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from math import inf

import orjson
import pendulum
import periodiq
import pytest
import time_machine

from workshed import db
from workshed.cronspec import cron, daily, every
from workshed.errors import WorkshedError
from workshed.jobs import Snooze, attempt, scheduled_for, sent_at
from workshed.jobs.periodic import periodic_jobs, periodic_runs
from workshed.middleware import Unique
from workshed.middleware.periodic.periodic import Periodic
from workshed.middleware.periodic.periodiq_spec import PeriodiqSpec
from workshed.settings import settings
from workshed.transport.messages.envelope import decode_message

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

HOUR = timedelta(hours=1)


@pytest.fixture
def clock(broker):
    """The middleware that the stock clock calls, as when its program starts."""
    found = next(m for m in broker.middleware if isinstance(m, Periodic))
    found._declared_names, found._declare_at, found._paused_until = set(), 0.0, 0.0
    return found


@pytest.fixture
def ran():
    return []


@pytest.fixture
def report(actor, clock, ran):
    """An actor that runs every ten seconds; each test fires its clock itself."""

    @actor(actor_name="report", queue_name="low", periodic=every(timedelta(seconds=10)))
    def report():
        ran.append(scheduled_for())

    return report


@pytest.fixture
def past(rows):
    """`past(HOUR)`: let the declared jobs be so old, with no run created since."""

    def past(span):
        rows("UPDATE workshed.periodic_jobs SET next_at = next_at - %s RETURNING 1", span)

    return past


@pytest.fixture
def tell_time(rows):
    """Return a function that reads PostgreSQL's clock."""
    return lambda: rows("SELECT workshed.now()")[0][0].astimezone(UTC)


def declared(broker, clock):
    with db.transaction() as conn:
        periodic_jobs.declare_jobs(conn, clock.jobs(broker, conn))


def fire(actor, at):
    """Do as `periodiq` does when it starts."""
    spec_option = actor.options["periodic"]
    assert not PeriodiqSpec(
        spec_option.spec, spec_option._on_tick, spec_option._create_run
    ).validate(at.replace(microsecond=0))


# Which jobs are declared


def test_a_job_that_needs_tables_is_declared_only_where_they_exist(actor, broker, clock, rows):
    @actor(actor_name="ours", periodic=daily("09:00"), needs="shop")
    def ours():
        pass

    @actor(actor_name="theirs", periodic=daily("09:00"))
    def theirs():
        pass

    declared(broker, clock)
    assert {"ours", "theirs"} <= names(rows)

    rows("DELETE FROM workshed.periodic_jobs RETURNING 1")
    rows("DELETE FROM workshed.migrations WHERE stream = 'shop' RETURNING 1")
    declared(broker, clock)
    assert "theirs" in names(rows)
    assert "ours" not in names(rows)


def test_needs_must_name_a_stream_of_migrations(actor):
    with pytest.raises(
        ValueError, match=r"needs='store': your App has the streams workshed, .*shop"
    ):
        actor(actor_name="ours", periodic=daily("09:00"), needs="store")(lambda: None)


def names(rows):
    return {name for (name,) in rows("SELECT name FROM workshed.periodic_jobs")}


# The runs a clock creates


def test_a_clock_stores_a_run_and_its_message_together(
    report, rows, tell_time, past, broker, clock
):
    declared(broker, clock)
    past(HOUR)

    fire(report, tell_time())

    [(job, scheduled_for, message_id, created_by)] = rows(
        "SELECT job, scheduled_for, message_id, created_by FROM workshed.periodic_runs"
    )
    [(stored, queue, body)] = rows("SELECT message_id, queue, body FROM workshed.schedule")
    message = decode_message(body.encode(), queue)
    assert (job, created_by) == ("report", "clock")
    assert message_id == stored == message.message_id
    assert message.options == {
        "origin": "cron",
        "scheduled_for": int(scheduled_for.timestamp() * 1000),
    }
    assert scheduled_for.timestamp() % 10 == 0


@pytest.mark.rabbitmq("publishing instead of storing")
def test_a_clock_publishes_nothing_itself(report, count_jobs, broker, clock, past, tell_time):
    """A message sent before its row commits may run twice, and one sent after it may be lost."""
    broker.ensure_queues({"low"})
    declared(broker, clock)
    past(HOUR)

    fire(report, tell_time())

    assert count_jobs("low")[0] == 0


def test_any_number_of_clocks_create_one_run(
    report, rows, broker, clock, past, tell_time, in_threads
):
    """Two stock clocks send everything twice."""
    declared(broker, clock)
    past(HOUR)
    now = tell_time()

    in_threads(lambda _: fire(report, now), range(20), threads=4)

    assert len(rows("SELECT 1 FROM workshed.periodic_runs")) == 1
    assert len(rows("SELECT 1 FROM workshed.schedule")) == 1


def test_three_starts_of_a_clock_within_a_minute_make_one_run(
    actor, clock, broker, rows, past, tell_time
):
    minutes = actor(actor_name="minutes", queue_name="low", periodic=cron("* * * * *"))(
        lambda: None
    )
    declared(broker, clock)
    past(HOUR)
    minute = tell_time().replace(second=0)

    for second in (0, 20, 40):
        fire(minutes, minute + timedelta(seconds=second))

    assert rows("SELECT scheduled_for FROM workshed.periodic_runs") == [
        (minute.replace(microsecond=0),)
    ]


def test_a_clock_that_wakes_up_late_still_creates_the_run(
    report, rows, broker, clock, past, tell_time
):
    declared(broker, clock)
    past(HOUR)
    scheduled_for = datetime.fromtimestamp(tell_time().timestamp() // 10 * 10, UTC)

    fire(report, scheduled_for + timedelta(seconds=3))

    assert rows("SELECT scheduled_for FROM workshed.periodic_runs") == [(scheduled_for,)]


def test_a_clock_that_was_set_back_makes_no_run_twice(report, rows, broker, clock, past, tell_time):
    declared(broker, clock)
    past(HOUR)
    now = tell_time()

    fire(report, now)
    fire(report, now - timedelta(minutes=5))
    fire(report, now)

    assert len(rows("SELECT 1 FROM workshed.periodic_runs")) == 2


def test_a_clock_that_is_an_hour_ahead_creates_nothing_early(
    report, rows, broker, clock, tell_time, caplog
):
    """Created now, the run would be missing when its time comes."""
    declared(broker, clock)

    with caplog.at_level("INFO"):
        fire(report, tell_time() + HOUR)

    assert rows("SELECT 1 FROM workshed.periodic_runs") == []
    assert "this host is ahead of PostgreSQL by " in caplog.text


def test_a_run_created_a_moment_too_early_is_sent_on_time(
    report, rows, broker, clock, past, tell_time
):
    declared(broker, clock)
    past(HOUR)

    fire(report, tell_time() + timedelta(seconds=40))

    [(scheduled_for, due_at)] = rows(
        "SELECT scheduled_for, due_at FROM workshed.periodic_runs "
        "JOIN workshed.schedule USING (message_id)"
    )
    assert due_at == scheduled_for


def test_a_clock_of_an_older_release_makes_nothing(
    report, rows, broker, clock, past, tell_time, caplog
):
    """One left running would create runs that are no longer planned, next to those that are."""
    declared(broker, clock)
    past(HOUR)
    clock._declare_at = inf
    rows("UPDATE workshed.periodic_jobs SET spec = '3600' RETURNING 1")

    with caplog.at_level("INFO"):
        fire(report, tell_time())

    assert rows("SELECT 1 FROM workshed.periodic_runs") == []
    assert "a release that started later plans it otherwise" in caplog.text


def test_no_run_of_a_paused_job_is_created(report, rows, broker, clock, past, tell_time, conn):
    declared(broker, clock)
    past(HOUR)
    periodic_jobs.pause_job(conn, "report")
    conn.commit()

    fire(report, tell_time())

    assert rows("SELECT 1 FROM workshed.periodic_runs") == []


def test_a_clock_goes_on_while_postgresql_is_away(report, no_database, caplog):
    """Stock `periodiq` exits on any error, which stops all jobs."""
    now = datetime.now(UTC)

    fire(report, now)
    fire(report, now)

    assert caplog.text.count("are not declared yet") == 1  # each attempt costs a wait


@pytest.mark.fresh_database
def test_a_clock_goes_on_after_an_error_of_any_kind(
    report, conn, broker, clock, past, tell_time, caplog
):
    declared(broker, clock)
    past(HOUR)
    clock._declare_at = inf
    conn.execute("ALTER TABLE workshed.periodic_runs RENAME TO gone")
    conn.commit()

    fire(report, tell_time())

    assert "this clock could not create a run of report" in caplog.text


def test_a_clock_declares_its_jobs_when_it_starts(report, rows):
    report.options["periodic"].validate(datetime.now(UTC))

    found = rows(
        """
        SELECT name, kind, spec, zone, description
          FROM workshed.periodic_jobs
         WHERE name = 'report'
        """
    )
    assert found == [("report", "every", "10", "UTC", "every 10 seconds")]


@pytest.mark.parametrize("spec", [every(HOUR), cron("0 * * * *"), daily("09:00")])
def test_a_clock_accepts_times_of_pendulum(actor, spec, database):
    """Their differences cannot be divided by a `timedelta`, which ended the clock at its start."""
    asked = actor(actor_name="report", queue_name="low", periodic=spec)(lambda: None).options[
        "periodic"
    ]
    nine = pendulum.datetime(2026, 3, 2, 9, 0, 30)

    assert asked.validate(nine) is False  # otherwise `periodiq` would send a message, too
    assert asked.last_due_time(nine) == nine.start_of("hour")
    assert type(asked.next_valid_date(pendulum.now())) is datetime


@pytest.mark.parametrize("microsecond", [0, 1, 999, 500_000, 990_000, 990_001, 999_999])
def test_a_clock_looks_every_second_and_so_sets_no_alarm(report, microsecond):
    """`periodiq` sleeps for a fraction of a second, and sets an alarm only for whole seconds.

    When it gets a time in the past it calls itself, until Python stops it at a thousand calls.
    """
    nine = datetime(2026, 3, 2, 9, tzinfo=UTC)
    now = nine - timedelta(seconds=1) + timedelta(microseconds=microsecond)
    with time_machine.travel(now, tick=False):
        for asked in (now, now - HOUR, now + HOUR):  # the clock was put forward or back
            looks = report.options["periodic"].next_valid_date(asked)

            assert timedelta(milliseconds=10) <= looks - now < timedelta(seconds=1)
            seen = {(at + timedelta(seconds=0.5)).replace(microsecond=0) for at in (now, looks)}
            assert nine in seen  # `periodiq` rounds this way


def test_a_clock_creates_each_run_once():
    spec = cron("0 9 * * *", tz="UTC")
    made = []
    spec_option = PeriodiqSpec(spec, lambda: None, made.append)
    nine = datetime(2026, 3, 2, 9, tzinfo=UTC)
    seconds = [nine + timedelta(seconds=second) for second in range(-60, 120)]

    assert not any(spec_option.validate(at) for at in seconds)
    assert not any(spec_option.validate(at + 24 * HOUR) for at in seconds)

    assert made == [nine, nine + 24 * HOUR]


# What a job knows


def test_a_job_learns_the_time_it_is_for_and_so_do_its_retries(
    actor, clock, broker, tell_time, working, relaying, eventually
):
    found = []

    @actor(
        actor_name="report", queue_name="low", periodic=every(HOUR), min_backoff=1, max_backoff=1
    )
    def report():
        found.append(scheduled_for())
        if len(found) < 3:
            raise ValueError("not yet")

    declared(broker, clock)
    hour = tell_time().replace(minute=0, second=0, microsecond=0)
    with db.transaction() as conn:
        periodic_runs.create_run(conn, "report", hour, "catch_up")

    with working("low"), relaying():
        eventually(lambda: len(found) == 3)

    assert found == [hour] * 3


def test_a_job_learns_when_it_was_sent_and_so_do_its_retries(
    actor, working, relaying, eventually, tell_time
):
    found = []

    @actor(actor_name="report", queue_name="low", min_backoff=1, max_backoff=1)
    def report():
        found.append(sent_at())
        if len(found) < 3:
            raise ValueError("not yet")

    before = tell_time()
    message = report.send()
    after = tell_time()
    with working("low"), relaying():
        eventually(lambda: len(found) == 3)

    assert found == [message.message_datetime] * 3
    assert before - timedelta(milliseconds=1) <= found[0] <= after
    assert sent_at() is None


def test_a_job_learns_the_number_of_its_attempt(actor, working, relaying, eventually):
    found = []

    @actor(actor_name="report", queue_name="low", min_backoff=1, max_backoff=1)
    def report():
        found.append(attempt())
        if len(found) == 2:
            raise Snooze(timedelta(milliseconds=1))
        if len(found) < 4:
            raise ValueError("not yet")

    report.send()
    with working("low"), relaying():
        eventually(lambda: len(found) == 4)

    assert found == [1, 2, 2, 3]
    assert attempt() is None


def test_a_job_that_was_sent_by_hand_has_no_planned_time(report, ran, working, eventually):
    report.send()

    with working("low"):
        eventually(lambda: ran)

    assert ran == [None]
    assert scheduled_for() is None


def test_a_run_has_the_options_of_its_actor(actor, clock, broker, rows, tell_time):
    """A relay creates runs too, but knows no actors."""
    actor(
        actor_name="report",
        queue_name="low",
        periodic=every(HOUR),
        unique=Unique(),
        tags=["nightly"],
    )(lambda: None)
    declared(broker, clock)

    with db.transaction() as conn:
        periodic_runs.create_run(conn, "report", tell_time(), "catch_up")

    [(body,)] = rows("SELECT body FROM workshed.schedule")
    options = orjson.loads(body)["options"]
    assert (options["unique_key"], options["tags"]) == ("report:[]", ["nightly"])
    assert rows("SELECT key FROM workshed.unique_locks") == [("report:[]",)]


@pytest.mark.parametrize("answer", ["log", "raise"])
def test_a_unique_job_that_still_runs_keeps_the_next_from_being_sent(
    actor, clock, broker, rows, tell_time, answer
):
    actor(
        actor_name="report",
        queue_name="low",
        periodic=every(HOUR),
        unique=Unique(on_conflict=answer),
    )(lambda: None)
    declared(broker, clock)

    with db.transaction() as conn:
        first = periodic_runs.create_run(conn, "report", tell_time() - HOUR, "catch_up")
        second = periodic_runs.create_run(conn, "report", tell_time(), "catch_up")

    assert (second.message_id, second.blocked_by) == (None, first.message_id)
    assert rows(
        "SELECT blocked_by FROM workshed.periodic_runs ORDER BY scheduled_for DESC LIMIT 1"
    ) == [(first.message_id,)]
    assert len(rows("SELECT 1 FROM workshed.schedule")) == 1


def test_a_unique_job_may_wait_for_the_one_that_still_runs(actor, clock, broker, rows, tell_time):
    actor(
        actor_name="report",
        queue_name="low",
        periodic=every(HOUR),
        unique=Unique(on_conflict="reschedule"),
    )(lambda: None)
    declared(broker, clock)

    with db.transaction() as conn:
        periodic_runs.create_run(conn, "report", tell_time() - HOUR, "catch_up")
        second = periodic_runs.create_run(conn, "report", tell_time(), "catch_up")

    assert second.message_id is not None
    assert (
        len(rows("SELECT 1 FROM workshed.schedule WHERE body LIKE '%%awaiting_unique_key%%'")) == 1
    )


def test_a_unique_job_may_be_replaced_by_the_next(actor, clock, broker, rows, tell_time):
    actor(
        actor_name="report",
        queue_name="low",
        periodic=every(HOUR),
        unique=Unique(on_conflict="replace"),
    )(lambda: None)
    declared(broker, clock)

    with db.transaction() as conn:
        periodic_runs.create_run(conn, "report", tell_time() - HOUR, "catch_up")
        second = periodic_runs.create_run(conn, "report", tell_time(), "catch_up")

    assert rows("SELECT message_id FROM workshed.schedule") == [(second.message_id,)]


# What a program declares


def test_a_worker_declares_its_jobs_when_it_starts(report, working, rows):
    with working("low"):
        assert rows("SELECT queue FROM workshed.periodic_jobs WHERE name = 'report'") == [("low",)]


def test_a_worker_keeps_confirming_that_it_has_its_jobs(
    report, working, rows, eventually, monkeypatch
):
    monkeypatch.setattr(
        "workshed.middleware.periodic.periodic.REPORT_EVERY", timedelta(milliseconds=20)
    )
    gone = (
        "UPDATE workshed.periodic_jobs SET seen_at = seen_at - interval '1 hour' RETURNING seen_at"
    )
    seen = "SELECT seen_at FROM workshed.periodic_jobs WHERE name = 'report'"

    with working("low"):
        before = rows(gone)[0][0]
        eventually(lambda: rows(seen)[0][0] > before + HOUR / 2)


def test_a_clock_declares_its_jobs_again_if_postgresql_shut_down_at_their_commit(
    report, rows, connect, clock, caplog
):
    conn = connect(autocommit=True)
    conn.execute("""
        CREATE FUNCTION public.ends() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE 'the server is shutting down' USING ERRCODE = 'admin_shutdown'; END $$
    """)
    conn.execute("""
        CREATE CONSTRAINT TRIGGER ends AFTER INSERT ON workshed.periodic_jobs
            INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.ends()
    """)
    spec_option = report.options["periodic"]

    spec_option.validate(datetime.now(UTC))
    assert "are not declared yet: the server is shutting down" in caplog.text
    conn.execute("DROP TRIGGER ends ON workshed.periodic_jobs")
    clock._paused_until = 0.0
    spec_option.validate(datetime.now(UTC))

    assert "report" in names(rows)


@pytest.mark.parametrize("reporter", ["worker", "clock"])
def test_a_job_whose_tables_come_later_is_declared_without_a_restart(
    actor, report, clock, working, rows, eventually, monkeypatch, reporter
):
    """Only that job: for the others, the declarations of a newer release that has started stay."""
    actor(actor_name="ours", queue_name="low", periodic=daily("09:00"), needs="shop")(lambda: None)
    monkeypatch.setattr(
        "workshed.middleware.periodic.periodic.REPORT_EVERY", timedelta(milliseconds=20)
    )
    taken = rows("DELETE FROM workshed.migrations WHERE stream = 'shop' RETURNING name, checksum")

    def noted():
        if reporter == "clock":
            report.options["periodic"].validate(datetime.now(UTC))
        return names(rows)

    with working("low") if reporter == "worker" else nullcontext():
        early = noted()
        assert "report" in early
        assert "ours" not in early
        rows("UPDATE workshed.periodic_jobs SET spec = '3600' WHERE name = 'report' RETURNING 1")
        for name, checksum in taken:
            rows(
                "INSERT INTO workshed.migrations VALUES ('shop', %s, %s) RETURNING 1",
                name,
                checksum,
            )
        eventually(lambda: "ours" in noted())

    assert rows("SELECT spec FROM workshed.periodic_jobs WHERE name = 'report'") == [("3600",)]


def test_a_job_continues_where_it_was_when_its_program_comes_back(
    report, broker, clock, rows, past
):
    """If each start began again, runs missed in an outage would be forgotten when it ends."""
    declared(broker, clock)
    past(3 * 24 * HOUR)
    before = rows("SELECT next_at FROM workshed.periodic_jobs ORDER BY name")

    declared(broker, clock)

    assert rows("SELECT next_at FROM workshed.periodic_jobs ORDER BY name") == before


@pytest.mark.parametrize(
    "change", ["spec = '60'", "zone = 'Asia/Tokyo'", "seen_at = seen_at - interval '8 days'"]
)
def test_a_job_with_other_times_or_long_absent_starts_over(
    report, broker, clock, rows, past, tell_time, change
):
    declared(broker, clock)
    past(24 * HOUR)
    rows(f"UPDATE workshed.periodic_jobs SET {change} RETURNING 1")  # noqa: S608 -- of those above
    before = tell_time()

    declared(broker, clock)

    assert rows("SELECT next_at FROM workshed.periodic_jobs WHERE name = 'report'")[0][0] > before


def test_the_zone_is_looked_up_when_the_job_is_declared(actor, clock, broker, rows, monkeypatch):
    actor(actor_name="report", queue_name="low", periodic=daily("09:00"))(lambda: None)
    monkeypatch.setenv("WORKSHED_TIME_ZONE", "Asia/Tokyo")
    settings.cache_clear()

    declared(broker, clock)

    assert rows("SELECT zone FROM workshed.periodic_jobs WHERE name = 'report'") == [
        ("Asia/Tokyo",)
    ]


# Refused declarations


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"periodic": periodiq.cron("0 3 * * sun")}, "use periodic=cron.* of workshed"),
        ({"periodic": "0 3 * * *"}, "use daily.*, cron.* or every.* of workshed"),
        (
            {"periodic": daily("03:00"), "unique": Unique(key=lambda: 1)},
            "a function as key of unique=",
        ),
    ],
)
def test_a_job_that_could_not_run_unattended_is_refused(actor, options, said):
    with pytest.raises(ValueError, match=f"report: .*{said}"):
        actor(actor_name="report", queue_name="low", **options)(lambda: None)


def test_an_actor_that_needs_arguments_is_refused(actor):
    with pytest.raises(ValueError, match=r"runs it without arguments: missing .*'day'"):
        actor(actor_name="report", queue_name="low", periodic=daily("03:00"))(lambda day: None)


def test_the_middleware_of_periodiq_is_refused_by_name(broker):
    """It drops jobs that start 30 s late, and each retry."""
    with pytest.raises(WorkshedError, match="PeriodiqMiddleware of periodiq drops"):
        broker.add_middleware(periodiq.PeriodiqMiddleware())
