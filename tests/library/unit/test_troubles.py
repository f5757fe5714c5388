"""Problems that keep jobs from running are reported with the command that fixes them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from workshed.console.operations import problems
from workshed.console.operations.finding import PageLink
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


def test_an_actor_that_does_not_use_its_transaction_is_named():
    assert problems.judge_unused_once([], HOUR) is None
    found = problems.judge_unused_once(["sync", "charge"], HOUR)
    assert "sync, charge with once=True did not use" in found.message
    assert found.link == PageLink("/jobs?actor=sync", "Jobs of sync")


def test_rabbitmq_that_takes_no_messages():
    found = problems.judge_alarms("There are alarms in effect in the cluster: memory")

    assert "takes no messages" in found.message
    assert "memory" in found.message
    assert problems.judge_alarms(None) is None


def test_rabbitmq_that_does_not_answer():
    (found,) = problems.judge_unreachable(
        [BrokerUnreachableError("RabbitMQ does not answer at here")]
    )

    assert (found.level, found.message) == ("failed", "RabbitMQ does not answer at here")


def test_no_relay():
    assert problems.judge_relay(timedelta(seconds=2)) is None
    assert "no relay heartbeat for 1m" in problems.judge_relay(timedelta(seconds=60)).message
    assert "no relay is running" in problems.judge_relay(None).message


def test_no_worker_or_only_quiet_ones():
    silent, quiet = replace(WORKER, alive=False), replace(WORKER, quiet_at=NOW)

    assert problems.judge_workers([WORKER, silent, quiet]) is None
    assert "no worker is running" in problems.judge_workers([silent]).message
    found = problems.judge_workers([silent, quiet])
    assert "all 1 running workers are quiet" in found.message
    assert found.fix == "workshed workers resume web-1:101"


def test_a_queue_that_no_worker_is_on():
    silent = replace(WORKER, alive=False, queues=["emails"])

    assert problems.judge_unattended(["default"], [WORKER]) is None
    found = problems.judge_unattended(["default", "low", "emails"], [WORKER, silent])
    assert found.message == "no worker consumes emails, low: jobs wait"
    assert found.fix == "workshed worker --queue emails --queue low"


def test_a_clock_that_is_silent():
    minute = timedelta(minutes=1)

    assert "nightly was due 2m ago" in problems.judge_clock([NIGHTLY], NOW, minute).message
    assert problems.judge_clock([NIGHTLY], NOW, 2 * minute) is None
    assert problems.judge_clock([replace(NIGHTLY, paused_at=NOW)], NOW, minute) is None
    assert problems.judge_clock([replace(NIGHTLY, live=False)], NOW, minute) is None


def test_a_pause_that_was_forgotten():
    queues = [KnownQueue("emails", "classic", NOW - HOUR), KnownQueue("bulk", "quorum", None)]

    (found,) = problems.judge_pauses(queues, NOW)

    assert found.message == "emails was paused 1h ago"
    assert found.fix == "workshed queues resume emails"
    assert found.link == PageLink("/queues#queue-emails", "Resume emails")


def test_runs_that_were_lost_and_jobs_that_died():
    assert problems.judge_dropped(0, HOUR) is None
    assert "5 runs of the last 1h were not recorded" in problems.judge_dropped(5, HOUR).message
    assert problems.judge_deaths(0, 10, HOUR) is None
    assert problems.judge_deaths(1, 10, HOUR).message == "1 job failed permanently in the last 1h"
    assert (
        problems.judge_deaths(11, 10, HOUR).message
        == "more than 10 jobs failed permanently in the last 1h"
    )


def test_the_worst_come_first():
    mild, bad = problems.judge_dropped(5, HOUR), problems.judge_relay(None)

    assert problems.order_findings(mild, None, [mild, bad]) == [bad, mild, mild]
