"""The stock `periodiq actors` with clocks that are moved: each time has exactly one run."""

import os
import re
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from urllib.request import urlopen

import pytest

from tests.library.e2e.workers.supervised import ask_there
from workshed.errors import EXIT_USAGE

pytestmark = pytest.mark.fresh_database  # its clock is replaced

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NINE = (datetime.now(UTC) + DAY).replace(hour=9, minute=0, second=0, microsecond=0)
"""Tomorrow's, because a message carries the time it was made, which may not be a month ago."""
MOMENTS = timedelta(seconds=8)
"""How long before a run a clock is started, because its start takes that long."""

# The time of a clock's host is in a file, which may change. The rest is the stock program.
MOVED = """
import os, signal, sys, threading
from pathlib import Path
from urllib.request import urlopen
import time_machine

FILE = Path(os.environ["MOVED"])
if "BLOCKED" in os.environ:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
text = FILE.read_text()
place = time_machine.travel(text, tick=True).start()

def follow(text):
    wait = threading.Event()
    while True:
        wait.wait(0.02)
        if (now := FILE.read_text()) and now != text:
            text = now
            place.move_to(text)

threading.Thread(target=follow, args=[text], daemon=True).start()

from periodiq import entrypoint

sys.argv[0] = "periodiq"  # Workshed recognises it by this name
entrypoint()
"""

ACTORS = """
from datetime import timedelta
import dramatiq
from workshed import broker, db
from workshed.cronspec import cron, daily, every
from workshed.jobs import scheduled_for

def ran(name):
    with db.transaction() as conn:
        conn.execute("INSERT INTO public.runs VALUES (%s, %s)", (name, scheduled_for()))

def job(name, spec):
    return dramatiq.actor(broker=broker, queue_name="low", actor_name=name, periodic=spec)

@job("once", daily("09:00", tz="UTC"))
def once(): ran("once")

@job("all", daily("09:00", tz="UTC", misfire="all"))
def each(): ran("all")

@job("skip", daily("09:00", tz="UTC", misfire="skip"))
def skip(): ran("skip")

@job("often", every(timedelta(seconds=10)))
def often(): ran("often")

@job("sunday", cron("0 3 * * SUN", tz="Europe/Paris"))
def sunday(): ran("sunday")

@job("half_past_two", daily("02:30", tz="Europe/Paris"))
def half_past_two(): ran("half_past_two")

@job("leap_day", cron("0 12 29 2 *", tz="Europe/Paris"))
def leap_day(): ran("leap_day")

@job("last_day", cron("0 23 L * *", tz="Europe/Paris"))
def last_day(): ran("last_day")
"""


@pytest.fixture
def rows(connect):
    conn = connect(autocommit=True)
    return lambda query, *values: conn.execute(query, values).fetchall()


@pytest.fixture(autouse=True)
def _moved(connect, tmp_path):
    """The actors, the table in which they record their runs, and clocks that can be moved."""
    (tmp_path / "sundial.py").write_text(ACTORS)
    (tmp_path / "moved_periodiq.py").write_text(MOVED)
    conn = connect(autocommit=True)
    conn.execute("CREATE TABLE public.runs (job text, scheduled_for timestamptz)")
    conn.execute("CREATE TABLE public.clock (shift interval)")
    conn.execute("INSERT INTO public.clock VALUES ('0')")
    conn.execute("""
        CREATE OR REPLACE FUNCTION workshed.now() RETURNS timestamptz LANGUAGE sql STABLE
            RETURN (SELECT statement_timestamp() + shift FROM public.clock)
    """)


@pytest.fixture
def move(rows, tmp_path):
    """`move(NINE)`: set the time of PostgreSQL and of the hosts of clocks; it goes on from there.

    Workers and relays have the right time, and ask PostgreSQL. Once a minute they record that they
    still have a job; these records are moved with the clock.
    """

    def move(to):
        rows("UPDATE public.clock SET shift = %s - statement_timestamp() RETURNING 1", to)
        rows("UPDATE workshed.periodic_jobs SET seen_at = workshed.now() RETURNING 1")
        rows("UPDATE workshed.relays SET beat_at = workshed.now() RETURNING 1")
        (tmp_path / "moved.txt").write_text(to.isoformat())

    return move


