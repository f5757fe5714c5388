"""When a worker is over its limits, and when a child is lost."""

import pytest
import typer

from workshed.console.formatting import parse_size
from workshed.console.supervisor import vitals
from workshed.console.supervisor.child import ManagedProcess
from workshed.console.supervisor.vitals import WorkerLimits, stuck_reason
from workshed.health.status import ProcessStatus

MIB = 1 << 20


def refuse(_ready_fd):
    """Start nothing: what is tested here happens around the start."""
    pytest.fail("it starts")


def pulse(jobs=0, memory=0, pid=7):
    return ProcessStatus("worker", jobs=jobs, memory_bytes=memory, pid=pid)


def test_no_worker_exceeds_its_limit_early_and_each_does_a_fifth_beyond_it():
    limits = WorkerLimits(100, None)
    worn = {}
    for pid in range(200):
        assert limits.exceeded_limit(pulse(jobs=99, pid=pid)) is None
        worn[pid] = next(
            n for n in range(100, 200) if limits.exceeded_limit(pulse(jobs=n, pid=pid))
        )

    assert min(worn.values()) >= 100
    assert max(worn.values()) <= 120
    assert len(set(worn.values())) > 5  # otherwise a whole fleet would leave at once


def test_a_worker_exceeds_its_limit_by_the_memory_that_it_keeps():
    limits = WorkerLimits(None, 300 * MIB)

    assert limits.exceeded_limit(pulse(memory=100 * MIB)) is None
    assert limits.exceeded_limit(pulse(memory=300 * MIB)) is None
    assert limits.exceeded_limit(pulse(memory=301 * MIB)) == "uses 301 MiB of memory"
    assert limits.exceeded_limit(pulse(jobs=10**9)) is None


def test_memory_that_a_worker_takes_from_its_start_is_logged_once_and_accepted(caplog):
    limits = WorkerLimits(None, 50 * MIB)

    assert [limits.exceeded_limit(pulse(memory=90 * MIB)) for _ in range(3)] == [None] * 3
    assert caplog.text.count("--max-memory 50 MiB is less than the 90 MiB") == 1


def test_the_memory_of_ended_workers_is_forgotten():
    limits = WorkerLimits(None, 300 * MIB)
    limits.exceeded_limit(pulse(memory=400 * MIB))  # too much from its start
    limits.forget_except(set())

    assert limits.exceeded_limit(pulse(memory=100 * MIB)) is None
    assert limits.exceeded_limit(pulse(memory=400 * MIB)) == "uses 400 MiB of memory"


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ([1] * 4, None),
        ([1] * 5, "worker 1 could not start 5 times in a row"),
        ([2, 1, -9, 70, 2], "worker 1 could not start 5 times in a row"),
        ([3, 4] * 50, None),  # RabbitMQ or PostgreSQL is away: no restart brings them back
    ],
)
def test_a_child_that_does_not_come_up_for_reasons_of_its_own_is_lost(codes, words):
    one = ManagedProcess("worker 1", refuse)

    for code in codes:
        one.mark_ended(code)

    assert stuck_reason(one) == words


def test_a_child_that_came_up_is_not_lost_however_often_it_ends():
    one = ManagedProcess("worker 1", refuse)
    for _ in range(20):
        one.mark_ready()
        one.mark_ended(71)

    assert stuck_reason(one) is None


def test_a_child_that_boots_forever_is_lost(monkeypatch):
    one = ManagedProcess("worker 1", refuse)
    monkeypatch.setattr(ManagedProcess, "boot_duration_s", 301.0)

    assert stuck_reason(one) == "worker 1 has been starting for 301 s"
    assert vitals.BOOT_TIMEOUT_S == 300


@pytest.mark.parametrize(
    ("text", "size"),
    [("512M", 512 * MIB), ("2G", 2048 * MIB), ("1.5g", 1536 * MIB), ("64 MiB", 64 * MIB)],
)
def test_memory_is_written_as_operators_write_it(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["512", "0M", "-1M", "1T", "M", "", "512MB5"])
def test_an_invalid_amount_of_memory_is_refused(text):
    with pytest.raises(typer.BadParameter, match="not an amount of memory such as 512M or 2G"):
        parse_size(text)
