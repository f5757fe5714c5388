"""What keeps jobs from running is said in a sentence, with the line that mends it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from console import troubles
from workshed.jobs.queues import Known
from workshed.jobs.recurring import Recurring
from workshed.jobs.workers import Worker
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
NIGHTLY = Recurring(
    name="nightly",
    queue="low",
    kind="cron",
    spec="0 3 * * *",
    zone="UTC",
    late="skip",
    late_within=HOUR,
    words="daily",
    next_at=NOW - timedelta(minutes=2),
    paused_at=None,
    seen_at=NOW,
    live=True,
)


def test_rabbitmq_that_takes_no_messages():
    found = troubles.alarm("There are alarms in effect in the cluster: memory")

    assert "takes no messages" in found.said
    assert "memory" in found.said
    assert troubles.alarm(None) is None


def test_rabbitmq_that_does_not_answer():
    (found,) = troubles.away([BrokerUnreachableError("RabbitMQ does not answer at here")])

    assert (found.level, found.said) == ("failed", "RabbitMQ does not answer at here")


def test_no_relay():
    assert troubles.relay(timedelta(seconds=2)) is None
    assert "no relay has beaten for 60 s" in troubles.relay(timedelta(seconds=60)).said
    assert "no relay is at work" in troubles.relay(None).said


def test_no_worker_or_only_quiet_ones():
    silent, quiet = replace(WORKER, alive=False), replace(WORKER, quiet_at=NOW)

    assert troubles.workers([WORKER, silent, quiet]) is None
    assert "no worker beats" in troubles.workers([silent]).said
    found = troubles.workers([silent, quiet])
    assert "all 1 workers that live are quiet" in found.said
    assert found.mend == "workshed workers resume web-1:101"


def test_a_queue_that_no_worker_is_on():
    silent = replace(WORKER, alive=False, queues=["emails"])

    assert troubles.unattended(["default"], [WORKER]) is None
    found = troubles.unattended(["default", "low", "emails"], [WORKER, silent])
    assert found.said == "no worker is on emails, low: their jobs wait"
    assert found.mend == "workshed worker --queue emails --queue low"


def test_a_clock_that_is_silent():
    minute = timedelta(minutes=1)

    assert "nightly was to run 2 min ago" in troubles.clock([NIGHTLY], NOW, minute).said
    assert troubles.clock([NIGHTLY], NOW, 2 * minute) is None
    assert troubles.clock([replace(NIGHTLY, paused_at=NOW)], NOW, minute) is None
    assert troubles.clock([replace(NIGHTLY, live=False)], NOW, minute) is None


def test_a_pause_that_was_forgotten():
    queues = [Known("emails", "classic", NOW - HOUR), Known("bulk", "quorum", None)]

    (found,) = troubles.paused(queues, NOW)

    assert found.said == "emails was paused 60 min ago"
    assert found.mend == "workshed queues resume emails"


def test_runs_that_were_lost_and_jobs_that_died():
    assert troubles.lost(0, HOUR) is None
    assert "5 runs of the last 60 min were not recorded" in troubles.lost(5, HOUR).said
    assert troubles.died(0, 10, HOUR) is None
    assert troubles.died(1, 10, HOUR).said == "1 job died within the last 60 min"
    assert troubles.died(11, 10, HOUR).said == "more than 10 jobs died within the last 60 min"


def test_the_worst_come_first():
    mild, bad = troubles.lost(5, HOUR), troubles.relay(None)

    assert troubles.of(mild, None, [mild, bad]) == [bad, mild, mild]