class Clock:
    """A `periodiq` process."""

    def __init__(self, warm, log, env):
        self.log = log
        self.process = warm.start("moved_periodiq", "sundial", env=env, log=log)

    @property
    def text(self):
        return self.log.read_text()

    @property
    def runs(self):
        return self.process.poll() is None


@pytest.fixture
def start_clock(warm, environment, broker, tmp_path):
    """Start `periodiq sundial`, whose host has the time that was set by `move`."""
    clocks = []

    def start(**env):
        variables = {**os.environ, **environment, **env}
        variables |= {"MOVED": str(tmp_path / "moved.txt")}
        clock = Clock(warm, tmp_path / f"clock-{len(clocks)}.log", variables)
        clocks.append(clock)
        return clock

    yield start
    for clock in clocks:
        clock.process.kill()
        clock.process.wait(60)


@pytest.fixture
def rabbitmq_wire(proxy, servers, vhost):
    """A proxy in front of RabbitMQ, and the environment variables that lead through it."""
    wire = proxy(servers.broker_url)
    return wire, {"WORKSHED_BROKER_URL": wire.url(vhost)}


@pytest.fixture
def postgresql_wire(proxy, servers, database):
    """A proxy in front of PostgreSQL, and the environment variables that lead through it."""
    wire = proxy(servers.database_url)
    return wire, {"WORKSHED_DATABASE_URL": wire.url(database)}


@pytest.fixture
def runs(rows):
    """`runs("once")`: the times that a job ran for."""

    def runs(job):
        found = rows(
            "SELECT scheduled_for FROM public.runs WHERE job = %s ORDER BY scheduled_for", job
        )
        return [scheduled_for.astimezone(UTC) for (scheduled_for,) in found]

    return runs


@pytest.fixture
def settled(rows, eventually):
    """Wait until all runs that were made have run, and a relay has looked again and made none."""

    def settled():
        seen = {}

        def quiet():
            created = rows(
                "SELECT job, scheduled_for FROM workshed.periodic_runs "
                "WHERE job <> 'often' ORDER BY 1, 2"
            )
            ran = rows(
                "SELECT job, scheduled_for FROM public.runs WHERE job <> 'often' ORDER BY 1, 2"
            )
            if seen.get("made") != created or ran != created:
                seen.update(made=created, ran=ran, since=time.monotonic())
            return bool(created) and time.monotonic() > seen["since"] + 6

        try:
            eventually(quiet)
        except AssertionError as err:
            left = rows(
                "SELECT workshed.now(), actor, due_at, claimed_by, sent_at FROM workshed.schedule"
            )
            raise AssertionError(f"{seen}\nin the schedule: {left}") from err

    return settled


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("job", "at"),
    [
        ("sunday", "2026-03-08T03:00+01:00"),
        ("half_past_two", "2026-03-29T03:00+02:00"),
        ("half_past_two", "2026-10-25T02:30+02:00"),
        ("leap_day", "2028-02-29T12:00+01:00"),
        ("last_day", "2026-02-28T23:00+01:00"),
    ],
)
def test_the_clock_makes_the_run_when_it_is_time(start_clock, move, rows, eventually, job, at):
    """Of these, the stock specs make only the last one, and the third one twice."""
    time_of_run, is_late = datetime.fromisoformat(at), True
    while is_late:  # on a busy machine a start may take longer than the time that is left
        rows("DELETE FROM workshed.periodic_jobs RETURNING 1")
        move(time_of_run - MOMENTS)
        clock = start_clock()
        eventually(lambda: rows("SELECT 1 FROM workshed.periodic_jobs"))
        [(is_late,)] = rows("SELECT workshed.now() > %s - interval '1 second'", time_of_run)

    eventually(
        lambda: rows("SELECT 1 FROM workshed.periodic_runs WHERE job = %s", job) or not clock.runs
    )

    assert clock.runs, clock.text
    found = rows("SELECT scheduled_for, created_by FROM workshed.periodic_runs WHERE job = %s", job)
    assert found == [(time_of_run, "clock")]


