"""What keeps jobs from running is said in a sentence, with the line that mends it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from workshed.console.operations import problems
from workshed.jobs.control.queues import KnownQueue
from workshed.jobs.control.workers import Worker
from workshed.jobs.periodic.periodic_jobs import PeriodicJob
from workshed.transport.errors import BrokerUnreachableError

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
WORKER = Worker(
    id="1",
    host="web-1",
    pid=101,
    queues=["default"],
    busy=0,
    threads=8,
    release="",
    started_at=NOW,
    beat_at=NOW,
    alive=True,
    running=[],
    memory_bytes=None,
    quiet_at=None,
)
NIGHTLY = PeriodicJob(
    name="nightly",
    queue="low",
    kind="cron",
    spec="0 3 * * *",
    zone="UTC",
    misfire_policy="skip",
    misfire_window=HOUR,
    description="daily",
    next_at=NOW - timedelta(minutes=2),
    paused_at=None,
    seen_at=NOW,
    live=True,
)


def test_rabbitmq_that_takes_no_messages():
    found = problems.alarm("There are alarms in effect in the cluster: memory")

    assert "takes no messages" in found.message
    assert "memory" in found.message
    assert problems.alarm(None) is None


def test_rabbitmq_that_does_not_answer():
    (found,) = problems.away([BrokerUnreachableError("RabbitMQ does not answer at here")])

    assert (found.level, found.message) == ("failed", "RabbitMQ does not answer at here")


def test_no_relay():
    assert problems.relay(timedelta(seconds=2)) is None
    assert "no relay has beaten for 60 s" in problems.relay(timedelta(seconds=60)).said
    assert "no relay is at work" in problems.relay(None).said


def test_no_worker_or_only_quiet_ones():
    silent, quiet = replace(WORKER, alive=False), replace(WORKER, quiet_at=NOW)

    assert problems.workers([WORKER, silent, quiet]) is None
    assert "no worker beats" in problems.workers([silent]).said
    found = problems.workers([silent, quiet])
    assert "all 1 workers that live are quiet" in found.message
    assert found.fix == "workshed workers resume web-1:101"


def test_a_queue_that_no_worker_is_on():
    silent = replace(WORKER, alive=False, queues=["emails"])

    assert problems.unattended(["default"], [WORKER]) is None
    found = problems.unattended(["default", "low", "emails"], [WORKER, silent])
    assert found.message == "no worker is on emails, low: their jobs wait"
    assert found.fix == "workshed worker --queue emails --queue low"


def test_a_clock_that_is_silent():
    minute = timedelta(minutes=1)

    assert "nightly was to run 2 min ago" in problems.clock([NIGHTLY], NOW, minute).said
    assert problems.clock([NIGHTLY], NOW, 2 * minute) is None
    assert problems.clock([replace(NIGHTLY, paused_at=NOW)], NOW, minute) is None
    assert problems.clock([replace(NIGHTLY, live=False)], NOW, minute) is None


def test_a_pause_that_was_forgotten():
    queues = [KnownQueue("emails", "classic", NOW - HOUR), KnownQueue("bulk", "quorum", None)]

    (found,) = problems.paused(queues, NOW)

    assert found.message == "emails was paused 60 min ago"
    assert found.fix == "workshed queues resume emails"


def test_runs_that_were_lost_and_jobs_that_died():
    assert problems.lost(0, HOUR) is None
    assert "5 runs of the last 60 min were not recorded" in problems.lost(5, HOUR).said
    assert problems.died(0, 10, HOUR) is None
    assert problems.died(1, 10, HOUR).said == "1 job died within the last 60 min"
    assert problems.died(11, 10, HOUR).said == "more than 10 jobs died within the last 60 min"


def test_the_worst_come_first():
    mild, bad = problems.lost(5, HOUR), problems.relay(None)

    assert problems.of(mild, None, [mild, bad]) == [bad, mild, mild]