def test_two_clocks_make_one_run(start_worker, start_clock, move, runs, settled, eventually):
    move(NINE - HOUR)
    start_worker("sundial")
    move(NINE - MOMENTS)

    clocks = [start_clock(), start_clock()]
    eventually(lambda: all(", planned for " in clock.text for clock in clocks))
    settled()

    assert [clock.runs for clock in clocks] == [True, True]
    assert runs("once") == runs("all") == runs("skip") == [NINE]


@pytest.mark.exhaustive
def test_rabbitmq_down_at_the_time_of_a_run(
    start_worker, start_clock, move, runs, settled, rabbitmq_wire, rows, eventually
):
    """The stock clock then ends with exit code 1, and the run is lost."""
    wire, through = rabbitmq_wire
    move(NINE - HOUR)
    start_worker("sundial", env=through)
    move(NINE - MOMENTS)
    wire.refuse()
    wire.cut()

    clock = start_clock(**through)
    eventually(lambda: len(rows("SELECT 1 FROM workshed.periodic_runs")) >= 3)
    assert runs("once") == []
    wire.accept()
    settled()

    assert clock.runs, clock.text
    assert runs("once") == runs("all") == runs("skip") == [NINE]


def test_postgresql_down_at_the_time_of_a_run(
    start_worker, start_clock, move, runs, settled, postgresql_wire, rows, eventually
):
    """The run cannot be made then; it is made when PostgreSQL is back, and the clock lives on."""
    wire, through = postgresql_wire
    move(NINE - HOUR)
    start_worker("sundial", env=through)
    move(NINE - MOMENTS)
    wire.refuse()
    wire.cut()

    clock = start_clock(**through)
    eventually(lambda: "left to a relay" in clock.text or not clock.runs)
    assert rows("SELECT 1 FROM workshed.periodic_runs WHERE job = 'once'") == []
    wire.accept()
    settled()

    assert clock.runs, clock.text
    assert runs("once") == runs("all") == runs("skip") == [NINE]


def test_an_outage_of_three_days(start_worker, start_clock, move, runs, settled, eventually, rows):
    move(NINE + 3 * HOUR)
    worker = start_worker("sundial")
    worker.stop()

    move(NINE + 3 * DAY + 3 * HOUR)
    rows("UPDATE workshed.periodic_jobs SET seen_at = seen_at - %s RETURNING 1", 3 * DAY)
    start_worker("sundial")
    clock = start_clock()
    eventually(lambda: len(runs("all")) == 3)
    settled()

    assert clock.runs, clock.text
    assert runs("once") == [NINE + 3 * DAY]
    assert runs("all") == [NINE + DAY, NINE + 2 * DAY, NINE + 3 * DAY]
    assert runs("skip") == []


@pytest.mark.exhaustive
def test_a_clock_that_gets_no_signal_makes_each_run(start_clock, move, rows, eventually):
    """Stock `periodiq` waits for SIGALRM, and waits forever if another thread receives it."""
    move(NINE - HOUR)
    clock = start_clock(BLOCKED="yes")

    created_query = (
        "SELECT scheduled_for FROM workshed.periodic_runs "
        "WHERE job = 'often' AND created_by = 'clock'"
    )
    eventually(lambda: len(rows(created_query)) >= 3 or not clock.runs)

    assert clock.runs, clock.text
    times = sorted(scheduled_for for (scheduled_for,) in rows(created_query))
    assert {later - time for time, later in pairwise(times)} == {timedelta(seconds=10)}


@pytest.mark.exhaustive
def test_clocks_that_are_put_forward_and_back(
    start_worker, start_clock, move, runs, rows, settled, eventually
):
    """The clock logs the same runs again, but they are not made again."""
    move(NINE - HOUR)
    start_worker("sundial")
    clock = start_clock()
    eventually(lambda: runs("often"))

    move(NINE + timedelta(minutes=20))
    eventually(lambda: runs("all"))
    settled()  # jobs that are due now would wait for twenty minutes once the clock is put back
    move(NINE - timedelta(seconds=15))
    eventually(lambda: clock.text.count("once") > 1)
    settled()
    move(NINE + DAY - timedelta(seconds=15))
    eventually(lambda: len(runs("all")) == 2)
    settled()

    assert clock.runs, clock.text
    assert runs("once") == runs("all") == [NINE, NINE + DAY]
    often = runs("often")
    assert len(often) == len(set(often))


def test_without_any_clock_jobs_run_a_few_seconds_late(
    start_worker, move, runs, settled, eventually
):
    move(NINE - HOUR)
    start_worker("sundial")
    move(NINE - timedelta(seconds=1))

    eventually(lambda: runs("once"))
    settled()

    assert runs("once") == runs("all") == runs("skip") == [NINE]


def test_a_clock_shows_the_runs_that_it_has_made(start_clock, move, eventually):
    """Two clocks on one host use different ports."""
    move(NINE - MOMENTS)
    clocks = [start_clock(), start_clock()]

    def pages():
        ports = [re.findall(r"metrics are at http://127.0.0.1:(\d+)", one.text) for one in clocks]
        return ports if all(ports) else None

    (first,), (second,) = eventually(pages)

    def count_created():
        count = 0
        for port in (first, second):
            with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                page = answer.read().decode()
            if "workshed_clock_tick_timestamp_seconds" not in page:  # before its first look
                return 0
            found = re.findall(r'periodic_runs_total\{actor="[a-z_]+",by="clock"\} (\d+)', page)
            count += sum(map(int, found))
        return count

    assert first != second
    eventually(lambda: count_created() >= 3)


@pytest.mark.exhaustive
def test_a_clock_without_postgresql_is_alive_and_not_ready(
    start_clock, move, postgresql_wire, eventually
):
    wire, through = postgresql_wire
    move(NINE - HOUR)
    wire.refuse()
    clock = start_clock(**through, WORKSHED_PROBES="true", WORKSHED_METRICS="false")
    missing = (503, f"clock {clock.process.pid}: PostgreSQL does not answer\n")

    eventually(lambda: ask_there(clock.text, "/readyz") == missing)
    assert ask_there(clock.text, "/livez") == (200, "ok\n")
    wire.accept()
    eventually(lambda: ask_there(clock.text, "/readyz") == (200, "ok\n"))
    wire.refuse()
    wire.cut()
    eventually(lambda: ask_there(clock.text, "/readyz") == missing)

    assert ask_there(clock.text, "/livez") == (200, "ok\n")


def test_a_clock_that_stands_still_is_not_alive(start_clock, move, tmp_path, eventually):
    """Another thread still answers its page."""
    stands_still = """
import time
from workshed.middleware.periodic.periodiq_spec import PeriodiqSpec
from workshed.health import probes

probes.STUCK_S = 2
PeriodiqSpec.next_valid_date = lambda self, last: time.sleep(600)
"""
    (tmp_path / "sundial.py").write_text(ACTORS + stands_still)
    move(NINE - HOUR)
    clock = start_clock(WORKSHED_PROBES="true")

    def failing():
        answer = ask_there(clock.text, "/livez")
        return answer if answer and answer[0] != 200 else None

    status, text = eventually(failing)

    assert status == 503
    assert re.fullmatch(rf"clock {clock.process.pid} is stuck: no report for \d+ s\n", text)


def test_a_clock_with_a_wrong_setting_ends_with_2_and_a_sentence(start_clock, move):
    """Stock `periodiq` ends with 1 and a traceback, and is restarted over and over."""
    move(NINE)

    clock = start_clock(WORKSHED_BROKRE_URL="amqp://")

    assert clock.process.wait(60) == EXIT_USAGE, clock.text
    assert "WORKSHED_BROKRE_URL is not a setting; did you mean WORKSHED_BROKER_URL?" in clock.text
    assert "Traceback" not in clock.text


def test_a_clock_whose_database_lacks_migrations_ends_with_2_and_a_sentence(
    start_clock, move, rows
):
    move(NINE)
    rows("DELETE FROM workshed.migrations WHERE stream = 'workshed' RETURNING 1")

    clock = start_clock()

    assert clock.process.wait(60) == EXIT_USAGE, clock.text
    assert "run `workshed migrate`" in clock.text
    assert "Traceback" not in clock.text
